"""Live learning: several algorithms on one small policy, on the same random numbers, with bands."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical

from components.controls import choose, choose_several, whole_number
from components.figures.curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.words import _
from components.work.running import keep_going, run_controls
from models.policy.lab import (
    ALGORITHMS,
    LONGEST,
    MOST_STEPS,
    REWARDS,
    Lab,
    Step,
    first_logits,
    log_probabilities,
    sample,
    train,
)

MEASURES = ("right", "reward", "length", "wrong_length", "entropy", "kl", "dead", "clipped")
PREVIEW = 12  # steps that are shown before a run is started


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
        "entropy": _("Entropy (nats a token)"),
        "kl": _("KL to the first policy (nats a token)"),
        "dead": _("Dead groups (share)"),
        "clipped": _("Tokens beyond ρ = 1 ± 0.2 (share)"),
    }[name]


@panel
def live_learning(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_several(
            _("Algorithms"), tuple(ALGORITHMS), f"{name}_algorithms", str,
            default=page.default("algorithms"), most=6, width=560,
        )  # fmt: skip
        choose(_("The task's reward"), REWARDS, f"{name}_task", reward_label, default="right", width=260)
        choose(
            _("Second figure"), MEASURES[1:], f"{name}_measure", measure_label, default="length", width=260
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whole_number(_("Answers G"), 2, 64, f"{name}_lab_answers", 8, width=110)
        whole_number(_("Updates on a batch μ"), 1, 8, f"{name}_epochs", 2, width=170)
        whole_number(_("Steps"), 5, MOST_STEPS, f"{name}_lab_steps", 100, width=110)
        whole_number(_("Seeds"), 1, 16, f"{name}_seeds", 6, width=100)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
        settled = ("learning_run",)
        live_slider(_("Learning rate"), f"{name}_rate", 1e-3, 1.0, 0.05, log=True, settled=settled)
        live_slider("β", f"{name}_lab_beta", 0.0, 1.0, 0.0, 0.01, settled=settled)
        live_slider(_("Entropy bonus"), f"{name}_entropy", 0.0, 0.5, 0.0, 0.01, settled=settled)
    learning_run(page)


def lab_now(page: Page) -> Lab:
    """The experiment that the controls describe."""
    state, name = st.session_state, page.name
    return Lab(
        tuple(state[f"{name}_algorithms"]),
        state[f"{name}_task"],
        state[f"{name}_lab_answers"],
        slider_value(f"{name}_rate", 1e-3, 1.0, 0.05),
        state[f"{name}_epochs"],
        slider_value(f"{name}_lab_beta", 0.0, 1.0, 0.0),
        slider_value(f"{name}_entropy", 0.0, 0.5, 0.0),
        state[f"{name}_lab_steps"],
        state[f"{name}_seeds"],
        state[f"{name}_seed"],
    )


@panel
def learning_run(page: Page) -> None:
    lab = lab_now(page)
    held = run_controls(page, "learning", lab, lambda: train(lab), lab.steps)
    seen: list[Step] = held.seen if held is not None and held.seen else preview(lab)
    left, right = st.columns(2, gap="medium")
    measure = st.session_state[f"{page.name}_measure"]
    with left:
        live_figure(measure_figure(lab, seen, "right"), f"{page.name}_right", measure_label("right"))
    with right:
        live_figure(measure_figure(lab, seen, measure), f"{page.name}_second", measure_label(measure))
    page.note("learning")
    st.dataframe(end_table(lab, seen), hide_index=True, width="stretch")
    checked_against([distribution_check(lab)])
    take_with_you(
        f"{page.name}_learning",
        lambda: step_table(lab, seen),
        lambda: measure_figure(lab, seen, "right"),
        snippet(lab),
    )
    keep_going(page, "learning", held)


@st.cache_resource(max_entries=8, show_spinner=False)
def preview(lab: Lab) -> list[Step]:
    """The first steps of a run that nobody has started yet."""
    steps = train(lab)
    return [next(steps) for _place in range(min(PREVIEW, lab.steps))]


def values_of(seen: list[Step], measure: str) -> np.ndarray:
    """[steps, algorithms, seeds]"""
    return torch.stack([getattr(step, measure) for step in seen]).numpy()


def measure_figure(lab: Lab, seen: list[Step], measure: str) -> go.Figure:
    """Mean over the seeds, and the range from the least to the largest."""
    values, x = values_of(seen, measure), np.arange(1, len(seen) + 1)
    lines = []
    for place, name in enumerate(lab.algorithms):
        rows = values[:, place]
        is_there = np.isfinite(rows).any(axis=1)
        rows = rows[is_there]
        if len(rows):
            lines.append(
                Curve(
                    name,
                    place,
                    x[is_there],
                    np.nanmean(rows, axis=1),
                    np.nanmin(rows, axis=1),
                    np.nanmax(rows, axis=1),
                )
            )
    tops = {"length": LONGEST, "wrong_length": LONGEST, "reward": 1.6, "entropy": 1.9}
    top = tops.get(measure, 1.0)
    if measure == "kl":
        top = max(0.1, float(np.nanmax(values)))
    return curves(
        lines,
        _("Step"),
        measure_label(measure),
        x_range=(0, lab.steps),
        y_range=(0, 1.04 * top),
        height=440,
    )


def end_table(lab: Lab, seen: list[Step]) -> pd.DataFrame:
    """The mean of the last tenth of the steps, over seeds."""
    tail = seen[-max(1, len(seen) // 10) :]
    rows = []
    for place, name in enumerate(lab.algorithms):
        row = {_("Algorithm"): name}
        for measure in MEASURES:
            values = values_of(tail, measure)[:, place]
            row[measure_label(measure)] = f"{np.nanmean(values):.3f}" if np.isfinite(values).any() else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def step_table(lab: Lab, seen: list[Step]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"step": step + 1, "algorithm": name, "seed": lab.seed + seed}
            | {measure: float(getattr(values, measure)[place, seed]) for measure in MEASURES}
            for step, values in enumerate(seen)
            for place, name in enumerate(lab.algorithms)
            for seed in range(lab.seeds)
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
    return f"""from models.policy.lab import Lab, train

for step in train({lab!r}):
    print(step.right.mean(1).tolist(), step.length.mean(1).tolist())
"""
