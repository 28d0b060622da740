"""A reward model in small: Bradley–Terry fitted to comparisons, and the constants that it leaves free."""

from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from components.figures.preference_labs import fitted_rewards, win_matrix
from components.lesson_parts import note
from components.panels.editing import edit_table
from components.settings import View, grid, number, slider
from components.stage import Click, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.preference.bradley_terry import (
    MOST_COMPARISONS,
    Comparisons,
    fit,
    loss,
    parse_comparisons,
    read_comparisons,
    win_probabilities,
    write_comparisons,
)

COLUMNS = ("winner", "loser", "times")
TABLE_HEIGHT = 210
LIMIT = 8.0  # of the rewards' axis


@dataclass(frozen=True)
class RewardModel(View):
    """Bradley–Terry fitted to comparisons, and the constants that it leaves free."""

    page, name = "preference", "reward"
    ridge: float = slider(0.0, 2.0, 0.0, label=mark("Ridge λ"))
    constant: float = slider(-4.0, 4.0, 1.0, label=mark("Constant c, added to a group"))
    group: int = number(1, 24, 1, label=mark("Group that gets the constant"))
    compared: str = grid("A>B:6;B>A:2;B>C:5;C>B:3;A>C:7;C>A:1;D>E:4;E>D:2")

    @property
    def comparisons(self) -> Comparisons:
        """The table as numbers. Raises InputError."""
        return read_comparisons(parse_comparisons(self.compared))

    def rewards(self) -> tuple[Comparisons, torch.Tensor, torch.Tensor]:
        """The comparisons, the fitted rewards, and the same with the constant in one group."""
        compared, fitted = self.comparisons, fitted_to(self.compared, self.ridge)
        return (
            compared,
            fitted,
            torch.where(compared.groups == self.group - 1, fitted + self.constant, fitted),
        )

    def stage(self) -> Stage:
        compared, fitted, shifted = self.rewards()
        known = compared.groups[:, None] == compared.groups[None, :]
        wins = win_matrix(compared.names, win_probabilities(shifted).numpy(), known.numpy())
        return Stage(
            [
                Plot("fitted", bars(compared, fitted, shifted), _("Fitted reward of every answer")),
                Plot("wins", wins, _("Chance that the row's answer beats the column's"), self.clicked),
            ],
            reserved=TABLE_HEIGHT,
        )

    def editor(self) -> None:
        help_of = {"winner": _("the answer that was preferred"), "times": _("how often")}
        edit_table(
            self, "compared", COLUMNS, parse_comparisons, write_comparisons, help_of, TABLE_HEIGHT - 10
        )

    def clicked(self, click: Click) -> "RewardModel":
        """A click on a cell: the row's answer has beaten the column's once more."""
        winner, loser = str(click["y"]), str(click["x"])
        rows = parse_comparisons(self.compared)
        if winner == loser or len(rows) >= MOST_COMPARISONS:
            return self
        return replace(self, compared=write_comparisons((*rows, (winner, loser, "1"))))

    def below(self) -> None:
        """The loss with and without the constant, against torch's logistic loss."""
        note(self, "reward")
        compared, fitted, shifted = self.rewards()
        before, after = float(loss(fitted, compared)), float(loss(shifted, compared))
        measures = {
            _("Loss as fitted (nats)"): f"{before:.6f}",
            _("Loss with the constant"): f"{after:.6f}",
            _("Groups of compared answers"): str(int(compared.groups.max()) + 1),
            _("Comparisons"): f"{int(compared.times.sum())}",
        }
        for column, (label, value) in zip(st.columns(4), measures.items(), strict=True):
            column.metric(label, value)
        left, right = st.columns([3, 2])
        left.latex(
            r"\begin{aligned}P(a\succ b)&=\sigma(r_a-r_b)\\&=\sigma\big((r_a+c)-(r_b+c)\big)\end{aligned}"
        )
        right.latex(r"L=-\log\sigma(r_w-r_l)")
        checked_against(checks(compared, fitted, self.ridge))
        take_with_you(
            self,
            lambda: pd.DataFrame(
                {"group": compared.groups.numpy() + 1, "reward": fitted.numpy()},
                index=pd.Index(compared.names, name="answer"),
            ),
            lambda: bars(compared, fitted, shifted),
            snippet(self.compared, self.ridge),
        )


@lru_cache(maxsize=16)  # the constant does not move it
def fitted_to(text: str, ridge: float) -> torch.Tensor:
    return fit(read_comparisons(parse_comparisons(text)), ridge).rewards


def snippet(text: str, ridge: float) -> str:
    """Python that repeats the fit."""
    return f"""from models.preference.bradley_terry import fit, parse_comparisons, read_comparisons

compared = read_comparisons(parse_comparisons({text!r}))
found = fit(compared, {ridge!r})
print(dict(zip(compared.names, found.rewards.tolist())), found.loss)
"""


def bars(compared: Comparisons, fitted: torch.Tensor, shifted: torch.Tensor) -> go.Figure:
    label = _("{name} (group {number})")
    names = [
        label.format(name=name, number=group + 1)
        for name, group in zip(compared.names, compared.groups.tolist(), strict=True)
    ]
    return fitted_rewards(names, fitted.numpy(), shifted.numpy(), LIMIT)


def checks(compared: Comparisons, fitted: torch.Tensor, ridge: float) -> list[Check]:
    """The logistic loss of torch at the fit, and its gradient there, which the best rewards make zero."""
    rewards = fitted.clone().requires_grad_()
    margin = rewards[compared.winner] - rewards[compared.loser]
    times = compared.times.double()
    theirs = binary_cross_entropy_with_logits(
        margin, torch.ones_like(margin), weight=times, reduction="sum"
    )
    whole = (theirs + ridge / 2 * (rewards**2).sum()) / times.sum()
    (gradient,) = torch.autograd.grad(whole, rewards)
    value = abs(float(theirs.detach() / times.sum()) - float(loss(fitted, compared)))
    return [
        Check(_("torch's binary_cross_entropy_with_logits"), value, 1e-9),
        Check(
            _("its gradient at the fitted rewards, which must vanish"), float(gradient.abs().max()), 1e-6
        ),
    ]
