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
from models.errors import InputError
from models.policy.group_advantages import METHODS, advantages
from models.policy.losses import Parts, PolicyLoss, Rollout, gradients, token_weights
from models.tables import numbers, parse_grid

MOST_TOKENS = 2_048  # of an answer
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
    tokens: str = text("10", label=mark("Tokens of each answer (one number, or one each)"), most=2_000)

    @property
    def rewards(self) -> torch.Tensor:
        """One group of rewards. Raises InputError."""
        return numbers(parse_grid(self.group), 1, 64)

    @property
    def advantages(self) -> torch.Tensor:
        return advantages(self.rewards, METHODS[self.method])[0]

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each answer: [answers]. Raises InputError."""
        given, answers = numbers(parse_grid(self.tokens), 1, 64)[0], self.rewards.shape[1]
        if len(given) not in (1, answers):
            raise InputError(
                "There are {rewards} rewards and {lengths} lengths; give one length, or one for each.",
                rewards=answers,
                lengths=len(given),
            )
        if bool(((given != given.round()) | (given < 1) | (given > MOST_TOKENS)).any()):
            raise InputError(
                "An answer's length is a whole number of tokens, from 1 to {most}.", most=MOST_TOKENS
            )
        return given.expand(answers)

    @property
    def mask(self) -> torch.Tensor:
        """Which tokens there are: [answers, tokens]."""
        lengths = self.lengths
        return (torch.arange(int(lengths.max())) < lengths[:, None]).double()

    @property
    def loss(self) -> PolicyLoss:
        longest = int(self.lengths.max())
        return PolicyLoss(aggregation=self.aggregation, longest=longest, beta=self.beta)

    def rollouts(self, count: int) -> list[Rollout]:
        """The group before each update on it: ρ is 1 at the first, and drifts from there."""
        made, mask = self.advantages, self.mask
        generator = torch.Generator().manual_seed(self.seed)
        shape = mask.shape
        old = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
        reference = old + self.away * torch.randn(shape, generator=generator, dtype=torch.float64)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        step = self.move * (made.sign()[:, None] + NOISE * noise)
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
                Plot("zero_answers", answer_figure(self, parts[0]), by_answer),
            ]
        )

    def below(self) -> None:
        parts = self.taken_apart()
        first, policy, kl = parts[0]
        st.markdown(verdict(self.advantages, first, policy, kl))
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


def answer_figure(view: LossOfZero, first: TakenApart) -> go.Figure:
    """At the first update: what each answer adds to the loss, and what it pushes."""
    weights = token_weights(view.mask, view.aggregation, view.loss.longest).sum(dim=1)
    series = {
        _("its part of the loss, −A·its weight"): (-view.advantages * weights).numpy(),
        _("push on its tokens, −∂L/∂ln π"): -first[1].sum(dim=1).numpy(),
    }
    names = [str(place + 1) for place in range(len(weights))]
    limits = round_limits(*series.values())
    return grouped_bars(series, names, _("By answer"), x_title=_("Answer"), limits=limits)


def verdict(made: torch.Tensor, parts: Parts, policy: torch.Tensor, kl: torch.Tensor) -> str:
    """In words, from advantages, values and gradients: what is 0 at the first update, and why."""
    push, pull = float(policy.norm()), float(kl.norm())
    value, beside = float(parts.policy), float(parts.kl)
    if push < SMALL and pull < SMALL:
        return _(
            "**Nothing is learned.** All rewards agree, so every advantage is 0, and so is the gradient."
        )
    if push < SMALL:
        return _(
            "**The reward teaches nothing, β·KL does.** All rewards agree, so every advantage is 0; the "
            "policy is pulled towards the reference, by a gradient of length {pull}."
        ).format(pull=f"{pull:.6f}")
    if abs(value) < SMALL and abs(beside) < SMALL:
        return _(
            "**The loss is 0 and learning goes on.** At the first update ρ = 1 and the advantages add up "
            "to 0, so the number is 0; the gradient has length {push}."
        ).format(push=f"{float((policy + kl).norm()):.4f}")
    if abs(value) < SMALL:
        return _(
            "**What you see is β·KL alone:** {kl}. The policy part is 0 as a number; "
            "its gradient has length {push}."
        ).format(kl=f"{beside:.5f}", push=f"{push:.4f}")
    why = (
        _("The advantages do not add up to 0.")
        if abs(float(made.sum())) > SMALL
        else _("The advantages add up to 0 by answer, but this average gives longer answers more weight.")
    )
    line = _("**The loss is not 0:** {value}. Its gradient has length {push}.").format(
        value=f"{float(parts.total):+.5f}", push=f"{float((policy + kl).norm()):.4f}"
    )
    return f"{line} {why}"


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
        by_answer = [row[there > 0] for row, there in zip(surrogate, first.mask, strict=True)]
        average = {
            "sequence_mean": lambda: torch.stack([row.mean() for row in by_answer]).mean(),
            "token_mean": lambda: torch.cat(by_answer).mean(),
            "constant": lambda: torch.stack([row.sum() / loss.longest for row in by_answer]).mean(),
            "sequence_sum": lambda: torch.stack([row.sum() for row in by_answer]).mean(),
        }[loss.aggregation]
        (theirs,) = torch.autograd.grad(average(), log_p)
    return Check(_("torch.autograd of the bare surrogate"), float((theirs - policy).abs().max()), 1e-12)


def snippet(view: LossOfZero) -> str:
    """Python that repeats the first update's loss and gradients."""
    return f"""import torch

from models.policy.group_advantages import METHODS, advantages
from models.policy.losses import PolicyLoss, Rollout, gradients

rewards = torch.tensor({view.rewards.tolist()!r})
found = advantages(rewards, METHODS[{view.method!r}])[0]
lengths = torch.tensor({view.lengths.long().tolist()!r})
mask = (torch.arange(int(lengths.max())) < lengths[:, None]).double()
log_p = torch.zeros_like(mask)  # ρ = 1
rollout = Rollout(log_p, log_p, log_p, found, mask)
print(gradients(rollout, {view.loss!r}))
"""
