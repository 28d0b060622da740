"""Sensitivity map: every matrix quantized alone, layer by module, beside its own error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import work
from components.figures.quantized_network import sensitivity_map
from components.figures.style import pale
from components.lesson_parts import note
from components.live.figure import Room, live_figure
from components.panels.network.reading import ReadsText
from components.panels.quantization.reading import (
    baseline,
    errors_alone,
    followed_down,
    network,
    weights,
)
from components.panels.quantization.settings import ChoosesFormat
from components.settings import one_of
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.quantized_network import Sensitivity, Weight, cascade, sensitivities
from models.quantization.recorded import recorded_sensitivities

MEASURES = ("kl", "loss")


def measure_label(measure: str) -> str:
    return {"kl": _("KL (nats)"), "loss": _("added loss (nats)")}[measure]


@dataclass(frozen=True)
class SensitivityMap(ChoosesFormat, ReadsText):
    """Every matrix alone: how far it is from the original, and what that does to the next token."""

    page, name = "quantization", "sensitivity"
    measure: str = one_of(MEASURES, label=mark("Shown"), label_of=measure_label, style="segments")

    def steps(self) -> Iterator[Sensitivity]:
        base = baseline(self.network_name, self.text)
        return sensitivities(network(self.network_name), base.tokens, self.setting, base)

    def stage(self) -> Stage:
        baseline(self.network_name, self.text)  # an encoder is refused before anything is drawn
        alt = _("Error of each matrix alone")
        return Stage([Plot("alone", self.errors_figure(), alt), Block(self.run, width=1.15)])

    def errors_figure(self) -> go.Figure:
        errors = errors_alone(self.network_name, self.setting).numpy()
        values = dict(zip(weights(self.network_name), errors.tolist(), strict=True))
        return map_figure(self.network_name, values, _("Error of the weights"))

    def effects(self) -> work.Run[Sensitivity]:
        """The run of this session over all matrices."""
        settings = (self.network_name, self.text, self.setting)
        return work.run("quantization_sensitivity", settings, self.steps, len(weights(self.network_name)))

    def run(self) -> None:
        """The map with its buttons."""
        known = recorded_sensitivities(self.network_name, self.text, self.setting)
        work.stage(self.effects(), self.draw, recorded=(lambda: known) if known else None)

    def draw(self, results: Sequence[Sensitivity], *, faint: bool = False) -> None:
        """The map as far as it is filled."""
        figure = pale(self.map(results), faint)
        room = Room(1.0, work.BUTTONS, 200)
        live_figure(figure, "quantization_map", _("Sensitivity of every matrix"), room=room)

    def map(self, results: Sequence[Sensitivity]) -> go.Figure:
        values = {
            item.weight: item.kl if self.measure == "kl" else max(0.0, item.added_loss) for item in results
        }
        return map_figure(self.network_name, values, measure_label(self.measure))

    def below(self) -> None:
        note(self, "sensitivity")
        run = self.effects()
        if run.finished:
            facts(self, run.results)
        else:
            take_with_you(self, None, None, snippet(self))


def map_figure(name: str, values: dict[Weight, float], title: str) -> go.Figure:
    """Layers down, modules across."""
    every = weights(name)
    layers = sorted({weight.layer for weight in every})
    modules = list(dict.fromkeys(weight.module for weight in every))
    cells = np.full((len(layers), len(modules)), np.nan)
    for weight, value in values.items():
        cells[layers.index(weight.layer), modules.index(weight.module)] = value
    return sensitivity_map(cells, layers, modules, title)


def facts(view: SensitivityMap, seen: Sequence[Sensitivity]) -> None:
    """The order, the sum against all together, and one entry computed again on its own."""
    table = pd.DataFrame(
        {
            _("Layer"): [item.weight.layer for item in seen],
            _("Matrix"): [item.weight.module for item in seen],
            _("KL (nats)"): [item.kl for item in seen],
            _("added loss (nats)"): [item.added_loss for item in seen],
        }
    ).sort_values(_("KL (nats)"), ascending=False)
    together = followed_down(view.network_name, view.text, "all", view.setting)
    st.markdown(
        _("Summed over all matrices, each alone: KL {sum}. All of them together: KL {together}.").format(
            sum=f"{sum(item.kl for item in seen):.4f}", together=f"{together.measured.mean_kl:.4f}"
        )
    )
    st.dataframe(table, hide_index=True, height=260)
    worst = max(seen, key=lambda item: item.kl)
    loaded, tokens = network(view.network_name), baseline(view.network_name, view.text).tokens
    again = cascade(loaded, tokens, (worst.weight,), view.setting)
    what = _("the largest one, measured again on its own")
    checked_against([Check(what, abs(again.measured.mean_kl - worst.kl), 1e-5)])
    take_with_you(view, lambda: table, lambda: view.map(seen), snippet(view))


def snippet(view: SensitivityMap) -> str:
    """Python that repeats the map."""
    return f"""from models.networks.loading import load
from models.quantization.quantized_network import sensitivities, token_ids
from models.quantization.weight_formats import Setting

network = load({view.network_name!r})
for found in sensitivities(network, token_ids(network, {view.text!r}), {view.setting!r}):
    print(found.weight.layer, found.weight.module, found.kl, found.added_loss)
"""
