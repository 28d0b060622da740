"""The real lab: loupe-llama fine-tuned with peft while one watches, and what it forgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import work
from components.figures.curves import Curve, curves
from components.figures.lora import table_heatmap
from components.figures.style import pale
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.lora.finished import FINISHED
from components.panels.lora.settings import Scaled, Seeded, Targets, initialisation_label
from components.settings import flag, number, one_of
from components.stage import Block, Plot, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.lora.fine_tuning import (
    DOMAINS,
    METHODS,
    MOST_STEPS,
    Domain,
    FineTuning,
    Method,
    Tuned,
    check,
    fine_tune,
    held_out_loss,
    replayed_loss,
    texts,
)
from models.lora.initialisations import INITIALISATIONS, Initialisation
from models.lora.placement import TARGETS
from models.lora.recorded import nearest, recorded
from models.networks.catalogue import DEFAULT
from models.networks.loading import load

RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03")
REMEMBERED = 8  # runs in the picture


def method_label(method: str) -> str:
    return _("LoRA (peft)") if method == "lora" else _("full fine-tuning")


def domain_label(domain: str) -> str:
    return _("Python source") if domain == "python" else _("arithmetic")


def is_lora(view: "RealNetwork") -> bool:
    return view.method == "lora"


@dataclass(frozen=True)
class RealNetwork(Targets, Scaled, Seeded):
    """loupe-llama fine-tuned with peft while one watches, and what it forgets."""

    page, name = "lora", "real"
    domain: Domain = one_of(DOMAINS, label=mark("New domain"), label_of=domain_label)
    method: Method = one_of(METHODS, label=mark("Method"), label_of=method_label, style="radio")
    real_rate: str = one_of(RATES, "0.003", label=mark("Learning rate"))
    real_steps: int = number(1, MOST_STEPS, 100, label=mark("Steps"), beside=True)
    real_rank: int = number(0, 512, 8, label=mark("Rank"), shown=is_lora)
    real_alpha: int = number(0, 512, 16, label="α", beside=True, shown=is_lora)
    real_init: Initialisation = one_of(
        INITIALISATIONS, label=mark("Initialisation"), label_of=initialisation_label, shown=is_lora
    )
    real_ratio: int = number(
        1, 64, 1, label=mark("LoRA+: learning rate of B / of A"), place="more", shown=is_lora
    )
    real_dora: bool = flag(label="DoRA", place="more", shown=is_lora)
    qlora: bool = flag(
        label=mark("QLoRA: base in 4 bits (NF4)"),
        place="more",
        shown=is_lora,
        help=mark("The frozen matrices are rounded to what 4 bits can hold, in blocks of 64."),
    )

    @property
    def asked(self) -> FineTuning:
        """The run that the controls describe."""
        common: dict[str, Any] = {
            "domain": self.domain,
            "method": self.method,
            "learning_rate": float(self.real_rate),
            "steps": self.real_steps,
            "seed": self.seed,
        }
        if self.method == "full":
            return FineTuning(**common)
        return FineTuning(
            **common,
            targets=tuple(target for target in TARGETS if target in self.targets),
            rank=self.real_rank,
            alpha=float(self.real_alpha),
            scaling=self.scaling,
            initialisation=self.real_init,
            dora=self.real_dora,
            ratio=float(self.real_ratio),
            four_bit=self.qlora,
        )

    def run(self) -> work.Run[Tuned]:
        asked = self.asked
        return work.run(
            "lora_real",
            asked,
            lambda: fine_tune(asked),
            asked.steps,
            real=True,
            cumulative=True,
            done=lambda tuned: tuned.step,
        )

    def stage(self) -> Stage:
        return Stage(Block(self.draw_run))

    def draw_run(self) -> None:
        """Buttons, and curves of the new and the old domain. Raises InputError on what peft refuses."""
        asked = self.asked
        check(asked)
        known = None if has_own(asked) else partial(record_for, asked)
        work.stage(self.run(), partial(draw, asked), recorded=known)

    def below(self) -> None:
        """All runs of the session, the adapter to take along, the check."""
        note(self, "real")
        asked, run = self.asked, self.run()
        tuned = run.results[-1] if run.results else FINISHED.find(asked)
        runs_so_far(asked, tuned)
        if tuned is not None and tuned.is_finished and not run.is_running:
            checked_against(checks(asked, tuned))
        runs = runs_of(asked.domain)
        if not runs and not has_own(asked):  # what the stage shows
            runs = {nearest(asked): curves_of(known) for known in record_for(asked)}
        take_with_you(
            self, lambda: run_points(runs), lambda: loss_figure(asked, "new", runs), snippet(asked)
        )


def has_own(asked: FineTuning) -> bool:
    """Whether runs of this session, or a finished one of anybody's, say more than a recorded one."""
    return bool(runs_of(asked.domain)) or FINISHED.find(asked) is not None


def record_for(asked: FineTuning) -> list[Tuned]:
    """What is shown before a start."""
    known = recorded(nearest(asked))
    return [] if known is None else [known]


def draw(asked: FineTuning, seen: Sequence[Tuned], *, faint: bool = False) -> None:
    """Curves of all runs so far; a finished one is kept for everybody."""
    if faint and seen:
        asked = nearest(asked)
        shown = {asked: curves_of(seen[-1])}
    else:
        tuned = seen[-1] if seen else FINISHED.find(asked)
        if seen and seen[-1].is_finished:
            FINISHED.keep(asked, seen[-1])
        remember(asked, tuned)
        shown = runs_here()
    titles = {"new": _("Loss on the new domain"), "old": _("Loss on the old domain")}
    plots = [
        Plot(which, pale(loss_figure(asked, which, shown), faint), title) for which, title in titles.items()
    ]
    show(Stage(plots, reserved=work.BUTTONS), "lora")


def remember(asked: FineTuning, tuned: Tuned | None) -> None:
    """Curves of this session's runs as plain numbers, stopped ones too."""
    runs = runs_here()
    if tuned is None:
        return
    runs[asked] = curves_of(tuned)
    while len(runs) > REMEMBERED:
        del runs[next(iter(runs))]


def curves_of(tuned: Tuned) -> dict[str, Any]:
    return {
        "steps": tuned.steps.tolist(),
        "new": tuned.new.tolist(),
        "old": tuned.old.tolist(),
        "trained": tuned.trained,
        "seconds": tuned.seconds,
        "done": tuned.step,
    }


def runs_here() -> dict[FineTuning, dict[str, Any]]:
    runs: dict[FineTuning, dict[str, Any]] = st.session_state.setdefault("lora_runs", {})
    return runs


def runs_of(domain: Domain) -> dict[FineTuning, dict[str, Any]]:
    return {run: seen for run, seen in runs_here().items() if run.domain == domain and seen["new"]}


def run_label(run: FineTuning) -> str:
    if run.method == "full":
        return f"{method_label('full')} · {run.learning_rate:g}"
    extras = "".join([" DoRA" * run.dora, " NF4" * run.four_bit, " α/√r" * (run.scaling != "alpha/r")])
    start = initialisation_label(run.initialisation)
    return f"r={run.rank} α={run.alpha:g} {start} {run.learning_rate:g}{extras}"


def loss_figure(asked: FineTuning, which: str, runs: dict[FineTuning, dict[str, Any]]) -> go.Figure:
    """One curve a run of this domain; the dotted line is the network without fine-tuning."""
    before, top = without_tuning(asked.domain)[which], 1.0
    shown = []
    for place, (run, seen) in enumerate(runs.items()):
        if run.domain == asked.domain and seen["steps"]:
            shown.append(
                Curve(run_label(run), place, np.array(seen["steps"]), np.array(seen[which]), markers=True)
            )
            top = max([top, *seen[which]])
    title = _("Loss on {domain} (nats a token)").format(
        domain=domain_label(asked.domain) if which == "new" else _("the old domain, prose")
    )
    return curves(
        shown,
        _("Step"),
        title,
        x_range=(0, asked.steps),
        y_range=(0, 1.08 * max(top, before)),
        level=(before, _("no fine-tuning: {loss}").format(loss=f"{before:.3f}")),
        height=420,
    )


@st.cache_data(max_entries=4, show_spinner=False)
def without_tuning(domain: Domain) -> dict[str, float]:
    """The held-out losses of the network as it ships."""
    model = load(DEFAULT).model
    return {
        "new": held_out_loss(model, texts(domain).held_out),
        "old": held_out_loss(model, texts("prose").held_out),
    }


def runs_so_far(asked: FineTuning, tuned: Tuned | None) -> None:
    """All runs of the session as a table and as rank × initialisation; the adapter to take along."""
    runs = runs_of(asked.domain)
    if runs:
        left, right = st.columns(2, gap="medium")
        with left:
            st.dataframe(run_table(runs), hide_index=True, width="stretch")
        with right:
            if any(run.method == "lora" for run in runs):
                live_figure(rank_heatmap(runs), "lora_real_heatmap", _("Loss by rank and initialisation"))
    if tuned is not None and tuned.adapter:
        st.download_button(
            _("The adapter as peft saves it"),
            tuned.adapter,
            f"loupe-{asked.initialisation}-r{asked.rank}.zip",
            "application/zip",
            key="lora_adapter",
            icon=":material/save:",
            on_click="ignore",
        )


def run_table(runs: dict[FineTuning, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                _("Run"): run_label(run),
                _("Trained"): f"{seen['trained']:,}",
                _("Steps"): seen["done"],
                _("New domain"): f"{seen['new'][-1]:.3f}",
                _("Old domain"): f"{seen['old'][-1]:.3f}",
                _("Forgetting"): f"{seen['old'][-1] - seen['old'][0]:+.3f}",
                _("Seconds"): f"{seen['seconds']:.0f}",
            }
            for run, seen in runs.items()
        ]
    )


def run_points(runs: dict[FineTuning, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            vars(run) | {"step": step, "new_loss": new, "old_loss": old}
            for run, seen in runs.items()
            for step, new, old in zip(seen["steps"], seen["new"], seen["old"], strict=True)
        ]
    )


def rank_heatmap(runs: dict[FineTuning, dict[str, Any]]) -> go.Figure:
    """The least new-domain loss that a run of each rank and initialisation has reached so far."""
    adapters = {run: seen["new"][-1] for run, seen in runs.items() if run.method == "lora"}
    ranks = sorted({run.rank for run in adapters})
    names = [name for name in INITIALISATIONS if any(run.initialisation == name for run in adapters)]
    values = np.full((len(names), len(ranks)), np.nan)
    for run, loss in adapters.items():
        cell = names.index(run.initialisation), ranks.index(run.rank)
        values[cell] = np.fmin(values[cell], loss)
    return table_heatmap(
        values,
        [initialisation_label(name) for name in names],
        [str(rank) for rank in ranks],
        row_title="",
        column_title=_("Rank"),
        value_title=_("Loss on the new domain"),
        limits=(0.5, 10.0),
        height=130 + 40 * len(names),
    )


def checks(asked: FineTuning, tuned: Tuned) -> list[Check]:
    """The network as transformers loads it, its weights replaced by the run's: the same loss?"""
    return (
        [
            Check(
                _("transformers with the trained matrices put in, held-out loss of the new domain"),
                replayed_difference(asked),
                1e-3,
            )
        ]
        if tuned.adapter
        else []
    )


@st.cache_data(max_entries=16, show_spinner=False)
def replayed_difference(asked: FineTuning) -> float:
    """|loss of the merged weights in a fresh copy − loss of the run|; NaN once the run is forgotten."""
    tuned = FINISHED.find(asked)
    return float("nan") if tuned is None else abs(replayed_loss(asked, tuned) - float(tuned.new[-1]))


def snippet(asked: FineTuning) -> str:
    """Python that repeats the run and writes its adapter."""
    return f"""from pathlib import Path

from models.lora.fine_tuning import FineTuning, fine_tune

*_, tuned = fine_tune({asked!r})
print(tuned.steps.tolist(), tuned.new.tolist(), tuned.old.tolist())
Path("adapter.zip").write_bytes(tuned.adapter)
"""
