"""Why is my loss 0? The value and the gradient of one group, taken apart."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars, round_limits
from components.lesson_parts import note
from components.panels.policy.settings import Averages, Seeded, TakesMethod
from components.settings import number, slider, text
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.group_advantages import METHODS, advantages, is_dead
from models.policy.losses import Parts, PolicyLoss, Rollout, gradients
from models.tables import numbers, parse_grid

TOKENS = 10  # of each answer
SMALL = 1e-6
MOST_UPDATES, LEAST_SHOWN = 16, 2
NOISE = 0.5  # beside the gradient's direction, in the policy's simulated move

TakenApart = tuple[Parts, torch.Tensor, torch.Tensor]  # a loss, and ∂/∂ln π of its policy and KL parts


@dataclass(frozen=True)
class LossOfZero(Seeded, Averages, TakesMethod):
    """Why a loss of 0 teaches: one group's loss taken apart into values and gradients, by update."""

    page, name = "policy", "zero"
    beta: float = slider(0.0, 1.0, 0.0, label="β")
    move: float = slider(
        0.0,
        0.3,
        0.05,
        0.005,
        label=mark("ln π moves per update by"),
        help=mark("Simulated: along the gradient, plus noise, from one update to the next."),
    )
    away: float = slider(
        0.0,
        1.0,
        0.1,
        label=mark("Distance from the reference"),
        off=lambda view: "" if view.beta else mark("needs β > 0"),
    )
    updates: int = number(1, MOST_UPDATES, 1, label=mark("Updates on a batch μ"))
    group: str = text("1, 0, 0, 0", key="one", label=mark("Rewards of one group"), most=2_000)

    @property
    def rewards(self) -> torch.Tensor:
        """One group of rewards. Raises InputError."""
        return numbers(parse_grid(self.group), 1, 64)

    @property
    def advantages(self) -> torch.Tensor:
        return advantages(self.rewards, METHODS[self.method])[0]

    @property
    def loss(self) -> PolicyLoss:
        return PolicyLoss(aggregation=self.aggregation, longest=TOKENS, beta=self.beta)

    def rollouts(self, count: int) -> list[Rollout]:
        """The group before each update on it: ρ is 1 at the first, and drifts from there."""
        made = self.advantages
        generator = torch.Generator().manual_seed(self.seed)
        shape = len(made), TOKENS
        old = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
        reference = old + self.away * torch.randn(shape, generator=generator, dtype=torch.float64)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        step = self.move * (made.sign()[:, None] + NOISE * noise)
        mask = torch.ones(shape, dtype=torch.float64)
        return [Rollout(old + update * step, old, reference, made, mask) for update in range(count)]

    def taken_apart(self) -> list[TakenApart]:
        """Of each update; two of them where only one is taken, so that there is a line to see."""
        rollouts = self.rollouts(max(LEAST_SHOWN, self.updates))
        return [gradients(rollout, self.loss) for rollout in rollouts]

    def stage(self) -> Stage:
        parts = self.taken_apart()
        by_update = _("Loss and length of its gradient by update")
        by_answer = _("Each answer's part in the loss and in the gradient")
        return Stage(
            [
                Plot("zero_updates", update_figure(parts), by_update),
                Plot("zero_answers", answer_figure(self.advantages, parts[0]), by_answer),
            ]
        )

    def below(self) -> None:
        parts = self.taken_apart()
        first, policy, kl = parts[0]
        st.markdown(verdict(self.rewards, first, policy, kl))
        note(self, "zero")
        table = parts_table(parts[: self.updates])
        st.dataframe(table, hide_index=True, width="stretch")
        checked_against([surrogate_check(self.rollouts(1)[0], self.loss, policy)])
        take_with_you(self, lambda: table, lambda: update_figure(parts), snippet(self))


def update_figure(parts: list[TakenApart]) -> go.Figure:
    """The logged number beside what moves the weights, over the updates on one batch."""
    x = np.arange(1, len(parts) + 1)
    series = [
        (_("policy loss"), [float(part.policy) for part, _policy, _kl in parts]),
        (_("‖gradient of the policy loss‖"), [float(policy.norm()) for _part, policy, _kl in parts]),
        ("β·KL", [float(part.kl) for part, _policy, _kl in parts]),
        (_("‖gradient of β·KL‖"), [float(kl.norm()) for _part, _policy, kl in parts]),
    ]
    lines = [
        Curve(name, place, x, np.array(values), markers=True) for place, (name, values) in enumerate(series)
    ]
    return curves(
        lines,
        _("Update on the same batch"),
        _("Value"),
        x_range=(0.8, len(parts) + 0.2),
        x_step=1 if len(parts) <= MOST_UPDATES // 2 else 2,
        y_range=round_limits(*(line.y for line in lines)),
    )


def answer_figure(made: torch.Tensor, first: TakenApart) -> go.Figure:
    """At the first update: −A·ρ of each answer adds up to 0, what it pushes does not vanish."""
    series = {
        _("its part of the loss, −A/G"): (-made / len(made)).numpy(),
        _("push on its tokens, −∂L/∂ln π"): -first[1].sum(dim=1).numpy(),
    }
    names = [str(place + 1) for place in range(len(made))]
    limits = round_limits(*series.values())
    return grouped_bars(series, names, _("By answer"), x_title=_("Answer"), limits=limits)


def verdict(rewards: torch.Tensor, parts: Parts, policy: torch.Tensor, kl: torch.Tensor) -> str:
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


def parts_table(parts: list[TakenApart]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                _("Update"): number,
                _("Policy loss"): signed(part.policy),
                "β·KL": signed(part.kl),
                _("Value of the loss"): signed(part.total),
                _("‖gradient‖"): f"{float((policy + kl).norm()):.6f}",
            }
            for number, (part, policy, kl) in enumerate(parts, 1)
        ]
    )


def signed(value: torch.Tensor) -> str:
    """A number as a log shows it; a rounding error is 0, without a sign of its own."""
    return f"{round(float(value), 7) + 0.0:+.7f}"


def surrogate_check(first: Rollout, loss: PolicyLoss, policy: torch.Tensor) -> Check:
    """The first update's gradient, as torch takes it of −Σ w·A·exp(ln π − sg ln π)."""
    log_p = first.log_p.clone().requires_grad_()
    with torch.enable_grad():
        surrogate = -(first.advantages[:, None] * (log_p - first.old).exp())
        weight = {"sequence_sum": 1 / len(log_p)}.get(loss.aggregation, 1 / log_p.numel())
        (theirs,) = torch.autograd.grad((weight * surrogate).sum(), log_p)
    return Check(_("torch.autograd of the bare surrogate"), float((theirs - policy).abs().max()), 1e-12)


def snippet(view: LossOfZero) -> str:
    """Python that repeats the first update's loss and gradients."""
    return f"""import torch

from models.policy.group_advantages import METHODS, advantages
from models.policy.losses import PolicyLoss, Rollout, gradients

rewards = torch.tensor({view.rewards.tolist()!r})
found = advantages(rewards, METHODS[{view.method!r}])[0]
log_p = torch.zeros(len(found), {TOKENS})  # ρ = 1
rollout = Rollout(log_p, log_p, log_p, found, torch.ones_like(log_p))
print(gradients(rollout, {view.loss!r}))
"""
