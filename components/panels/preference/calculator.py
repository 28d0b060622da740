"""The calculator: a table of pairs in; loss, rewards and gradients out, for every pair and the batch."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.preference import implicit_rewards, loss_and_gradient
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.preference.settings import ExplainsPair, HasLoss, loss_label
from components.panels.preference.steps import b, steps
from components.panels.preference.table import TABLE_HEIGHT, HasPairs, pairs_table
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.preference.checks import differences
from models.preference.logged import BY_MEANS, logged
from models.preference.losses import Graded, Loss, LossSettings, Pairs, graded, mixture
from models.preference.relatives import BY_LENGTH, LOSSES

NOTHING = "none"
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Asked:
    """The loss with its settings, and another one that is added with a weight."""

    loss: str
    added: str
    weight: float
    settings: LossSettings

    @property
    def function(self) -> Loss:
        if self.added == NOTHING:
            return LOSSES[self.loss]
        if self.added == self.loss:
            return mixture({LOSSES[self.loss]: 1.0 + self.weight})
        return mixture({LOSSES[self.loss]: 1.0, LOSSES[self.added]: self.weight})


def added_label(name: str) -> str:
    return _("nothing") if name == NOTHING else loss_label(name)


@dataclass(frozen=True)
class Calculator(ExplainsPair, HasPairs, HasLoss):
    """A table of pairs in; loss, rewards and gradients out, for every pair and the batch."""

    page, name = "preference", "calculator"
    added: str = one_of((NOTHING, *LOSSES), label=mark("Added to it"), label_of=added_label)
    weight: float = slider(
        0.0, 5.0, 1.0, label=mark("with weight"), shown=lambda view: view.added != NOTHING
    )
    tail: float = slider(
        0.0,
        1.0,
        1.0,
        label=mark("LD-DPO: weight of extra tokens"),
        help=mark("Tokens beyond the shorter answer; below 1 the table needs values by token."),
    )

    @property
    def asked(self) -> Asked:
        return Asked(self.loss, self.added, self.weight, self.settings)

    def table_pairs(self) -> Pairs:
        """The table as numbers; lengths are asked for only where a loss reads them. Raises InputError."""
        needed = self.tail < 1 or any(name in BY_LENGTH for name in (self.loss, self.added))
        return self.pairs(self.tail, lengths=needed)

    def stage(self) -> Stage:
        rewards, gradient = pair_drawings(self.table_pairs(), self.asked)
        return Stage(
            [
                Plot("rewards", rewards, _("Implicit rewards of both answers of every pair")),
                Plot("gradient", gradient, _("Loss of every pair, and its push on both answers"), rest=50),
            ],
            reserved=TABLE_HEIGHT + 60,
        )

    def editor(self) -> None:
        pairs_table(self)

    def below(self) -> None:
        """The batch as TRL logs it, one pair step by step, every pair in numbers, and the checks."""
        note(self, "calculator")
        pairs, asked = self.table_pairs(), self.asked
        result = graded(asked.function, pairs, asked.settings)
        batch_metrics(pairs, result, asked)
        row = min(self.row, len(pairs)) - 1
        left, right = st.columns([2, 3], gap="medium")
        with left:
            arithmetic(pairs, asked, result, row)
        with right:
            st.dataframe(pair_table(pairs, asked, result), width="stretch", height=330)
        checked_against(checks(pairs, asked))
        take_with_you(
            self,
            lambda: pair_table(pairs, asked, result).rename_axis("pair"),
            lambda: pair_drawings(pairs, asked)[0],
            snippet(self.pairs_text, asked, self.tail),
        )


def pair_drawings(pairs: Pairs, asked: Asked) -> tuple[go.Figure, go.Figure]:
    found = graded(asked.function, pairs, asked.settings)
    rewards = logged(asked.loss, pairs, asked.settings)
    return (
        implicit_rewards(rewards.chosen.numpy(), rewards.rejected.numpy(), reward_title(asked.loss)),
        loss_and_gradient(found.loss.numpy(), found.by_chosen.numpy(), found.by_rejected.numpy()),
    )


def reward_title(loss: str) -> str:
    """What a trainer of this loss calls a reward."""
    if loss not in BY_MEANS:
        return _("Implicit reward β·Δ (nats)")
    factor = "β" if loss == "simpo" else "λ"
    return _("{factor}·mean log π (nats)").format(factor=factor)


def batch_metrics(pairs: Pairs, found: Graded, asked: Asked) -> None:
    """What a run of the loss's trainer logs for this batch; each under the name that TRL gives it."""
    made = logged(asked.loss, pairs, asked.settings)
    shown = {
        "loss": found.loss.mean(),
        "rewards/chosen": made.chosen.mean(),
        "rewards/rejected": made.rejected.mean(),
        "rewards/margins": made.margin.mean(),
        "rewards/accuracies": (made.margin > 0).double().mean(),
        "logps/chosen": made.log_p_chosen.mean(),
    }
    for column, (name, value) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.metric(name, f"{float(value):.4g}")


def arithmetic(pairs: Pairs, asked: Asked, found: Graded, row: int) -> None:
    """One pair: what the loss reads, the steps from there to its value, and its gradient."""
    st.markdown("##### " + _("Pair {number}, step by step").format(number=row + 1))
    own = float(LOSSES[asked.loss](pairs, asked.settings)[row])
    lines = steps(asked.loss, pairs, asked.settings, row, own)
    if asked.added != NOTHING:
        other = float(LOSSES[asked.added](pairs, asked.settings)[row])
        lines.append(
            rf"L_{{\text{{all}}}}&={own:.6g}+{asked.weight:.4g}\cdot{b(other)}={float(found.loss[row]):.6g}"
        )
    if asked.loss == "sigmoid" and asked.added == NOTHING:
        lines.append(
            r"\tfrac{\partial L}{\partial\log\pi_w}&=-\beta\,\sigma(-z)\,\tfrac{ds_w}{d\Delta_w}"
            rf"={float(found.by_chosen[row]):.6g}"
        )
    else:
        lines.append(rf"\tfrac{{\partial L}}{{\partial\log\pi_w}}&={float(found.by_chosen[row]):.6g}")
    lines.append(rf"\tfrac{{\partial L}}{{\partial\log\pi_l}}&={float(found.by_rejected[row]):.6g}")
    show_formula(r"\begin{aligned}" + r"\\[3pt]".join(lines) + r"\end{aligned}")


def pair_table(pairs: Pairs, asked: Asked, found: Graded) -> pd.DataFrame:
    """Every pair in numbers; gradients are those of its own term."""
    made = logged(asked.loss, pairs, asked.settings)
    columns = {
        "Δ_w": pairs.delta_chosen,
        "Δ_l": pairs.delta_rejected,
        _("reward w"): made.chosen,
        _("reward l"): made.rejected,
        _("margin"): made.margin,
        _("loss"): found.loss,
        "∂L/∂log π_w": found.by_chosen,
        "∂L/∂log π_l": found.by_rejected,
    }
    frame = pd.DataFrame({name: np.round(values.numpy(), 6) for name, values in columns.items()})
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


@lru_cache(maxsize=16)
def _differences(name: str, settings: LossSettings, pairs: Pairs) -> tuple[float, float]:
    return differences(name, pairs, settings)


def checks(pairs: Pairs, asked: Asked) -> list[Check]:
    """Loss and gradients of each part against torch's own losses."""
    found = []
    for name in dict.fromkeys((asked.loss, asked.added)):
        if name == NOTHING:
            continue
        value, gradient = _differences(name, asked.settings, pairs)
        label = loss_label(name)
        found += [
            Check(_("torch's own losses and distributions, {loss}").format(loss=label), value, TOLERANCE),
            Check(_("their gradients by autograd, {loss}").format(loss=label), gradient, TOLERANCE),
        ]
    return found


def snippet(text: str, asked: Asked, tail: float) -> str:
    """Python that repeats the numbers of the table."""
    added = f"graded(LOSSES[{asked.added!r}], pairs, settings)"
    second = (
        "" if asked.added == NOTHING else f"\nadded = {added}  # times {asked.weight:g}\nprint(added.loss)"
    )
    return f"""from models.preference.losses import LossSettings, graded
from models.preference.relatives import BY_LENGTH, LOSSES
from models.preference.table import parse_text, read_pairs

pairs = read_pairs(parse_text({text[:4000]!r}), {tail!r})
settings = {asked.settings!r}
found = graded(LOSSES[{asked.loss!r}], pairs, settings)
print(found.loss, found.by_chosen, found.by_rejected){second}
"""
