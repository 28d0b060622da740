"""The plane of both log-ratios: a loss as contours, its push as arrows, the table's pairs on it."""

from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.preference import plane, pushes
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.preference.settings import chosen_loss, loss_controls, loss_label, settings_now
from components.panels.preference.table import pairs_now, text_now
from components.words import _
from models.preference.checks import differences
from models.preference.losses import OVER_THE_BATCH, Graded, LossSettings, Pairs, graded
from models.preference.relatives import LOSSES
from models.preference.table import MOST_PAIRS, parse_text, write_text

LIVE, SETTLED = ("loss_plane",), ("loss_plane", "all_losses", "plane_numbers")
SPAN, CELLS, ARROWS = 10.0, 31, 9
REFERENCE = -20.0  # log π_ref of both answers on the plane: what losses without a reference need
ON_PLANE = tuple(name for name in LOSSES if name not in OVER_THE_BATCH)
TOLERANCE = 1e-6


@panel
def loss_plane_view(page: Page) -> None:
    name = page.name
    loss_controls(page, LIVE, SETTLED, ON_PLANE)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whole_number(_("Tokens of the chosen answer"), 1, 1_000, f"{name}_length_w", 10, width=220)
        whole_number(_("Tokens of the rejected answer"), 1, 1_000, f"{name}_length_l", 10, width=220)
        whole_number(_("Explain pair"), 1, 10_000, f"{name}_row", 1, width=130)
        st.button(
            _("Remove this pair"), key=f"{name}_remove", icon=":material/delete:",
            on_click=remove_pair, args=(page,),
        )  # fmt: skip
    left, right = st.columns([3, 2], gap="medium")
    with left:
        loss_plane(page)
        page.note("plane")
    with right:
        all_losses(page)
    plane_numbers(page)


def lengths_now(page: Page) -> tuple[int, int]:
    state, name = st.session_state, page.name
    return state.get(f"{name}_length_w", 10), state.get(f"{name}_length_l", 10)


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


@live_panel
def loss_plane(page: Page) -> None:
    live_figure(
        plane_drawing(page),
        f"{page.name}_plane",
        _("Loss over both log-ratios, with the direction in which descent pushes"),
        lambda click: add_pair(page, click),
    )


def plane_drawing(page: Page) -> go.Figure:
    loss, settings, lengths = plane_loss(page), settings_now(page), lengths_now(page)
    values = LOSSES[loss](grid(CELLS, lengths), settings).reshape(CELLS, CELLS).numpy()
    found = on_grid(loss, settings, ARROWS, lengths)
    push = [-x.reshape(ARROWS, ARROWS).numpy() for x in (found.by_chosen, found.by_rejected)]
    pairs = pairs_now(page)
    row = st.session_state.get(f"{page.name}_row", 1) - 1
    return plane(
        places(CELLS),
        values,
        (places(ARROWS), push[0], push[1]),
        (pairs.delta_chosen.numpy(), pairs.delta_rejected.numpy()),
        limits(loss, lengths, settings.ipo_by_token),
        min(row, len(pairs) - 1),
    )


def plane_loss(page: Page) -> str:
    """The chosen loss, where it is one of a single pair."""
    loss = chosen_loss(page)
    return loss if loss in ON_PLANE else "sigmoid"


def add_pair(page: Page, click: dict) -> None:
    """A click becomes a pair of the table with these log-ratios; a click on a pair selects it."""
    state, name = st.session_state, page.name
    if click.get("custom") is not None:
        state[f"{name}_row"] = int(click["custom"])
        st.rerun(("loss_plane_view",))
    chosen, rejected = (round(float(click[axis]), 2) for axis in ("x", "y"))
    rows = parse_text(text_now(page))
    if len(rows) < MOST_PAIRS:
        cells = (REFERENCE + chosen, REFERENCE + rejected, REFERENCE, REFERENCE, *lengths_now(page))
        state[f"{name}_pairs"] = write_text((*rows, tuple(f"{value:g}" for value in cells)))
        state[f"{name}_row"] = len(rows) + 1
    st.rerun(("loss_plane_view",))


def remove_pair(page: Page) -> None:
    """Take the selected pair out of the table."""
    state, name = st.session_state, page.name
    rows = parse_text(text_now(page))
    row = min(state.get(f"{name}_row", 1), len(rows)) - 1
    if len(rows) > 1:
        state[f"{name}_pairs"] = write_text(rows[:row] + rows[row + 1 :])


@panel
def all_losses(page: Page) -> None:
    """Which way every loss pushes at the selected pair, and which of them push the chosen answer down."""
    row, one = selected_pair(page)
    found = at_pair(page, one)
    push = [
        -np.array([float(getattr(loss, by)) for loss in found.values()])
        for by in ("by_chosen", "by_rejected")
    ]
    st.markdown("##### " + _("Every loss at pair {number}").format(number=row + 1))
    drawing = pushes([loss_label(name) for name in found], push[0], push[1])
    live_figure(drawing, f"{page.name}_pushes", _("Direction in which every loss pushes both answers"))
    down = [name for name, value in zip(found, push[0], strict=True) if value < 0]
    if down:
        st.caption(_("Pushed down although chosen, by: {losses}").format(losses=", ".join(down)))


def selected_pair(page: Page) -> tuple[int, Pairs]:
    """Its row, and the pair alone."""
    pairs = pairs_now(page)
    row = min(st.session_state.get(f"{page.name}_row", 1), len(pairs)) - 1
    return row, Pairs(*(column[row : row + 1] for column in vars(pairs).values()))


def at_pair(page: Page, one: Pairs) -> dict[str, Graded]:
    settings = exo_safe(settings_now(page))
    return {name: graded(LOSSES[name], one, settings) for name in ON_PLANE}


@panel
def plane_numbers(page: Page) -> None:
    """The checks, and what to take along."""
    loss, settings = plane_loss(page), settings_now(page)
    _row, one = selected_pair(page)
    found = at_pair(page, one)
    value, gradient = differences(loss, pairs_now(page), settings)
    checked_against(
        [
            Check(
                _("torch's own losses and distributions, {loss}").format(loss=loss_label(loss)),
                value,
                TOLERANCE,
            ),
            Check(
                _("their gradients by autograd, {loss}").format(loss=loss_label(loss)), gradient, TOLERANCE
            ),
        ]
    )
    take_with_you(
        f"{page.name}_plane",
        lambda: pd.DataFrame(
            {
                "loss": list(found),
                "value": [float(loss.loss) for loss in found.values()],
                "by_chosen": [float(loss.by_chosen) for loss in found.values()],
                "by_rejected": [float(loss.by_rejected) for loss in found.values()],
            }
        ),
        lambda: plane_drawing(page),
        snippet(one, settings),
    )


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
