"""The plane of both log-ratios: a loss as contours, its push as arrows, the table's pairs on it."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import put
from components.figures.preference import plane, pushes
from components.lesson_parts import note
from components.panels.preference.settings import ON_PLANE, ExplainsPair, HasLoss, loss_label
from components.panels.preference.table import HasPairs
from components.settings import number
from components.stage import Click, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.preference.checks import differences
from models.preference.losses import Graded, LossSettings, Pairs, graded
from models.preference.relatives import LOSSES
from models.preference.table import MOST_PAIRS, parse_text, write_text

SPAN, CELLS, ARROWS = 10.0, 31, 9
REFERENCE = -20.0  # log π_ref of both answers on the plane: what losses without a reference need
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Plane(ExplainsPair, HasPairs, HasLoss):
    """A loss over both log-ratios, its push as arrows, and the table's pairs on it."""

    page, name = "preference", "plane"
    length_w: int = number(1, 1_000, 10, label=mark("Tokens of the chosen answer"), place="more")
    length_l: int = number(1, 1_000, 10, label=mark("Tokens of the rejected answer"), place="more")

    @property
    def lengths(self) -> tuple[int, int]:
        return self.length_w, self.length_l

    def stage(self) -> Stage:
        row, pair = self.selected()
        push = [
            -np.array([float(getattr(loss, by)) for loss in at_pair(pair, self.settings).values()])
            for by in ("by_chosen", "by_rejected")
        ]
        ways = pushes([loss_label(name) for name in ON_PLANE], push[0], push[1])
        alt = _("Direction in which every loss pushes both answers")
        title = _("Every loss at pair {number}").format(number=row + 1)
        over = _("Loss over both log-ratios, with the direction in which descent pushes")
        return Stage(
            [
                Plot("plane", plane_drawing(self), over, self.clicked, width=1.6),
                Plot("pushes", ways, f"{title}: {alt}", rest=100),
            ]
        )

    def selected(self) -> tuple[int, Pairs]:
        """The row that is explained, from 0, and its pair alone."""
        pairs = self.pairs()
        row = min(self.row, len(pairs)) - 1
        return row, Pairs(*(column[row : row + 1] for column in vars(pairs).values()))

    def clicked(self, click: Click) -> "Plane":
        """A click becomes a pair of the table with these log-ratios; a click on a pair selects it."""
        if click.get("custom") is not None:
            return replace(self, row=int(click["custom"]))
        chosen, rejected = (round(float(click[axis]), 2) for axis in ("x", "y"))
        rows = parse_text(self.pairs_text)
        if len(rows) >= MOST_PAIRS:
            return self
        cells = (REFERENCE + chosen, REFERENCE + rejected, REFERENCE, REFERENCE, *self.lengths)
        text = write_text((*rows, tuple(f"{value:g}" for value in cells)))
        return replace(self, pairs_text=text, row=len(rows) + 1)

    def below(self) -> None:
        """Which losses push the chosen answer down, the checks, and what to take along."""
        note(self, "plane")
        row, pair = self.selected()
        every = at_pair(pair, self.settings)
        st.button(
            _("Remove pair {number}").format(number=row + 1),
            key="preference_remove",
            icon=":material/delete:",
            on_click=remove_pair,
            args=(self,),
        )
        down = [loss_label(name) for name, loss in every.items() if float(loss.by_chosen) > 0]
        if down:
            st.caption(_("Pushed down although chosen, by: {losses}").format(losses=", ".join(down)))
        checked_against(plane_checks(self))
        take_with_you(
            self,
            lambda: numbers(every),
            lambda: plane_drawing(self),
            snippet(pair, self.settings),
        )


def numbers(every: dict[str, Graded]) -> pd.DataFrame:
    """Value and gradients of every loss at the selected pair."""
    rows = [(float(each.loss), float(each.by_chosen), float(each.by_rejected)) for each in every.values()]
    index = pd.Index(list(every), name="loss")
    return pd.DataFrame(rows, columns=["value", "by_chosen", "by_rejected"], index=index)


def remove_pair(view: Plane) -> None:
    """Take the selected pair out of the table."""
    rows = parse_text(view.pairs_text)
    row = view.selected()[0]
    if len(rows) > 1:
        put(replace(view, pairs_text=write_text(rows[:row] + rows[row + 1 :])))


def plane_checks(view: Plane) -> list[Check]:
    """Values and gradients over the table's pairs, against torch's own losses."""
    value, gradient = differences(view.pair_loss, view.pairs(), view.settings)
    label = loss_label(view.pair_loss)
    return [
        Check(_("torch's own losses and distributions, {loss}").format(loss=label), value, TOLERANCE),
        Check(_("their gradients by autograd, {loss}").format(loss=label), gradient, TOLERANCE),
    ]


def places(count: int) -> np.ndarray:
    return np.linspace(-SPAN, SPAN, count, dtype=np.float32)


def pairs_at(chosen: torch.Tensor, rejected: torch.Tensor, lengths: tuple[int, int]) -> Pairs:
    """Pairs with these log-ratios, to the plane's reference."""
    reference = torch.full_like(chosen, REFERENCE)
    first, second = (torch.full_like(chosen, float(length)) for length in lengths)
    return Pairs(reference + chosen, reference + rejected, reference, reference, first, second)


@lru_cache(maxsize=8)
def grid(count: int, lengths: tuple[int, int]) -> Pairs:
    """The whole plane, row by row: Δ_l rises by row, Δ_w along it."""
    rejected, chosen = torch.meshgrid(*[torch.from_numpy(places(count))] * 2, indexing="ij")
    return pairs_at(chosen.flatten(), rejected.flatten(), lengths)


def on_grid(loss: str, settings: LossSettings, count: int, lengths: tuple[int, int]) -> Graded:
    return graded(LOSSES[loss], grid(count, lengths), settings)


@lru_cache(maxsize=64)
def limits(loss: str, lengths: tuple[int, int], by_token: bool) -> tuple[float, float]:
    """The colours' ends: this loss over the plane at its default settings, so that they stay for any β."""
    settings = LossSettings(smoothing=0.1, ipo_by_token=by_token)
    values = LOSSES[loss](grid(CELLS, lengths), settings)
    low, high = torch.quantile(values, torch.tensor([0.0, 0.9])).tolist()
    return low, max(high, low + 1e-3)


def plane_drawing(view: Plane) -> go.Figure:
    loss, settings, lengths = view.pair_loss, view.settings, view.lengths
    values = LOSSES[loss](grid(CELLS, lengths), settings).reshape(CELLS, CELLS).numpy()
    found = on_grid(loss, settings, ARROWS, lengths)
    push = [-x.reshape(ARROWS, ARROWS).numpy() for x in (found.by_chosen, found.by_rejected)]
    pairs = view.pairs()
    return plane(
        places(CELLS),
        values,
        (places(ARROWS), push[0], push[1]),
        (pairs.delta_chosen.numpy(), pairs.delta_rejected.numpy()),
        limits(loss, lengths, settings.ipo_by_token),
        view.selected()[0],
    )


def at_pair(pair: Pairs, settings: LossSettings) -> dict[str, Graded]:
    """Every loss of a single pair, at this one."""
    return {name: graded(LOSSES[name], pair, exo_safe(settings)) for name in ON_PLANE}


def exo_safe(settings: LossSettings) -> LossSettings:
    """With an ε at which exo_pair is finite: all losses are drawn together."""
    if settings.smoothing > 0:
        return settings
    return LossSettings(**(vars(settings) | {"smoothing": 1e-3}))


def snippet(pair: Pairs, settings: LossSettings) -> str:
    """Python that repeats every loss at the selected pair."""
    cells = ", ".join(f"torch.tensor([{float(column[0])!r}])" for column in vars(pair).values())
    return f"""import torch

from models.preference.losses import LossSettings, Pairs, graded
from models.preference.relatives import LOSSES

pair = Pairs({cells})
settings = {exo_safe(settings)!r}
for name, loss in LOSSES.items():
    found = graded(loss, pair, settings)
    print(name, found.loss.item(), found.by_chosen.item(), found.by_rejected.item())
"""
