"""The group calculator: rewards to advantages to gradients, cell by cell."""

from dataclasses import dataclass, replace
from typing import Self

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.policy import answer_grid
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.policy.settings import LongestAnswer, TakesMethod, aggregation_label, normed_by_torch
from components.panels.policy.table import HasTable
from components.settings import number, one_of, slider, text
from components.stage import Click, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.policy.group_advantages import (
    METHODS,
    Convention,
    advantages,
    baseline,
    batch_moments,
    group_deviations,
    is_dead,
    soft_overlong,
)
from models.policy.group_table import Groups, laid_out, rollout_of
from models.policy.losses import AGGREGATIONS, PolicyLoss, objective, token_gradients, token_weights
from models.tables import Grid, cell_of, number_of

LOWEST, HIGHEST = -2.0, 2.0  # of the slider for one reward, unless its cell lies beyond
DECIMALS = 6  # of a reward that the slider writes
MOST_OFF_EDGE = 1e-9  # a ratio that is nearer to the clip's edge has two gradients


def deviation_label(name: str) -> str:
    return _("of a sample (n − 1)") if name == "sample" else _("of a population (n)")


def without_division(view: "GroupCalculator") -> str:
    return "" if view.divides else mark("this method divides by no deviation")


def reward_label(view: "GroupCalculator") -> str:
    group, answer = view.place
    return _("Reward of answer {answer} in group {group}").format(answer=answer + 1, group=group + 1)


@dataclass(frozen=True)
class GroupCalculator(HasTable, LongestAnswer, TakesMethod):
    """Advantages and shares of the gradient. The chosen cell's reward stands where its slider does."""

    page, name = "policy", "group"
    cell: str = text("1.1", place="none", most=20)
    reward: float = slider(
        lambda view: min(LOWEST, view.cell_value),
        lambda view: max(HIGHEST, view.cell_value),
        lambda view: view.cell_value,
        0.05,
        whole=False,
        label=reward_label,
        help=mark("Click a cell of a figure to choose another answer."),
        off=lambda view: "" if view.has_number else mark("this cell holds no number"),
        writes=lambda view, value: view.with_reward(value),
    )
    epsilon: float = slider(1e-9, 1.0, 1e-4, log=True, label=mark("ε added to σ"), off=without_division)
    clip: float = slider(0.0, 1.0, 0.2, label=mark("Clip ε, of the ratio"))
    deviation: str = one_of(
        ("sample", "population"),
        label=mark("Deviation σ"),
        label_of=deviation_label,
        place="more",
        off=without_division,
    )
    cache: int = number(
        0,
        100_000,
        0,
        label=mark("Overlong cache (0: none)"),
        place="more",
        help=mark("DAPO takes up to 1 off the reward over the last so many tokens before L."),
    )

    @property
    def uses_longest(self) -> bool:
        return super().uses_longest or self.cache > 0

    @property
    def place(self) -> tuple[int, int]:
        """Group and answer of the chosen cell, from 0; the first where the table has no such cell."""
        rewards = self.grids[0]
        try:
            group, answer = (int(part) - 1 for part in self.cell.split("."))
        except ValueError:
            return 0, 0
        is_there = 0 <= group < len(rewards) and 0 <= answer < len(rewards[group])
        return (group, answer) if is_there else (0, 0)

    @property
    def typed(self) -> float | None:
        """The number in the chosen cell; None where there is none."""
        group, answer = self.place
        try:
            return number_of(self.grids[0][group][answer], group + 1, answer + 1)
        except (InputError, IndexError):
            return None

    @property
    def has_number(self) -> bool:
        return self.typed is not None

    @property
    def cell_value(self) -> float:
        return self.typed or 0.0

    @property
    def groups(self) -> Groups:
        """The table with the chosen cell at its slider's value. Raises InputError."""
        groups = super().groups
        if self.reward == self.cell_value:
            return groups
        rewards = groups.rewards.clone()
        rewards[self.place] = self.reward
        return replace(groups, rewards=rewards)

    @property
    def shown(self) -> tuple[Grid, Grid, Grid]:
        return (self if self.reward == self.cell_value else self.with_reward(self.reward)).grids

    def with_grids(self, **grids: Grid) -> Self:
        """Other cells; the slider stands at what the chosen one holds then."""
        changed = super().with_grids(**grids)
        return replace(changed, reward=changed.cell_value)

    def with_reward(self, value: float) -> Self:
        """The chosen cell at another number."""
        group, answer = self.place
        rows = [list(row) for row in self.grids[0]]
        rows[group][answer] = cell_of(round(float(value), DECIMALS))
        return self.with_grids(rewards=tuple(map(tuple, rows)))

    def with_cell(self, group: int, answer: int) -> Self:
        """Another cell is chosen; a number that the slider has not written yet stays."""
        kept = self if self.reward == self.cell_value else self.with_reward(self.reward)
        changed = replace(kept, cell=f"{group + 1}.{answer + 1}")
        return replace(changed, reward=changed.cell_value)

    @property
    def convention(self) -> Convention:
        """How rewards become advantages: the method, with this deviation and ε."""
        ddof = 0 if self.deviation == "population" else 1
        return replace(METHODS[self.method], ddof=ddof, epsilon=self.epsilon)

    @property
    def loss(self) -> PolicyLoss:
        return PolicyLoss(
            epsilon_low=self.clip,
            epsilon_high=self.clip,
            aggregation=self.aggregation,
            longest=self.longest,
        )

    def computed(self) -> "Computed":
        """The table, its advantages, and what each answer's tokens push together. Raises InputError."""
        groups = self.groups
        if self.cache:
            penalty = soft_overlong(groups.lengths, float(self.longest), float(self.cache))
            groups = replace(groups, rewards=groups.rewards + penalty)
        made = advantages(groups.rewards, self.convention, groups.lengths, groups.mask)
        pushes = 0.0 - token_gradients(rollout_of(groups, made), self.loss)  # 0, not −0
        return Computed(groups, made, laid_out(groups, pushes[:, 0]))

    def stage(self) -> Stage:
        computed = self.computed()

        def choose(click: Click) -> GroupCalculator:
            return self.with_cell(int(click["y"]), int(click["x"]))

        left = advantage_figure(self, computed)
        right = push_figure(self, computed)
        return Stage(
            [
                Plot("advantages", left, _("Advantage of each answer"), choose),
                # the advantages follow every value; their shares leave them the time
                Plot("pushes", right, _("Share of the gradient that each answer gets"), choose, rest=66),
            ]
        )

    def below(self) -> None:
        computed = self.computed()
        arithmetic(self, computed)
        note(self, "group")
        say_dead(computed.groups)
        st.dataframe(average_table(self.loss, computed), hide_index=True, width="stretch")
        checked_against(checks(self, computed))
        take_with_you(
            self,
            lambda: answers_table(computed),
            lambda: advantage_figure(self, computed),
            snippet(self),
        )


@dataclass(frozen=True, eq=False)
class Computed:
    """A table with what was made of it: [groups, answers], NaN where a group has no answer."""

    groups: Groups  # its rewards with what a penalty took off
    advantages: torch.Tensor
    pushes: torch.Tensor  # −∂loss/∂ln π, summed over the answer's tokens


def advantage_figure(view: GroupCalculator, computed: Computed) -> go.Figure:
    """Advantages as a map, with the chosen one's arithmetic under it."""
    groups = computed.groups
    return answer_grid(
        computed.advantages.numpy(),
        _("Advantage"),
        3.0 if view.divides else 2.0,
        dead=is_dead(groups.rewards, groups.mask).tolist(),
        selected=view.place,
        line=written_out(view, computed),
    )


def push_figure(view: GroupCalculator, computed: Computed) -> go.Figure:
    """Shares in percent: their sizes add up to 100."""
    groups, pushes = computed.groups, computed.pushes
    total = pushes.nan_to_num().abs().sum()
    shares = 100 * pushes / total if total > 0 else pushes
    return answer_grid(
        shares.numpy(),
        _("Share of the gradient (%)"),
        max(2.0, round(300 / int(groups.mask.sum()), 1)),
        dead=is_dead(groups.rewards, groups.mask).tolist(),
        selected=view.place,
        number="+.1f",
        line=_("Sizes add up to 100 %.") if total > 0 else _("No answer pushes."),
    )


def in_numbers(view: GroupCalculator, computed: Computed) -> tuple[str, str, float]:
    """The chosen answer's advantage: what is divided, what by ("" where by nothing), and the result."""
    convention, groups, place = view.convention, computed.groups, view.place
    base = baseline(groups.rewards, convention, groups.mask)
    top = f"{float(groups.rewards[place]):.4g} - {signed(float(base[place]))}"
    made = float(computed.advantages[place])
    if not view.divides or (convention.scale == "group" and groups.sizes[place[0]] < 2):
        return top, "", made
    if convention.scale == "group":
        sigma = group_deviations(groups.rewards, convention.ddof, groups.mask)[place[0]]
    else:
        is_whitened = convention.scale == "whiten"
        values = groups.rewards - base if is_whitened else groups.rewards
        weights = groups.lengths if is_whitened and convention.by_token else torch.ones_like(values)
        mean, variance = batch_moments(values, weights * groups.mask, convention.ddof)
        sigma = variance.sqrt()
        top += f" - {signed(float(mean))}" if is_whitened else ""
    return top, f"{float(sigma):.4g} + {convention.epsilon:.2g}", made


def signed(value: float) -> str:
    """A number behind a minus: in brackets where it has a sign of its own."""
    return f"{value:.4g}" if value >= 0 else f"({value:.4g})"


def written_out(view: GroupCalculator, computed: Computed) -> str:
    """The chosen answer's advantage in one line, for the figure."""
    top, bottom, made = in_numbers(view, computed)
    group, answer = view.place
    quotient = f"({top}) / ({bottom})" if bottom else top
    return f"A({group + 1}, {answer + 1}) = {quotient} = {made:+.4f}".replace("-", "−")


def arithmetic(view: GroupCalculator, computed: Computed) -> None:
    """The same as a formula."""
    top, bottom, made = in_numbers(view, computed)
    group, answer = view.place
    quotient = rf"\frac{{{top}}}{{{bottom}}}" if bottom else top
    show_formula(rf"A_{{{group + 1},{answer + 1}}}={quotient}={made:+.4f}")


def say_dead(groups: Groups) -> None:
    dead = is_dead(groups.rewards, groups.mask)
    if not dead.any():
        return
    share = float(groups.mask[dead].sum() / groups.mask.sum())
    st.markdown(
        _("✕ All rewards agree in group {numbers}: {share} % of the answers.").format(
            numbers=", ".join(str(int(row) + 1) for row in dead.nonzero()[:, 0]),
            share=f"{100 * share:.0f}",
        )
    )


def average_table(loss: PolicyLoss, computed: Computed) -> pd.DataFrame:
    """The loss and what a token of the shortest and of the longest answer counts, under every average."""
    rollout = rollout_of(computed.groups, computed.advantages)
    lengths = rollout.mask[:, 0]
    short, long = int(lengths.argmin()), int(lengths.argmax())
    rows = []
    for name in AGGREGATIONS:
        other = replace(loss, aggregation=name)
        weights = token_weights(rollout.mask, name, loss.longest)[:, 0] / lengths
        push = token_gradients(rollout, other)
        rows.append(
            {
                _("Average"): aggregation_label(name),
                _("Value of the loss"): f"{float(objective(rollout, other).total):+.6f}",
                _("Sum of |∂L/∂ln π|"): f"{float(push.abs().sum()):.6f}",
                _("A token of the shortest answer ({tokens})").format(
                    tokens=f"{lengths[short]:.0f}"
                ): f"{float(weights[short]):.3e}",
                _("A token of the longest answer ({tokens})").format(
                    tokens=f"{lengths[long]:.0f}"
                ): f"{float(weights[long]):.3e}",
            }
        )
    return pd.DataFrame(rows)


def answers_table(computed: Computed) -> pd.DataFrame:
    """A row an answer, for the CSV."""
    groups = computed.groups
    numbers = groups.mask.nonzero() + 1
    columns = {
        "reward": groups.rewards,
        "length": groups.lengths,
        "ratio": groups.ratios,
        "advantage": computed.advantages,
        "push": computed.pushes,
    }
    return pd.DataFrame(
        {"group": numbers[:, 0].numpy(), "answer": numbers[:, 1].numpy()}
        | {name: values[groups.mask].numpy() for name, values in columns.items()}
    )


def checks(view: GroupCalculator, computed: Computed) -> list[Check]:
    """Group advantages by torch's layer norm; gradients by torch's autograd."""
    convention, made = view.convention, []
    if convention.baseline == convention.scale == "group" and max(computed.groups.sizes) > 1:
        what = _("torch.nn.functional.layer_norm over each group")
        made.append(Check(what, norm_gap(computed, convention), 1e-5))
    rollout, loss = rollout_of(computed.groups, computed.advantages), view.loss
    log_p = rollout.log_p.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(objective(replace(rollout, log_p=log_p), loss).total, log_p)
    off_edge = ((rollout.log_p.exp() - 1).abs() - loss.epsilon_low).abs() > MOST_OFF_EDGE
    gap = float(((gradient - token_gradients(rollout, loss)) * off_edge).abs().max())
    made.append(Check(_("torch.autograd, gradient of the loss"), gap, 1e-9))
    return made


def norm_gap(computed: Computed, convention: Convention) -> float:
    """Largest difference from layer norm, whose variance is the population's, put on the same scale."""
    gap = 0.0
    for rewards, made, size in zip(
        computed.groups.rewards, computed.advantages, computed.groups.sizes, strict=True
    ):
        if size < 2:
            continue
        row = rewards[:size]
        population, sigma = row.std(correction=0), row.std(correction=convention.ddof)
        theirs = normed_by_torch(row) * population / (sigma + convention.epsilon)
        gap = max(gap, float((theirs - made[:size]).abs().max()))
    return gap


def snippet(view: GroupCalculator) -> str:
    """Python that repeats the numbers of both figures."""
    rewards, lengths, ratios = view.shown
    penalty = f" + soft_overlong(groups.lengths, {view.longest}.0, {view.cache}.0)" if view.cache else ""
    return f"""from models.policy.group_table import laid_out, read_groups, rollout_of
from models.policy.group_advantages import Convention, advantages, soft_overlong
from models.policy.losses import PolicyLoss, objective, token_gradients

groups = read_groups({rewards!r}, {lengths!r}, {ratios!r})
found = advantages(groups.rewards{penalty}, {view.convention!r}, groups.lengths, groups.mask)
print(found)
rollout, loss = rollout_of(groups, found), {view.loss!r}
print(objective(rollout, loss).total, laid_out(groups, -token_gradients(rollout, loss)[:, 0]))
"""
