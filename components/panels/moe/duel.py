"""The balancer duel: the same network, data and seed, balanced in three ways; and any other mixture."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.attention import lines
from components.figures.moe import duel as duel_figure
from components.lesson_parts import note
from components.panels.moe.source import balancing_label, domain_label, figures
from components.settings import View, one_of, text
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
from models.networks.catalogue import EMBEDDED, MIXTURES, available, find


def measured_label(name: str) -> str:
    return _("the samples, now") if name == "samples" else _("held-out text, on record")


@dataclass(frozen=True)
class BalancerDuel(View):
    """The same network, data and seed, balanced in three ways; and any other mixture."""

    page, name = "moe", "duel"
    measured: str = one_of(
        ("samples", "held_out"), label=mark("Measured on"), label_of=measured_label, style="radio"
    )
    further: str = text(
        "",
        label=mark("A further mixture of experts (hub id or folder)"),
        placeholder="owner/name",
        most=300,
    )

    @property
    def names(self) -> list[str]:
        """The networks that are compared. Raises InputError on a typed one that cannot be."""
        shipped = {entry.name for entry in available()}
        names = [name for name in reversed(MIXTURES) if name in shipped]
        return [*names, find(self.further).name] if self.further else names

    def rows(self) -> pd.DataFrame:
        return pd.concat([rows_of(name, self.measured) for name in self.names], ignore_index=True)

    def points(self) -> go.Figure:
        rows = self.rows()
        return duel_figure(
            {
                balancing_label(str(name)): (part["violation"].to_numpy(), part["loss"].to_numpy())
                for name, part in rows.groupby("network", sort=False)
            },
            [domain_label(name) if name else _("all") for name in rows["domain"].unique()],
            _("MaxVio, mean over layers (0 is balance)"),
            _("Loss (nats per character)"),
        )

    def stage(self) -> Stage:
        by_layer = layer_figure(self.names, self.measured)
        return Stage(
            [
                Plot(
                    "duel", self.points(), _("Loss against MaxVio for each network and domain"), width=1.4
                ),
                Plot("violations", by_layer, _("MaxVio over all domains, layer by layer")),
            ]
        )

    def below(self) -> None:
        note(self, "duel")
        rows = self.rows()
        st.dataframe(shown_table(rows), hide_index=True)
        take_with_you(self, lambda: rows.set_index("network"), self.points, snippet(self.names))


def rows_of(network: str, measured_on: str) -> pd.DataFrame:
    """Loss and MaxVio of a network: a row for each domain, and one for all (its name is empty)."""
    if measured_on == "held_out" and network in MIXTURES:
        found = recorded(network)["held_out"]
        domains = list(found["nats_per_character"])
        losses = [*found["nats_per_character"].values(), found["mean_nats_per_character"]]
        by_layer = [*found["max_violation_by_layer"].values(), found["max_violation_global_by_layer"]]
    else:
        measured = figures(network)
        domains = list(measured.domains)
        losses = [*measured.loss.tolist(), float(measured.loss.mean())]
        by_layer = [*measured.violation.tolist(), measured.total_violation.tolist()]
    return pd.DataFrame(
        {
            "network": network,
            "domain": [*domains, ""],
            "loss": losses,
            "violation": [float(np.mean(row)) for row in by_layer],
            "by_layer": by_layer,
        }
    )


def recorded(network: str) -> dict[str, Any]:
    return json.loads((EMBEDDED / network / "measurements.json").read_text(encoding="utf-8"))


def layer_figure(names: list[str], measured_on: str) -> go.Figure:
    curves = {}
    for name in names:
        row = rows_of(name, measured_on).iloc[-1]["by_layer"]
        curves[balancing_label(name)] = (np.arange(len(row)), np.array(row))
    return lines(curves, _("Layer"), _("MaxVio over all domains"), height=420)


def shown_table(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            _("Balanced by"): [balancing_label(name) for name in rows["network"]],
            _("Domain"): [domain_label(name) if name else _("all") for name in rows["domain"]],
            _("Loss (nats per character)"): [f"{loss:.4f}" for loss in rows["loss"]],
            "MaxVio": [f"{value:.3f}" for value in rows["violation"]],
            _("MaxVio by layer"): [", ".join(f"{v:.2f}" for v in row) for row in rows["by_layer"]],
        }
    )


def snippet(names: list[str]) -> str:
    """Python that repeats the measured numbers."""
    return f"""from models.networks.domains import domain_samples
from models.networks.loading import load
from models.moe.evaluation import mixture_figures

for name in {names!r}:
    print(name, mixture_figures(load(name), domain_samples()).as_record())
"""
