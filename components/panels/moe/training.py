"""Live training of a small mixture-of-experts layer, whose balancing can be turned while it runs."""

from collections.abc import Sequence
from itertools import pairwise
from threading import Lock

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose, whole_number
from components.figures.moe import curves_over_time, load_over_time
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Page, take_with_you
from components.panels import panel
from components.words import _
from components.work.running import forget_running, keep_going, run_buttons, show_progress
from components.work.runs import QUEUE, name_here
from models.moe.layer_training import (
    BALANCINGS,
    ROUTERS,
    STEPS,
    Balancing,
    Knobs,
    LayerSettings,
    LayerTraining,
    Outcome,
    Router,
    Step,
)

RUN = "layer"
LENGTHS = (STEPS, 4 * STEPS, 16 * STEPS)
COLUMNS, POINTS = 100, 400  # of the heatmap, and of a curve
TOP_VIOLATION = 7.0  # collapse of 16 experts with 2 chosen
_one_at_a_time = Lock()


def training(page: Page) -> None:
    knobs(page)
    layer_training(page)


def balancing_name(balancing: Balancing) -> str:
    return {
        "none": _("none"),
        "loss": _("auxiliary loss α"),
        "sequence": _("loss by sequence α"),
        "device": _("loss by device α"),
        "sign": _("bias, by sign"),
        "proportional": _("bias, proportional"),
    }[balancing]


def router_name(router: Router) -> str:
    return {
        "sigmoid": _("sigmoid, top K"),
        "softmax": _("softmax, top K"),
        "expert_choice": _("expert choice"),
        "hash": _("hash (learns nothing)"),
    }[router]


@panel
def knobs(page: Page) -> None:
    """What may be turned in the middle of a run; the run reads them before every step."""
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(
            _("Router"), ROUTERS, f"{name}_router", router_name, default="sigmoid", width=220,
            help=_(
                "Experts that choose their tokens, and a hash of the token, leave nothing to balance: "
                "there neither a loss nor the bias does anything."
            ),
        )  # fmt: skip
        choose(_("Balancing"), BALANCINGS, f"{name}_balancing", balancing_name, default="sign", width=220)
        st.toggle(
            _("Freeze the bias (γ = 0)"), key=f"{name}_frozen", bind="query-params",
            help=_("The bias stays as it is; DeepSeek-V3 ends its training so."),
        )  # fmt: skip
    one, two, three, four = st.columns(4, gap="medium")
    with one:
        live_slider(
            _("Weight α of the loss"), f"{name}_alpha", 1e-3, 10.0, 0.1, log=True, step=1e-4,
            help=_("Used with one of the three auxiliary losses only."),
        )  # fmt: skip
    with two:
        live_slider(
            _("Bias update rate γ"), f"{name}_gamma", 1e-4, 1.0, 0.01, log=True, step=1e-5,
            help=_("Used with the bias only."),
        )  # fmt: skip
    with three:
        live_slider(
            _("Push towards expert 0"), f"{name}_push", 0.0, 8.0, 0.0, 0.1,
            help=_("Added to its logit: a disturbance. At 8 nearly every token goes there."),
        )  # fmt: skip
    with four:
        live_slider(
            _("Weight of the z-loss"), f"{name}_z_weight", 0.0, 0.1, 0.0, 0.001,
            help=_("Holds the router's logits small, and balances nothing."),
        )  # fmt: skip


def knobs_now(page: Page) -> Knobs:
    state, name = st.session_state, page.name
    return Knobs(
        state.get(f"{name}_balancing", "sign"),
        state.get(f"{name}_alpha", 0.1),
        state.get(f"{name}_gamma", 0.01),
        state.get(f"{name}_frozen", False),
        state.get(f"{name}_push", 0.0),
        state.get(f"{name}_router", "sigmoid"),
        state.get(f"{name}_z_weight", 0.0),
    )


@panel
def layer_training(page: Page) -> None:
    """Start, stop, progress; load, MaxVio and loss over the steps so far."""
    held = QUEUE.find(name_here(RUN))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = choose(
            _("Steps"), LENGTHS, f"{page.name}_steps", "{:,}".format, default=STEPS, style="segments",
            help=_("A longer run leaves time to turn knobs."),
        )  # fmt: skip
        seed = whole_number(_("Seed"), 0, 9_999, f"{page.name}_run_seed", 0, width=120)
    settings = LayerSettings(seed=seed)
    run_buttons(page, RUN, count, lambda: LayerTraining(settings).run(lambda: knobs_now(page), count), held)
    total = held.settings if held is not None and isinstance(held.settings, int) else count
    if held is not None:
        show_progress(len(steps_of(held.seen)), total)
    if held is not None:
        seen: Sequence[Step | Outcome] = held.seen
    else:
        total, seen = STEPS, finished(settings, knobs_now(page))
    draw(page, steps_of(seen), total)
    say(page, seen, total)
    keep_going(page, RUN, held)


def steps_of(seen: Sequence[Step | Outcome]) -> list[Step]:
    return [step for step in seen if isinstance(step, Step)]


@st.cache_resource(max_entries=16, show_spinner=False)
def finished(settings: LayerSettings, knobs: Knobs) -> Sequence[Step | Outcome]:
    """A whole run with knobs that stay: what a page shows before anybody starts one."""
    with _one_at_a_time:
        return list(LayerTraining(settings).run(lambda: knobs))


def draw(page: Page, steps: list[Step], total: int) -> None:
    """Three figures on axes that stay."""
    load = load_figure(steps, total)
    live_figure(load, f"{page.name}_load_time", _("Load of each expert over the training steps"))
    left, right = st.columns(2, gap="medium")
    every = total // POINTS
    violation = np.array([step.max_violation for step in steps[::every]], np.float32)
    turned = [late.step for early, late in pairwise(steps) if early.knobs != late.knobs]
    with left:
        figure = curves_over_time(
            {_("MaxVio of the batch"): violation}, every, total, _("MaxVio of the batch"),
            top=1.0 if not len(violation) else max(2.0, min(TOP_VIOLATION, float(violation.max()) * 1.05)),
            turned=turned,
        )  # fmt: skip
        live_figure(figure, f"{page.name}_violation_time", _("MaxVio over the training steps"))
    with right:
        loss = np.array([step.loss for step in steps[::every]], np.float32)
        figure = curves_over_time(
            {_("loss of the task"): loss}, every, total, _("Loss, as a share of its start"), 1.2, turned
        )
        live_figure(figure, f"{page.name}_loss_time", _("Loss over the training steps"))


def load_figure(steps: list[Step], total: int) -> go.Figure:
    """Means over so many steps, in units of the mean load; empty where the run has not come."""
    experts = len(steps[0].load) if steps else LayerSettings().experts
    table = np.full((COLUMNS, experts), np.nan, np.float32)
    every = total // COLUMNS
    whole = len(steps) // every
    if whole:
        load = np.stack([step.load.numpy() for step in steps[: whole * every]])
        table[:whole] = (load / load.mean(1, keepdims=True)).reshape(whole, every, experts).mean(1)
    return load_over_time(table, every, total)


def say(page: Page, seen: Sequence[Step | Outcome], total: int) -> None:
    """With which knobs, and what came of it on tokens that were not trained on."""
    steps = steps_of(seen)
    if not steps:
        return
    last = steps[-1].knobs
    words = _(
        "Last step {step}: {router}; {balancing}, α = {alpha}, γ = {gamma}, push {push}, "
        "weight of the z-loss {z_weight}. Mean of (log Σ exp logits)²: {z}."
    ).format(
        step=steps[-1].step,
        router=router_name(last.router),
        balancing=balancing_name(last.balancing),
        alpha=f"{last.loss_weight:.3g}",
        gamma="0" if last.frozen else f"{last.bias_rate:.3g}",
        push=f"{last.push:.1f}",
        z_weight=f"{last.z_weight:.3g}",
        z=f"{steps[-1].z:.2f}",
    )
    st.caption(words)
    outcome = seen[-1]
    if isinstance(outcome, Outcome):
        late = float(np.mean([step.max_violation for step in steps[-100:]]))
        metrics = {
            _("MaxVio_global, on 4,096 new tokens"): f"{outcome.max_violation:.3f}",
            _("The same of 4 devices of 4 experts"): f"{outcome.device_violation:.3f}",
            _("Loss on them, as a share of answering 0"): f"{outcome.loss:.4f}",
            _("MaxVio of the batch, mean of the last 100"): f"{late:.3f}",
            _("New tokens that no expert took"): f"{outcome.left_out:.1%}",
        }
        for column, (label, value) in zip(st.columns(len(metrics)), metrics.items(), strict=True):
            column.metric(label, value)
    page.note("training")
    take_with_you(
        f"{page.name}_training",
        lambda: step_table(steps),
        lambda: load_figure(steps, total),
        snippet(steps),
    )


def step_table(steps: list[Step]) -> pd.DataFrame:
    """A row a step: knobs, loss, MaxVio and the load of every expert."""
    rows = [
        {"step": s.step, **vars(s.knobs), "loss": s.loss, "max_violation": s.max_violation}
        | {f"load_{expert}": int(count) for expert, count in enumerate(s.load)}
        for s in steps
    ]
    return pd.DataFrame(rows)


def snippet(steps: list[Step]) -> str:
    """Python that repeats a run with the last step's knobs throughout."""
    return f"""from models.moe.layer_training import Knobs, LayerSettings, LayerTraining

knobs = {steps[-1].knobs!r}
training = LayerTraining(LayerSettings())
for step in training.steps(lambda: knobs):
    print(step.step, step.max_violation, step.loss)
print(training.outcome())
"""


def forget_training(page: Page) -> None:
    """A full run of the page begins: what ran is gone, and the next picture is of the knobs it finds."""
    forget_running(page)
    QUEUE.stop(name_here(RUN))
