"""The group calculator: rewards to advantages to gradients, cell by cell."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.functional import layer_norm

from components.controls import choose, whole_number
from components.figures.policy import answer_grid
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.policy.grid import (
    HIGHEST,
    LOWEST,
    choose_cell,
    chosen_cell,
    follow_slider,
    grid_editor,
    grids,
    groups_now,
    load_grids,
)
from components.panels.policy.setup import (
    CLIP_RANGE,
    aggregation_label,
    choose_aggregation,
    choose_method,
    convention_now,
    loss_now,
    now,
)
from components.words import _
from models.policy.group_advantages import METHODS, advantages, baseline, is_dead, soft_overlong
from models.policy.group_table import Groups, rollout_of
from models.policy.losses import AGGREGATIONS, PolicyLoss, objective, token_gradients, token_weights

LIVE = ("group_live",)
SETTLED = (*LIVE, "group_facts")
WHOLE = ("group_calculator",)  # a cell's slider writes into the table, so that all is drawn anew


@panel
def group_calculator(page: Page) -> None:
    name = page.name
    load_grids(page)
    follow_slider(page)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        grid_editor(page, SETTLED)
    follow_slider(page)
    with right:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            choose_method(page)
            choose(
                _("Deviation σ"), ("sample", "population"), f"{name}_deviation", deviation_label,
                default="sample", width=190,
            )  # fmt: skip
            choose_aggregation(page)
            whole_number(_("Longest answer L"), 1, 100_000, f"{name}_longest", 512, width=140)
            whole_number(
                _("Overlong cache (0: none)"), 0, 100_000, f"{name}_cache", 0, width=200,
                help=_("DAPO takes up to 1 off the reward over the last so many tokens before L."),
            )  # fmt: skip
        group, answer = chosen_cell(page)
        live_slider(
            _("Reward of answer {answer} in group {group}").format(answer=answer + 1, group=group + 1),
            f"{name}_reward", LOWEST, HIGHEST, 1.0, 0.05, live=LIVE, settled=WHOLE,
            help=_("Click a cell of a figure to choose another answer."),
        )  # fmt: skip
        live_slider("ε (σ + ε)", f"{name}_epsilon", 1e-9, 1.0, 1e-4, log=True, live=LIVE, settled=SETTLED)
        live_slider(_("Clip ε"), f"{name}_clip", *CLIP_RANGE, 0.01, live=LIVE, settled=SETTLED)
    group_live(page)
    page.note("group")
    group_facts(page)


def deviation_label(name: str) -> str:
    return _("of a sample (n − 1)") if name == "sample" else _("of a population (n)")


def found_now(page: Page) -> tuple[Groups, torch.Tensor, torch.Tensor]:
    """The table, its advantages, and what each answer's tokens push together (−∂loss/∂ln π)."""
    groups = groups_now(page)
    if cache := now(page, "cache"):
        penalty = soft_overlong(groups.lengths, float(now(page, "longest")), float(cache))
        groups = replace(groups, rewards=groups.rewards + penalty)
    made = advantages(groups.rewards, convention_now(page), groups.lengths)
    return groups, made, pushes(groups, made, loss_now(page))


def pushes(groups: Groups, made: torch.Tensor, loss: PolicyLoss) -> torch.Tensor:
    """−∂loss/∂ln π summed over each answer's tokens."""
    return 0.0 - token_gradients(rollout_of(groups, made), loss).view_as(made)  # 0, not −0


@live_panel
def group_live(page: Page) -> None:
    left, right = st.columns(2, gap="medium")
    groups, made, push = found_now(page)
    with left:
        live_figure(
            advantage_figure(now(page, "method"), chosen_cell(page), groups, made),
            f"{page.name}_advantages",
            _("Advantage of each answer"),
            on_click=lambda click: _chosen(page, click),
        )
    with right:
        live_figure(
            push_figure(page, groups, push),
            f"{page.name}_pushes",
            _("Share of the gradient that each answer gets"),
            on_click=lambda click: _chosen(page, click),
            rest=66,  # the advantages follow every value; their shares leave them the time
        )


def _chosen(page: Page, click: dict) -> None:
    choose_cell(page, click)
    st.rerun(WHOLE)  # the slider stands outside the figures' panel


def height(groups: Groups) -> int:
    return min(460, 110 + 34 * len(groups.rewards))


def advantage_figure(method: str, place: tuple[int, int], groups: Groups, made: torch.Tensor) -> go.Figure:
    is_plain = METHODS[method].scale == "none"
    return answer_grid(
        made.numpy(),
        _("Advantage"),
        2.0 if is_plain else 3.0,
        dead=is_dead(groups.rewards).tolist(),
        selected=place,
        height=height(groups),
    )


def push_figure(page: Page, groups: Groups, push: torch.Tensor) -> go.Figure:
    """Shares in percent: their sizes add up to 100."""
    total = push.abs().sum()
    shares = 100 * push / total if total > 0 else push
    return answer_grid(
        shares.numpy(),
        _("Share of the gradient (%)"),
        max(2.0, round(300 / push.numel(), 1)),
        dead=is_dead(groups.rewards).tolist(),
        selected=chosen_cell(page),
        number="+.1f",
        height=height(groups),
    )


@panel
def group_facts(page: Page) -> None:
    groups, made, push = found_now(page)
    arithmetic(page, groups, made)
    dead = is_dead(groups.rewards)
    if dead.any():
        numbers = ", ".join(str(int(place) + 1) for place in dead.nonzero()[:, 0])
        st.markdown(
            _("✕ All rewards agree in group {numbers}: {share} % of the answers.").format(
                numbers=numbers, share=f"{100 * float(dead.double().mean()):.0f}"
            )
        )
    table = average_table(page, groups, made)
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against(checks(page, groups, made))
    method, place = now(page, "method"), chosen_cell(page)
    take_with_you(
        f"{page.name}_group",
        lambda: answers_table(groups, made, push),
        lambda: advantage_figure(method, place, groups, made),
        snippet(page),
    )


def arithmetic(page: Page, groups: Groups, made: torch.Tensor) -> None:
    """The chosen answer's advantage with its numbers put in."""
    convention = convention_now(page)
    place = chosen_cell(page)
    reward, found = float(groups.rewards[place]), float(made[place])
    base = float(baseline(groups.rewards, convention)[place])
    row = groups.rewards[place[0]]
    if convention.scale == "group" and len(row) > 1:
        sigma = float(row.std(correction=convention.ddof))
        top, bottom = f"{reward:.4g}-({base:.4g})", f"{sigma:.4g}+{convention.epsilon:.1g}"
        below = rf"\frac{{r-b}}{{\sigma+\varepsilon}}=\frac{{{top}}}{{{bottom}}}"
    else:
        below = rf"r-b={reward:.4g}-({base:.4g})"
        if convention.scale in ("batch", "whiten"):
            below += r",\quad \text{A}=\ldots/\sigma_{\text{batch}}"
    st.latex(rf"A_{{{place[0] + 1},{place[1] + 1}}}={below}\;\Rightarrow\;{found:+.4f}")


def average_table(page: Page, groups: Groups, made: torch.Tensor) -> pd.DataFrame:
    """The loss and what a token of the shortest and of the longest answer counts, under every average."""
    rollout, loss = rollout_of(groups, made), loss_now(page)
    lengths = groups.lengths.flatten()
    short, long = int(lengths.argmin()), int(lengths.argmax())
    rows = []
    for name in AGGREGATIONS:
        each = PolicyLoss(loss.kind, epsilon_low=loss.epsilon_low, epsilon_high=loss.epsilon_high,
                          aggregation=name, longest=loss.longest)  # fmt: skip
        weights = token_weights(rollout.mask, name, loss.longest)[:, 0] / lengths
        push = -token_gradients(rollout, each)
        rows.append(
            {
                _("Average"): aggregation_label(name),
                _("Value of the loss"): f"{float(objective(rollout, each).total):+.6f}",
                _("Sum of |∂L/∂ln π|"): f"{float(push.abs().sum()):.6f}",
                _("A token of the shortest answer ({tokens})").format(tokens=f"{lengths[short]:.0f}"):
                    f"{float(weights[short]):.3e}",
                _("A token of the longest answer ({tokens})").format(tokens=f"{lengths[long]:.0f}"):
                    f"{float(weights[long]):.3e}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def answers_table(groups: Groups, made: torch.Tensor, push: torch.Tensor) -> pd.DataFrame:
    rows, columns = made.shape
    place = np.indices((rows, columns)).reshape(2, -1) + 1
    return pd.DataFrame(
        {
            "group": place[0],
            "answer": place[1],
            "reward": groups.rewards.flatten().numpy(),
            "length": groups.lengths.flatten().numpy(),
            "ratio": groups.ratios.flatten().numpy(),
            "advantage": made.flatten().numpy(),
            "push": push.flatten().numpy(),
        }
    )


def checks(page: Page, groups: Groups, made: torch.Tensor) -> list[Check]:
    """Group advantages by torch's layer norm; gradients by torch's autograd."""
    found = []
    convention, count = convention_now(page), groups.rewards.shape[1]
    if convention.baseline == convention.scale == "group" and count > 1:
        found.append(
            Check(_("torch.nn.functional.layer_norm over each group"), norm_gap(groups, made, page), 1e-5)
        )
    rollout, loss = rollout_of(groups, made), loss_now(page)
    log_p = rollout.log_p.clone().requires_grad_()
    moved = type(rollout)(log_p, rollout.old, rollout.reference, rollout.advantages, rollout.mask)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(objective(moved, loss).total, log_p)
    ratio = rollout.log_p.exp()  # on the clip's very edge both sides are right
    off_edge = ((ratio - 1).abs() - loss.epsilon_low).abs() > 1e-9
    gap = float(((gradient - token_gradients(rollout, loss)) * off_edge).abs().max())
    found.append(Check(_("torch.autograd, gradient of the loss"), gap, 1e-9))
    return found


def norm_gap(groups: Groups, made: torch.Tensor, page: Page) -> float:
    """Largest difference from layer norm, whose variance is the population's, put on the same scale."""
    convention, rewards = convention_now(page), groups.rewards
    count = rewards.shape[1]
    population = rewards.std(dim=1, correction=0, keepdim=True)
    sigma = rewards.std(dim=1, correction=convention.ddof, keepdim=True)
    theirs = layer_norm(rewards, (count,), eps=1e-20) * population / (sigma + convention.epsilon)
    return float((theirs - made).abs().max())


def snippet(page: Page) -> str:
    rewards, lengths, ratios = grids(page)
    cache = now(page, "cache")
    penalty = f" + soft_overlong(groups.lengths, {now(page, 'longest')}.0, {cache}.0)" if cache else ""
    return f"""from models.policy.group_table import read_groups, rollout_of
from models.policy.group_advantages import Convention, advantages, soft_overlong
from models.policy.losses import PolicyLoss, objective, token_gradients

groups = read_groups({rewards!r}, {lengths!r}, {ratios!r})
found = advantages(groups.rewards{penalty}, {convention_now(page)!r}, groups.lengths)
print(found)
rollout, loss = rollout_of(groups, found), {loss_now(page)!r}
print(objective(rollout, loss).total, -token_gradients(rollout, loss).view_as(found))
"""
