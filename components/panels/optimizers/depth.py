"""Pre-LN and Post-LN by depth: gradients at the start, and training with and without warm-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import work
from components.figures.optimizer_curves import Curve, curves
from components.figures.style import pale
from components.lesson_parts import note
from components.panels.optimizers.settings import Seeded
from components.panels.optimizers.training import checks
from components.settings import slider
from components.stage import Block, Plot, Stage, show
from components.takeaway import checked_against, take_with_you
from components.words import _, mark
from models.optimizers.recorded import DEPTH_STEPS, DEPTH_WARMUP, FIRST_FOUR, four_of, recorded
from models.optimizers.training_lab import Progress, Training, gradient_norms_at_start, side_by_side

DEPTHS = (2, 6, 12, 24)  # layers, in the table
LOOKS = {("pre", 0): 0, ("pre", DEPTH_WARMUP): 6, ("post", 0): 1, ("post", DEPTH_WARMUP): 7}


@dataclass(frozen=True)
class NormAndDepth(Seeded):
    """How much gradient reaches each layer, and four trainings at the same learning rate."""

    page, name = "optimizers", "depth"
    depth: int = slider(1, 24, 8, 1, label=mark("Layers"))
    depth_rate: float = slider(1e-4, 0.03, 3e-3, log=True, label=mark("Learning rate η (Adam)"), live=False)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Pre-LN and Post-LN, each without and with warm-up."""
        return four_of(self.depth, self.depth_rate, self.seed)

    def stage(self) -> Stage:
        return Stage(
            [
                Plot(
                    "at_start",
                    start_figure(self.depth, self.seed),
                    _("Gradient norm of every layer before the first step, Pre-LN and Post-LN"),
                ),
                Block(self.draw_run),
            ]
        )

    def draw_run(self) -> None:
        trainings = self.trainings
        run = work.run(
            "optimizers_depth",
            trainings,
            lambda: side_by_side(list(trainings)),
            DEPTH_STEPS,
            cumulative=True,
        )
        work.stage(run, partial(draw, trainings), recorded=lambda: [recorded_four(trainings)[1]])

    def below(self) -> None:
        note(self, "depth")
        rows = table(self.seed)
        st.dataframe(rows, hide_index=True)
        checked_against(checks(Training(norm="post", layers=self.depth, seed=self.seed)))
        take_with_you(
            self, lambda: rows, lambda: start_figure(self.depth, self.seed), snippet(self.trainings)
        )


def recorded_four(trainings: tuple[Training, ...]) -> tuple[tuple[Training, ...], list[list[Progress]]]:
    """What is shown before a start: these trainings, or the first four that were recorded."""
    shown = trainings if all(recorded(training) for training in trainings) else FIRST_FOUR
    return shown, [recorded(training) or [] for training in shown]


def draw(
    trainings: tuple[Training, ...], results: Sequence[list[list[Progress]]], *, faint: bool = False
) -> None:
    """The four losses so far; nothing before the first step."""
    shown = recorded_four(trainings)[0] if faint else trainings
    losses = results[-1] if results else [[] for _training in shown]
    figure = pale(runs_figure(shown, losses), faint)
    alt = _("Loss of four runs: Pre-LN and Post-LN, with warm-up and without")
    show(Stage(Plot("four", figure, alt), reserved=work.BUTTONS), "optimizers")


@lru_cache(maxsize=256)
def norms_of(norm: str, layers: int, seed: int) -> np.ndarray:
    return gradient_norms_at_start(norm, layers, seed).numpy()


def start_figure(layers: int, seed: int) -> go.Figure:
    lines = [
        Curve(label, LOOKS[norm, 0], np.arange(1, layers + 1), norms_of(norm, layers, seed))
        for norm, label in (("pre", "Pre-LN"), ("post", "Post-LN"))
    ]
    return curves(
        lines,
        _("Layer"),
        _("Gradient norm before the first step"),
        x_range=(0.5, 24.5),
        y_range=(0, 1.8),
    )


def label_of(run: Training) -> str:
    norm = "Pre-LN" if run.norm == "pre" else "Post-LN"
    if not run.schedule.warmup:
        return norm
    return _("{norm}, warm-up {steps}").format(norm=norm, steps=run.schedule.warmup)


def runs_figure(trainings: tuple[Training, ...], results: list[list[Progress]]) -> go.Figure:
    lines = [
        Curve(
            label_of(training),
            LOOKS[training.norm, training.schedule.warmup],
            np.arange(len(progress)),
            np.array([step.loss for step in progress], dtype=np.float32),
        )
        for training, progress in zip(trainings, results, strict=True)
    ]
    return curves(
        lines,
        _("Step"),
        _("Loss (nats per character)"),
        x_range=(0, DEPTH_STEPS),
        y_range=(1.5, 6),
        title=_("depth {layers}, η = {rate}").format(
            layers=trainings[0].layers, rate=f"{trainings[0].rate:.2g}"
        ),
    )


def ratio_at(layers: int, seed: int) -> float:
    """The last layer's gradient norm under Post-LN over that under Pre-LN."""
    return float(norms_of("post", layers, seed)[-1] / norms_of("pre", layers, seed)[-1])


def table(seed: int) -> pd.DataFrame:
    """The last layer's gradient before the first step, at four depths."""
    return pd.DataFrame(
        [
            {
                _("Layers"): depth,
                _("Pre-LN: last layer"): f"{norms_of('pre', depth, seed)[-1]:.3f}",
                _("Post-LN: last layer"): f"{norms_of('post', depth, seed)[-1]:.3f}",
                "Post-LN ÷ Pre-LN": f"{ratio_at(depth, seed):.2f}",
            }
            for depth in DEPTHS
        ]
    )


def snippet(trainings: tuple[Training, ...]) -> str:
    """Python that repeats both figures."""
    layers, seed = trainings[0].layers, trainings[0].seed
    runs = ",\n    ".join(map(repr, trainings))
    return f"""from models.optimizers.schedules import Schedule
from models.optimizers.training_lab import Training, gradient_norms_at_start, train

for norm in ("pre", "post"):
    print(norm, gradient_norms_at_start(norm, {layers}, {seed}).tolist())
for training in (
    {runs},
):
    print(training, [progress.loss for progress in train(training)][-1])
"""
