"""The real lab: loupe-llama fine-tuned with peft while one watches, and what it forgets."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose, choose_several, whole_number
from components.figures.curves import Curve, curves
from components.figures.lora import table_heatmap
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.lora.finished import FINISHED
from components.panels.lora.setup import choose_initialisation, choose_scaling, initialisation_label
from components.refusal import refusals
from components.words import _
from components.work.running import is_going, keep_going, run_buttons, run_of, show_progress
from components.work.runs import Held
from models.lora.fine_tuning import (
    DOMAINS,
    METHODS,
    MOST_STEPS,
    Domain,
    FineTuning,
    Tuned,
    check,
    fine_tune,
    held_out_loss,
    replayed_loss,
    texts,
)
from models.lora.initialisations import INITIALISATIONS
from models.lora.placement import TARGETS
from models.networks.catalogue import DEFAULT
from models.networks.loading import load

RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03")
REMEMBERED = 8  # runs in the picture


def method_label(method: str) -> str:
    return _("LoRA (peft)") if method == "lora" else _("full fine-tuning")


def domain_label(domain: str) -> str:
    return _("Python source") if domain == "python" else _("arithmetic")


@panel
def real_lab(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("New domain"), DOMAINS, f"{name}_domain", domain_label, default="python", style="segments")
        choose(_("Method"), METHODS, f"{name}_method", method_label, default="lora", style="segments")
        choose(_("Learning rate"), RATES, f"{name}_real_rate", str, default="0.003", width=130)
        whole_number(_("Steps"), 1, MOST_STEPS, f"{name}_real_steps", 100, width=110)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_several(
            _("LoRA on"), TARGETS, f"{name}_targets", str,
            default=page.default("targets"), most=7, least=0, width=520,
        )  # fmt: skip
        whole_number(_("Rank"), 0, 512, f"{name}_real_rank", 8, width=110)
        whole_number("α", 0, 512, f"{name}_real_alpha", 16, width=110)
        choose_initialisation(page, "real_init")
        choose_scaling(page)
        whole_number(_("LoRA+: learning rate of B / of A"), 1, 64, f"{name}_real_ratio", 1, width=260)
        st.toggle("DoRA", key=f"{name}_real_dora", bind="query-params")
        st.toggle(
            _("QLoRA: base in 4 bits (NF4)"),
            key=f"{name}_qlora",
            bind="query-params",
            help=_("The frozen matrices are rounded to what 4 bits can hold, in blocks of 64."),
        )
    training(page)


def asked_now(page: Page) -> FineTuning:
    """The run that the controls describe."""
    state, name = st.session_state, page.name
    common: dict[str, Any] = {
        "domain": state[f"{name}_domain"],
        "method": state[f"{name}_method"],
        "learning_rate": float(state[f"{name}_real_rate"]),
        "steps": state[f"{name}_real_steps"],
        "seed": state[f"{name}_seed"],
    }
    if common["method"] == "full":
        return FineTuning(**common)
    return FineTuning(
        **common,
        targets=tuple(target for target in TARGETS if target in state[f"{name}_targets"]),
        rank=state[f"{name}_real_rank"],
        alpha=float(state[f"{name}_real_alpha"]),
        scaling=state[f"{name}_scaling"],
        initialisation=state[f"{name}_real_init"],
        dora=bool(state[f"{name}_real_dora"]),
        ratio=float(state[f"{name}_real_ratio"]),
        four_bit=bool(state[f"{name}_qlora"]),
    )


@panel
def training(page: Page) -> None:
    """Buttons, curves of the new and the old domain, and all runs so far."""
    asked = asked_now(page)
    possible = False
    with refusals():
        check(asked)
        possible = True
    held = run_of(page, "real", asked, lambda: fine_tune(asked)) if possible else None
    with st.container(horizontal=True, vertical_alignment="center"):
        if possible:
            run_buttons(page, "real", asked, lambda: fine_tune(asked), held, is_real=True)
    tuned = latest(asked, held)
    if tuned is not None and is_going(page, "real"):
        show_progress(tuned.step, asked.steps)
    remember(page, asked, tuned)
    left, right = st.columns(2, gap="medium")
    for column, which in ((left, "new"), (right, "old")):
        with column:
            live_figure(
                loss_figure(page, asked, which),
                f"{page.name}_{which}",
                _("Loss on the new domain") if which == "new" else _("Loss on the old domain"),
            )
    page.note("real")
    runs_so_far(page, asked, tuned)
    keep_going(page, "real", held)


def latest(asked: FineTuning, held: Held | None) -> Tuned | None:
    """How far this run is; a finished one is kept for everybody."""
    if held is not None and held.seen:
        tuned: Tuned = held.seen[-1]
        if tuned.is_finished:
            FINISHED.keep(asked, tuned)
        return tuned
    return FINISHED.find(asked)


def remember(page: Page, asked: FineTuning, tuned: Tuned | None) -> None:
    """Curves of this session's runs as plain numbers, stopped ones too."""
    runs: dict[FineTuning, dict] = st.session_state.setdefault(f"{page.name}_runs", {})
    if tuned is None:
        return
    runs[asked] = {
        "steps": tuned.steps.tolist(),
        "new": tuned.new.tolist(),
        "old": tuned.old.tolist(),
        "trained": tuned.trained,
        "seconds": tuned.seconds,
        "done": tuned.step,
    }
    while len(runs) > REMEMBERED:
        del runs[next(iter(runs))]


def runs_here(page: Page) -> dict[FineTuning, dict]:
    return st.session_state.get(f"{page.name}_runs", {})


def run_label(run: FineTuning) -> str:
    if run.method == "full":
        return f"{method_label('full')} · {run.learning_rate:g}"
    extras = "".join([" DoRA" * run.dora, " NF4" * run.four_bit, " α/√r" * (run.scaling != "alpha/r")])
    start = initialisation_label(run.initialisation)
    return f"r={run.rank} α={run.alpha:g} {start} {run.learning_rate:g}{extras}"


def loss_figure(page: Page, asked: FineTuning, which: str) -> go.Figure:
    """One curve a run of this domain; the dotted line is the network without fine-tuning."""
    before, top = without_tuning(asked.domain)[which], 1.0
    shown = []
    for place, (run, seen) in enumerate(runs_here(page).items()):
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


def runs_so_far(page: Page, asked: FineTuning, tuned: Tuned | None) -> None:
    """All runs of the session as a table and as rank × initialisation; the adapter to take along."""
    runs = {
        run: seen for run, seen in runs_here(page).items() if run.domain == asked.domain and seen["new"]
    }
    if runs:
        left, right = st.columns(2, gap="medium")
        with left:
            st.dataframe(run_table(runs), hide_index=True, width="stretch")
        with right:
            if any(run.method == "lora" for run in runs):
                live_figure(
                    rank_heatmap(runs), f"{page.name}_real_heatmap", _("Loss by rank and initialisation")
                )
    if tuned is not None and tuned.adapter:
        st.download_button(
            _("The adapter as peft saves it"),
            tuned.adapter,
            f"loupe-{asked.initialisation}-r{asked.rank}.zip",
            "application/zip",
            key=f"{page.name}_adapter",
            icon=":material/save:",
            on_click="ignore",
        )
    if tuned is not None and tuned.is_finished and not is_going(page, "real"):
        checked_against(checks(asked, tuned))
    take_with_you(
        f"{page.name}_real",
        lambda: run_points(runs),
        lambda: loss_figure(page, asked, "new"),
        snippet(asked),
    )


def run_table(runs: dict[FineTuning, dict]) -> pd.DataFrame:
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


def run_points(runs: dict[FineTuning, dict]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            vars(run) | {"step": step, "new_loss": new, "old_loss": old}
            for run, seen in runs.items()
            for step, new, old in zip(seen["steps"], seen["new"], seen["old"], strict=True)
        ]
    )


def rank_heatmap(runs: dict[FineTuning, dict]) -> go.Figure:
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
    return f"""from models.lora.fine_tuning import FineTuning, fine_tune

*_, tuned = fine_tune({asked!r})
print(tuned.steps.tolist(), tuned.new.tolist(), tuned.old.tolist())
open("adapter.zip", "wb").write(tuned.adapter)
"""
