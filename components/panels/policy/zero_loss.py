"""Why is my loss 0? The value and the gradient of one group, taken apart."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import text_field, whole_number
from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.policy.setup import choose_aggregation, choose_method, now
from components.words import _
from models.policy.group_advantages import METHODS, advantages, is_dead
from models.policy.losses import Parts, PolicyLoss, Rollout, gradients
from models.tables import numbers, parse_grid

LIVE = ("zero_live",)
SETTLED = (*LIVE, "zero_facts")
TOKENS = 10
SMALL = 1e-6
MOST_UPDATES = 16


@panel
def zero_loss(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text_field(_("Rewards of one group"), f"{name}_one", page.default("one"), width=300)
        choose_method(page)
        choose_aggregation(page)
        whole_number(_("Updates on a batch μ"), 1, MOST_UPDATES, f"{name}_updates", 1, width=170)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider("β", f"{name}_beta", 0.0, 1.0, 0.0, 0.01, live=LIVE, settled=SETTLED)
        live_slider(
            _("ln π moves by, an update"), f"{name}_move", 0.0, 0.3, 0.05, 0.005,
            help=_("Simulated: along the gradient, plus noise, from one update to the next."),
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Distance from the reference"),
            f"{name}_away",
            0.0,
            1.0,
            0.1,
            0.01,
            live=LIVE,
            settled=SETTLED,
        )
    zero_live(page)
    page.note("zero")
    zero_facts(page)


def settings(page: Page) -> tuple[torch.Tensor, PolicyLoss, float, float]:
    """Rewards, the loss, the size of an update's move, the distance from the reference."""
    name = page.name
    rewards = numbers(parse_grid(now(page, "one")), 1, 64)
    beta = slider_value(f"{name}_beta", 0.0, 1.0, 0.0)
    loss = PolicyLoss(aggregation=now(page, "aggregation"), longest=TOKENS, beta=beta)
    return (
        rewards,
        loss,
        slider_value(f"{name}_move", 0.0, 0.3, 0.05),
        slider_value(f"{name}_away", 0.0, 1.0, 0.1),
    )


def rollouts(page: Page) -> tuple[list[Rollout], PolicyLoss]:
    """The group before each update on it: ρ is 1 at the first, and drifts from there."""
    rewards, loss, move, away = settings(page)
    made = advantages(rewards, METHODS[now(page, "method")])[0]
    generator = torch.Generator().manual_seed(now(page, "seed"))
    shape = len(made), TOKENS
    old = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
    reference = old + away * torch.randn(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    step = move * (made.sign()[:, None] + 0.5 * noise)
    mask = torch.ones(shape, dtype=torch.float64)
    return [Rollout(old + count * step, old, reference, made, mask) for count in range(MOST_UPDATES)], loss


def taken_apart(page: Page) -> list[tuple[Parts, torch.Tensor, torch.Tensor]]:
    found, loss = rollouts(page)
    return [gradients(rollout, loss) for rollout in found]


@live_panel
def zero_live(page: Page) -> None:
    found = taken_apart(page)
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(
            update_figure(found[: max(2, now(page, "updates"))]), f"{page.name}_zero_updates",
            _("Loss and length of its gradient by update"),
        )  # fmt: skip
    with right:
        live_figure(
            answer_figure(page, found[0]), f"{page.name}_zero_answers",
            _("Each answer's part in the loss and in the gradient"),
        )  # fmt: skip


def update_figure(shown: list) -> go.Figure:
    """The logged number beside what moves the weights, over the updates on one batch."""
    x = np.arange(1, len(shown) + 1)
    lines = [
        Curve(_("policy loss"), 0, x, np.array([float(parts.policy) for parts, *_ in shown]), markers=True),
        Curve("β·KL", 1, x, np.array([float(parts.kl) for parts, *_ in shown]), markers=True),
        Curve(_("‖gradient of the policy loss‖"), 2, x,
              np.array([float(policy.norm()) for _parts, policy, _kl in shown]), markers=True),
        Curve(_("‖gradient of β·KL‖"), 3, x,
              np.array([float(kl.norm()) for _parts, _policy, kl in shown]), markers=True),
    ]  # fmt: skip
    return curves(
        lines, _("Update on the same batch"), _("Value"), x_range=(0.8, len(shown) + 0.2),
        y_range=(-0.6, 0.6), height=420,
    )  # fmt: skip


def answer_figure(page: Page, first: tuple[Parts, torch.Tensor, torch.Tensor]) -> go.Figure:
    """At the first update: −A·ρ of each answer adds up to 0, what it pushes does not vanish."""
    rewards, _loss, _move, _away = settings(page)
    made = advantages(rewards, METHODS[now(page, "method")])[0]
    series = {
        _("its part of the loss, −A/G"): (-made / len(made)).numpy(),
        _("push on its tokens, −∂L/∂ln π"): -first[1].sum(dim=1).numpy(),
    }
    names = [str(place + 1) for place in range(len(made))]
    return grouped_bars(series, names, _("By answer"), height=420)


@panel
def zero_facts(page: Page) -> None:
    found = taken_apart(page)
    rewards = settings(page)[0]
    parts, policy, kl = found[0]
    st.markdown(verdict(page, rewards, parts, policy, kl))
    updates = now(page, "updates")
    table = parts_table(found, updates)
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against([dot_check(page, policy)])
    take_with_you(
        f"{page.name}_zero", lambda: table, lambda: update_figure(found[: max(2, updates)]), snippet(page)
    )


def verdict(page: Page, rewards: torch.Tensor, parts: Parts, policy: torch.Tensor, kl: torch.Tensor) -> str:
    """In words: what is 0 at the first update, and why."""
    value, push = float(parts.total), float((policy + kl).norm())
    if bool(is_dead(rewards)[0]) and float(policy.norm()) < SMALL:
        return _(
            "**Nothing is learned.** All rewards agree, so every advantage is 0, and so is the gradient."
        )
    if abs(value) < SMALL and push > SMALL:
        return _(
            "**The loss is 0 and learning goes on.** At the first update ρ = 1 and the advantages add up "
            "to 0, so the number is 0; the gradient has length {push}."
        ).format(push=f"{push:.4f}")
    if float(parts.kl) > SMALL and abs(float(parts.policy)) < SMALL:
        return _(
            "**What you see is β·KL alone:** {kl}. The policy part is 0 as a number; "
            "its gradient has length {push}."
        ).format(kl=f"{float(parts.kl):.5f}", push=f"{float(policy.norm()):.4f}")
    return _("**The loss is not 0:** {value}. Its gradient has length {push}.").format(
        value=f"{value:+.5f}", push=f"{push:.4f}"
    )


def parts_table(found: list, updates: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                _("Update"): number,
                _("Policy loss"): signed(parts.policy),
                "β·KL": signed(parts.kl),
                _("Value of the loss"): signed(parts.total),
                _("‖gradient‖"): f"{float((policy + kl).norm()):.6f}",
            }
            for number, (parts, policy, kl) in enumerate(found[:updates], 1)
        ]
    )


def signed(value: torch.Tensor) -> str:
    """A number as a log shows it; a rounding error is 0, without a sign of its own."""
    return f"{round(float(value), 7) + 0.0:+.7f}"


def dot_check(page: Page, policy: torch.Tensor) -> Check:
    """The first update's gradient, as torch takes it of −Σ w·A·exp(ln π − sg ln π)."""
    found, loss = rollouts(page)
    first = found[0]
    log_p = first.log_p.clone().requires_grad_()
    with torch.enable_grad():
        surrogate = -(first.advantages[:, None] * (log_p - first.old).exp())
        weight = {"sequence_sum": 1 / len(log_p)}.get(loss.aggregation, 1 / log_p.numel())
        (theirs,) = torch.autograd.grad((weight * surrogate).sum(), log_p)
    return Check(_("torch.autograd of the bare surrogate"), float((theirs - policy).abs().max()), 1e-12)


def snippet(page: Page) -> str:
    rewards, loss, _move, _away = settings(page)
    return f"""import torch

from models.policy.group_advantages import METHODS, advantages
from models.policy.losses import PolicyLoss, Rollout, gradients

rewards = torch.tensor({rewards.tolist()!r})
found = advantages(rewards, METHODS[{now(page, "method")!r}])[0]
log_p = torch.zeros(len(found), {TOKENS})  # ρ = 1
rollout = Rollout(log_p, log_p, log_p, found, torch.ones_like(log_p))
print(gradients(rollout, {loss!r}))
"""
