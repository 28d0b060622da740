"""A small transformer trained live: loss, gradient norm by layer, sharpness against its limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import work
from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import place_of
from components.figures.style import pale
from components.lesson_parts import note
from components.panels.optimizers.settings import Seeded, kind_label, schedule_label
from components.settings import number, one_of, slider
from components.stage import Block, Plot, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.optimizers.recorded import FIRST, SHARPNESS_EVERY, recorded
from models.optimizers.schedules import SHAPES, Schedule
from models.optimizers.training_lab import (
    CONTEXT,
    NORMS,
    ROWS,
    WIDTH,
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
EARLIER_KEPT = 4
LAYER_LOOKS = 18  # the first look that is no optimizer's


def trained_label(kind: str) -> str:
    return "Muon" if kind == "muon" else kind_label(kind)


def norm_label(norm: str) -> str:
    return _("before (Pre-LN)") if norm == "pre" else _("after (Post-LN)")


def batches_label(batches: str) -> str:
    return _("a new one each step") if batches == "fresh" else _("always the same one")


@dataclass(frozen=True)
class TrainsNetwork(Seeded):
    """A small transformer that is trained before one's eyes."""

    page, name = "optimizers", "training"
    training_rate: float = slider(1e-5, 3.0, 3e-3, log=True, label=mark("Learning rate η"), live=False)
    trained: str = one_of(TRAINABLE, "adam", label=mark("Optimizer"), label_of=trained_label)
    batches: str = one_of(("fresh", "fixed"), label=mark("Batches"), label_of=batches_label)
    norm: str = one_of(NORMS, label=mark("Layer norm"), label_of=norm_label)
    layers: int = number(1, 12, 2, label=mark("Layers"))
    training_steps: int = number(10, 1000, 200, label=mark("Steps"), beside=True)
    training_schedule: str = one_of(
        SHAPES, "constant", label=mark("Schedule"), label_of=schedule_label, place="more"
    )
    training_warmup: int = number(0, 500, 0, label=mark("Warm-up steps"), place="more")

    @property
    def training(self) -> Training:
        """The run that the controls describe."""
        return Training(
            self.trained,
            self.training_rate,
            self.norm,
            self.layers,
            self.training_steps,
            Schedule(self.training_schedule, self.training_warmup),
            self.batches == "fixed",
            SHARPNESS_EVERY,
            self.seed,
        )

    def run(self) -> work.Run[Progress]:
        training = self.training
        return work.run("optimizers_training", training, lambda: train(training), training.steps)

    def stage(self) -> Stage:
        return Stage(Block(self.draw_run))

    def draw_run(self) -> None:
        run, training = self.run(), self.training
        work.stage(
            run, partial(draw, training, run), recorded=lambda: recorded(recorded_for(training)) or []
        )

    def below(self) -> None:
        note(self, "training")
        training = self.training
        results: Sequence[Progress] = self.run().results
        if not results:
            training = recorded_for(training)
            results = recorded(training) or []
        checked_against(checks(self.training))
        take_with_you(
            self,
            lambda: table(results),
            lambda: loss_figure(training, results, {}),
            snippet(self.training),
        )


def recorded_for(training: Training) -> Training:
    """The settings of what is shown before a start: these, or those of the first run that was recorded."""
    return training if recorded(training) is not None else FIRST


def draw(
    training: Training, run: work.Run[Progress], results: Sequence[Progress], *, faint: bool = False
) -> None:
    """Loss, gradient norms and sharpness against the step."""
    shown = recorded_for(training) if faint else training
    earlier = earlier_runs()
    losses = loss_figure(shown, results, {run: past for run, past in earlier.items() if run != shown})
    plots = [
        Plot("training_loss", pale(losses, faint), _("Loss against the step")),
        Plot(
            "norms",
            pale(norms_figure(shown, results), faint),
            _("Gradient norm of each layer against the step"),
        ),
        Plot(
            "sharpness",
            pale(sharpness_figure(shown, results), faint),
            _("Sharpness and its limit against the step"),
        ),
    ]
    show(Stage(plots, reserved=work.BUTTONS), "optimizers")
    if results and results[-1].diverged:
        step = results[-1].step
        st.error(_("The loss was no finite number at step {step}: this run diverged.").format(step=step))
    if run.finished:
        earlier[training] = np.array([progress.loss for progress in results], dtype=np.float32)
        while len(earlier) > EARLIER_KEPT:
            del earlier[next(iter(earlier))]


def earlier_runs() -> dict[Training, np.ndarray]:
    """Losses of the last finished runs of this session, which stay in the picture to compare with."""
    runs: dict[Training, np.ndarray] = st.session_state.setdefault("optimizers_earlier", {})
    return runs


def loss_figure(
    training: Training, results: Sequence[Progress], earlier: dict[Training, np.ndarray]
) -> go.Figure:
    """The loss so far, over the last finished runs."""
    lines = [
        Curve(run_label(run), place_of(run.kind), np.arange(len(losses)), losses, is_faint=True)
        for run, losses in earlier.items()
    ]
    losses = np.array([progress.loss for progress in results], dtype=np.float32)
    lines.append(Curve(run_label(training), place_of(training.kind), np.arange(len(losses)), losses))
    return curves(
        lines, _("Step"), _("Loss (nats per character)"), x_range=(0, training.steps), y_range=(0, 5)
    )


def run_label(run: Training) -> str:
    """Optimizer and learning rate, and what else is not as at first."""
    norm = "" if run.norm == "pre" else " Post-LN"
    warmup = f" ⇡{run.schedule.warmup}" if run.schedule.warmup else ""
    return f"{trained_label(run.kind)} η={run.rate:.2g}{norm}{warmup}"


def norms_figure(training: Training, results: Sequence[Progress]) -> go.Figure:
    steps = np.array([progress.step for progress in results])
    lines = []
    for layer in range(training.layers):
        values = np.array([float(progress.gradient_norms[layer]) for progress in results])
        name = _("layer {number}").format(number=layer + 1)
        lines.append(Curve(name, LAYER_LOOKS + layer, steps, np.maximum(values, 1e-8)))
    return curves(
        lines, _("Step"), _("Gradient norm"), x_range=(0, training.steps), y_log=True, y_range=(-3, 2.5)
    )


def sharpness_figure(training: Training, results: Sequence[Progress]) -> go.Figure:
    measured = [progress for progress in results if progress.sharpness is not None]
    values = np.array([progress.sharpness for progress in measured], dtype=np.float64)
    limit = sharpness_limit(training)
    top = np.log10(max([10.0, limit or 0.0, *values])) + 0.7
    return curves(
        [
            Curve(
                _("sharpness"),
                place_of(training.kind),
                np.array([progress.step for progress in measured]),
                np.maximum(values, 1e-3),
                mark=len(values) - 1 if len(values) else None,
            )
        ],
        _("Step"),
        _("Largest eigenvalue of the Hessian"),
        x_range=(0, training.steps),
        y_log=True,
        y_range=(-1, top),
        y_line=None if limit is None else (limit, limit_label(training, limit)),
    )


def limit_label(training: Training, limit: float) -> str:
    formula = {"sgd": "2/η", "momentum": "(2+2β)/η"}.get(training.kind, "(2+2β₁)/((1−β₁)η)")
    return f"{formula} = " + (f"{limit:,.0f}" if limit >= 1000 else f"{limit:.3g}")


def checks(training: Training) -> list[Check]:
    """The first batch again, by other functions of torch."""
    net = network(training)
    ids = batch(torch.Generator().manual_seed(training.seed))
    log_probabilities = net(ids[:, :-1]).log_softmax(-1)
    loss = -log_probabilities.gather(-1, ids[:, 1:, None]).mean()
    loss.backward()
    norms = torch.stack([_norm_of(layer) for layer in net.layers])
    gap = (norms - gradient_norms_at_start(training.norm, training.layers, training.seed)).abs().max()
    again = loss_on(network(training), ids)
    return [
        Check(_("the first loss with log_softmax and gather"), abs(loss - again).item(), 1e-5),
        Check(_("gradient norms with torch.nn.utils.get_total_norm"), gap.item(), 1e-4),
    ]


def _norm_of(layer: torch.nn.Module) -> torch.Tensor:
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def table(results: Sequence[Progress]) -> pd.DataFrame:
    rows = [
        {"step": p.step, "loss": p.loss, "rate": p.rate, "sharpness": p.sharpness}
        | {f"gradient_norm_{layer + 1}": float(norm) for layer, norm in enumerate(p.gradient_norms)}
        for p in results
    ]
    return pd.DataFrame(rows)


def snippet(training: Training) -> str:
    """Python that repeats the run."""
    return f"""from models.optimizers.schedules import Schedule
from models.optimizers.training_lab import Training, train

# width {WIDTH}, batches of {ROWS} × {CONTEXT} characters
for progress in train({training!r}):
    print(progress.step, progress.loss, progress.gradient_norms.tolist(), progress.sharpness)
"""
