"""A small transformer trained live: loss, gradient norm by layer, sharpness against its limit."""

from itertools import islice

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import place_of
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.optimizers.setup import schedule_label
from components.take.small_transformer import training as training_script
from components.words import _
from components.work.running import keep_going, run_controls
from models.optimizers.schedules import SHAPES, Schedule
from models.optimizers.training_lab import (
    Progress,
    Training,
    batch,
    gradient_norms_at_start,
    loss_on,
    network,
    sharpness_limit,
    train,
)
from models.optimizers.trajectories import KINDS

TRAINABLE = (*(kind for kind in KINDS if kind != "lbfgs"), "muon")
SHARPNESS_EVERY = 10
EARLIER_KEPT = 4
PREVIEW = 20  # steps that are shown before a run is started


def kind_label(kind: str) -> str:
    return "Muon" if kind == "muon" else KINDS[kind].label


@panel
def training(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("Optimizer"), TRAINABLE, f"{name}_trained", kind_label, default="adam", width=190)
        live_slider(
            _("Learning rate η"), f"{name}_training_rate", 1e-5, 3.0, 3e-3, log=True,
            settled=("training_run",),
        )  # fmt: skip
        choose(
            _("Layer norm"), ("pre", "post"), f"{name}_norm", norm_label, default="pre", style="segments"
        )
        whole_number(_("Layers"), 1, 12, f"{name}_layers", 2, width=100)
        whole_number(_("Steps"), 10, 1000, f"{name}_training_steps", 200, width=110)
        choose(
            _("Schedule"),
            SHAPES,
            f"{name}_training_schedule",
            schedule_label,
            default="constant",
            width=150,
        )
        whole_number(_("Warm-up steps"), 0, 500, f"{name}_training_warmup", 0, width=130)
        choose(
            _("Batches"),
            ("fresh", "fixed"),
            f"{name}_batches",
            lambda way: _("a new one each step") if way == "fresh" else _("always the same one"),
            default="fresh",
            style="segments",
        )
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    training_run(page)
    page.note("training")


def norm_label(norm: str) -> str:
    return _("before (Pre-LN)") if norm == "pre" else _("after (Post-LN)")


def training_now(page: Page) -> Training:
    """The run that the controls describe."""
    state, name = st.session_state, page.name
    return Training(
        state[f"{name}_trained"],
        slider_value(f"{name}_training_rate", 1e-5, 3.0, 3e-3),
        state[f"{name}_norm"],
        state[f"{name}_layers"],
        state[f"{name}_training_steps"],
        Schedule(state[f"{name}_training_schedule"], state[f"{name}_training_warmup"]),
        state[f"{name}_batches"] == "fixed",
        SHARPNESS_EVERY,
        state[f"{name}_seed"],
    )


@panel
def training_run(page: Page) -> None:
    asked = training_now(page)
    held = run_controls(page, "training", asked, lambda: train(asked), asked.steps)
    seen: list[Progress] = held.seen if held is not None else preview(asked)
    first, second, third = st.columns(3, gap="small")
    with first:
        live_figure(
            loss_figure(page, asked, seen), f"{page.name}_training_loss", _("Loss against the step")
        )
    with second:
        live_figure(
            norms_figure(asked, seen),
            f"{page.name}_norms",
            _("Gradient norm of each layer against the step"),
        )
    with third:
        live_figure(
            sharpness_figure(asked, seen),
            f"{page.name}_sharpness",
            _("Sharpness and its limit against the step"),
        )
    if seen and seen[-1].diverged:
        st.error(
            _("The loss was no finite number at step {step}: this run diverged.").format(step=seen[-1].step)
        )
    if held is not None and held.is_done:
        _remember(page, asked, seen)
    checked_against(checks(asked))
    take_with_you(
        f"{page.name}_training",
        lambda: table(seen),
        lambda: loss_figure(page, asked, seen),
        lambda: training_script(asked, list(seen)),
    )
    keep_going(page, "training", held)


@st.cache_resource(max_entries=16, show_spinner=False)
def preview(asked: Training) -> list[Progress]:
    """The first steps of a run that nobody has started yet."""
    return list(islice(train(asked), PREVIEW))


def _remember(page: Page, asked: Training, seen: list[Progress]) -> None:
    """The last finished runs stay in the picture, faintly, to compare with."""
    earlier = st.session_state.setdefault(f"{page.name}_earlier", {})
    earlier[asked] = np.array([progress.loss for progress in seen], dtype=np.float32)
    while len(earlier) > EARLIER_KEPT:
        del earlier[next(iter(earlier))]


def loss_figure(page: Page, asked: Training, seen: list[Progress]) -> go.Figure:
    lines = [
        Curve(_earlier_label(run), place_of(run.kind), np.arange(len(losses)), losses, is_faint=True)
        for run, losses in st.session_state.get(f"{page.name}_earlier", {}).items()
        if run != asked
    ]
    losses = np.array([progress.loss for progress in seen], dtype=np.float32)
    lines.append(
        Curve(
            f"{kind_label(asked.kind)} η={asked.rate:.2g}",
            place_of(asked.kind),
            np.arange(len(losses)),
            losses,
        )
    )
    return curves(
        lines,
        _("Step"),
        _("Loss (nats a character)"),
        x_range=(0, asked.steps),
        y_range=(0, 5),
        height=420,
    )


def _earlier_label(run: Training) -> str:
    norm = "" if run.norm == "pre" else " Post-LN"
    warmup = f" ⇡{run.schedule.warmup}" if run.schedule.warmup else ""
    return f"{kind_label(run.kind)} η={run.rate:.2g}{norm}{warmup}"


def norms_figure(asked: Training, seen: list[Progress]) -> go.Figure:
    steps = np.array([progress.step for progress in seen])
    lines = []
    for layer in range(asked.layers):
        values = np.array([float(progress.gradient_norms[layer]) for progress in seen])
        name = _("layer {number}").format(number=layer + 1)
        lines.append(Curve(name, layer, steps, np.maximum(values, 1e-8)))
    return curves(
        lines,
        _("Step"),
        _("Gradient norm"),
        x_range=(0, asked.steps),
        y_log=True,
        y_range=(-3, 2.5),
        height=420,
    )


def sharpness_figure(asked: Training, seen: list[Progress]) -> go.Figure:
    measured = [progress for progress in seen if progress.sharpness is not None]
    values = np.array([progress.sharpness for progress in measured], dtype=np.float64)
    limit = sharpness_limit(asked)
    top = np.log10(max([10.0, limit or 0.0, *values])) + 0.7
    return curves(
        [
            Curve(
                _("sharpness"),
                place_of(asked.kind),
                np.array([progress.step for progress in measured]),
                np.maximum(values, 1e-3),
                mark=len(values) - 1 if len(values) else None,
            )
        ],
        _("Step"),
        _("Largest eigenvalue of the Hessian"),
        x_range=(0, asked.steps),
        y_log=True,
        y_range=(-1, top),
        y_line=None if limit is None else (limit, limit_label(asked, limit)),
        height=420,
    )


def limit_label(asked: Training, limit: float) -> str:
    formula = {"sgd": "2/η", "momentum": "(2+2β)/η"}.get(asked.kind, "(2+2β₁)/((1−β₁)η)")
    return f"{formula} = {limit:.3g}"


def checks(asked: Training) -> list[Check]:
    """The first batch again, by other functions of torch."""
    net = network(asked)
    ids = batch(torch.Generator().manual_seed(asked.seed))
    log_probabilities = net(ids[:, :-1]).log_softmax(-1)
    loss = -log_probabilities.gather(-1, ids[:, 1:, None]).mean()
    loss.backward()
    norms = torch.stack([_norm_of(layer) for layer in net.layers])
    gap = (norms - gradient_norms_at_start(asked.norm, asked.layers, asked.seed)).abs().max()
    again = loss_on(network(asked), ids)
    return [
        Check(_("the first loss with log_softmax and gather"), abs(loss - again).item(), 1e-5),
        Check(_("gradient norms with torch.nn.utils.get_total_norm"), gap.item(), 1e-4),
    ]


def _norm_of(layer: torch.nn.Module) -> torch.Tensor:
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def table(seen: list[Progress]) -> pd.DataFrame:
    rows = [
        {"step": p.step, "loss": p.loss, "rate": p.rate, "sharpness": p.sharpness}
        | {f"gradient_norm_{layer + 1}": float(norm) for layer, norm in enumerate(p.gradient_norms)}
        for p in seen
    ]
    return pd.DataFrame(rows)
