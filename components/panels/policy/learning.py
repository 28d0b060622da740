"""Live learning: several algorithms on one small policy, on the same random numbers, with bands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical

from components import work
from components.figures.curves import Curve, curves
from components.figures.style import pale
from components.lesson_parts import note
from components.panels.policy.settings import Seeded
from components.settings import number, one_of, several, slider
from components.stage import Block, Plot, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.lab import (
    ALGORITHMS,
    LENGTH_BONUS,
    LONGEST,
    MOST_STEPS,
    REWARDS,
    Lab,
    Reward,
    Step,
    first_logits,
    log_probabilities,
    sample,
    train,
)

MEASURES = ("right", "reward", "length", "wrong_length", "entropy", "kl", "dead", "clipped")
PREVIEW_STEPS = 100  # at most, of the run with one seed that is shown, faintly, until one is started
TOPS = {"length": LONGEST, "wrong_length": LONGEST, "reward": 1 + LENGTH_BONUS, "entropy": 1.9}


def reward_label(name: str) -> str:
    return {
        "right": _("1 for the right last word"),
        "hackable": _("that, and a bonus for length"),
        "hard": _("1 for a rare word"),
    }[name]


def measure_label(name: str) -> str:
    return {
        "right": _("Right answers (share)"),
        "reward": _("Reward"),
        "length": _("Length (tokens)"),
        "wrong_length": _("Length of wrong answers (tokens)"),
        "entropy": _("Entropy (nats per token)"),
        "kl": _("KL to the first policy (nats per token)"),
        "dead": _("Dead groups (share)"),
        "clipped": _("Tokens beyond ρ = 1 ± 0.2 (share)"),
    }[name]


OPENING = ("GRPO", "Dr. GRPO", "RLOO")
PLACES = [*OPENING, *(name for name in ALGORITHMS if name not in OPENING)]  # the first six differ in colour


@dataclass(frozen=True)
class LiveLearning(Seeded):
    """Several algorithms learn one small task on the same random numbers."""

    page, name = "policy", "learning"
    rate: float = slider(1e-3, 1.0, 0.05, log=True, live=False, label=mark("Learning rate"))
    lab_beta: float = slider(0.0, 1.0, 0.0, live=False, label="β")
    entropy: float = slider(0.0, 0.5, 0.0, live=False, label=mark("Entropy bonus"))
    algorithms: tuple[str, ...] = several(
        tuple(ALGORITHMS), OPENING, label=mark("Algorithms"), least=1, most=6
    )
    task: Reward = one_of(REWARDS, "right", label=mark("The task's reward"), label_of=reward_label)
    measure: str = one_of(MEASURES[1:], "length", label=mark("Second figure"), label_of=measure_label)
    lab_answers: int = number(2, 64, 8, label=mark("Answers G"), place="more")
    epochs: int = number(1, 8, 2, label=mark("Updates on a batch μ"), place="more")
    lab_steps: int = number(5, MOST_STEPS, 100, label=mark("Steps"), place="more")
    seeds: int = number(1, 16, 6, label=mark("Seeds"), place="more")

    @property
    def lab(self) -> Lab:
        """The experiment that the controls describe."""
        return Lab(
            self.algorithms,
            self.task,
            self.lab_answers,
            self.rate,
            self.epochs,
            self.lab_beta,
            self.entropy,
            self.lab_steps,
            self.seeds,
            self.seed,
        )

    def run(self) -> work.Run[Step]:
        return work.run("policy_learning", self.lab, lambda: train(self.lab), self.lab.steps)

    def stage(self) -> Stage:
        def draw(results: Sequence[Step], *, faint: bool = False) -> None:
            show(self.figures(results, faint), self.page)

        return Stage(Block(lambda: work.stage(self.run(), draw, recorded=lambda: preview(self.lab))))

    def figures(self, steps: Sequence[Step], faint: bool = False) -> Stage:
        """Right answers, and the measure that is chosen, by step."""
        right, second = (
            pale(measure_figure(self.lab, steps, measure), faint) for measure in ("right", self.measure)
        )
        return Stage(
            [
                Plot("right", right, measure_label("right")),
                Plot("second", second, measure_label(self.measure)),
            ],
            reserved=work.BUTTONS,
        )

    def below(self) -> None:
        lab, run = self.lab, self.run()
        steps = run.results or preview(lab)
        note(self, "learning")
        if not run.is_running:  # else the stage is ahead of it
            st.dataframe(end_table(lab, steps), hide_index=True, width="stretch")
        checked_against([distribution_check(lab)])
        take_with_you(
            self,
            lambda: step_table(lab, steps),
            lambda: measure_figure(lab, steps, "right"),
            snippet(lab),
        )


@st.cache_resource(max_entries=16, show_spinner=False)
def preview(lab: Lab) -> list[Step]:
    """The same run with one seed: what is shown until somebody starts one."""
    return list(train(replace(lab, seeds=1, steps=min(PREVIEW_STEPS, lab.steps))))


def values_of(steps: Sequence[Step], measure: str) -> np.ndarray:
    """[steps, algorithms, seeds]"""
    return torch.stack([getattr(step, measure) for step in steps]).numpy()


def measure_figure(lab: Lab, steps: Sequence[Step], measure: str) -> go.Figure:
    """Mean over the seeds, and the range from the least to the largest; an algorithm keeps its colour."""
    if not steps:
        return curves([], _("Step"), measure_label(measure), x_range=(0, lab.steps), y_range=(0, 1))
    values, x = values_of(steps, measure), np.arange(1, len(steps) + 1)
    lines = []
    for index, name in enumerate(lab.algorithms):
        rows = values[:, index]
        is_there = np.isfinite(rows).any(axis=1)
        rows = rows[is_there]
        if len(rows):
            mean, low, high = (summary(rows, axis=1) for summary in (np.nanmean, np.nanmin, np.nanmax))
            place = PLACES.index(name)
            lines.append(Curve(name, place, x[is_there], mean, low, high))
    top = max(0.1, float(np.nanmax(values))) if measure == "kl" else TOPS.get(measure, 1.0)
    return curves(
        lines,
        _("Step"),
        measure_label(measure),
        x_range=(0, lab.steps),
        y_range=(0, 1.04 * top),
    )


def end_table(lab: Lab, steps: Sequence[Step]) -> pd.DataFrame:
    """The mean of the last tenth of the steps, over seeds."""
    tail = steps[-max(1, len(steps) // 10) :]
    rows = []
    for index, name in enumerate(lab.algorithms):
        row = {_("Algorithm"): name}
        for measure in MEASURES:
            values = values_of(tail, measure)[:, index]
            row[measure_label(measure)] = f"{np.nanmean(values):.3f}" if np.isfinite(values).any() else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def step_table(lab: Lab, steps: Sequence[Step]) -> pd.DataFrame:
    """Every measure of every step, algorithm and seed, for the CSV."""
    return pd.DataFrame(
        [
            {"step": step, "algorithm": name, "seed": lab.seed + seed}
            | {measure: float(getattr(values, measure)[index, seed]) for measure in MEASURES}
            for step, values in enumerate(steps, 1)
            for index, name in enumerate(lab.algorithms)
            for seed in range(values.right.shape[1])
        ]
    )


def distribution_check(lab: Lab) -> Check:
    """The first policy's log-probabilities of answers that it drew, by torch's own Categorical."""
    logits = first_logits(lab.seed, lab.reward)[None, None]
    uniform = torch.rand(1, logits.shape[2], 4, LONGEST, generator=torch.Generator().manual_seed(lab.seed))
    tokens = sample(logits, uniform)
    before = torch.cat([torch.zeros_like(tokens[..., :1]), tokens[..., :-1]], dim=-1)
    prompt = torch.arange(logits.shape[2])[:, None, None]
    theirs = Categorical(logits=logits[0, 0][prompt, before[0, 0]]).log_prob(tokens[0, 0])
    gap = (theirs - log_probabilities(logits, tokens)[0, 0]).abs().max()
    return Check(_("torch.distributions.Categorical, log-probabilities of answers"), float(gap), 1e-5)


def snippet(lab: Lab) -> str:
    """Python that repeats the run."""
    return f"""from models.policy.lab import Lab, train

for step in train({lab!r}):
    print(step.right.mean(1).tolist(), step.length.mean(1).tolist())
"""
