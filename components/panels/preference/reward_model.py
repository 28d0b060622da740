"""A reward model in small: Bradley–Terry fitted to comparisons, and the constants that it leaves free."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from components.controls import whole_number
from components.figures.preference_labs import fitted_rewards, win_matrix
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.editing import editable_table, table_text
from components.words import _
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

LIVE, SETTLED = ("reward_figures",), ("reward_figures", "reward_numbers")
RIDGE, CONSTANT = (0.0, 2.0, 0.0), (-4.0, 4.0, 1.0)
COLUMNS = ("winner", "loser", "times")
LIMIT = 8.0  # of the rewards' axis


@panel
def reward_model(page: Page) -> None:
    name = page.name
    left, right = st.columns([2, 5], gap="medium")
    with left:
        editable_table(
            f"{name}_compared", COLUMNS, page.default("compared"), parse_comparisons, write_comparisons,
            {"winner": _("the answer that was preferred"), "times": _("how often")}, 330,
        )  # fmt: skip
        live_slider(_("Ridge λ"), f"{name}_ridge", *RIDGE, live=LIVE, settled=SETTLED)
        live_slider(
            _("Constant c, added to a group"), f"{name}_constant", *CONSTANT, live=LIVE, settled=SETTLED
        )
        whole_number(_("Group that gets the constant"), 1, 24, f"{name}_group", 1)
    with right:
        reward_figures(page)
        page.note("reward")
    reward_numbers(page)


def comparisons_now(page: Page) -> Comparisons:
    return read_comparisons(
        parse_comparisons(table_text(f"{page.name}_compared", page.default("compared")))
    )


def rewards_now(page: Page) -> tuple[Comparisons, torch.Tensor, torch.Tensor]:
    """The comparisons, the fitted rewards, and the same with the constant in one group."""
    compared = comparisons_now(page)
    fitted = fit(compared, slider_value(f"{page.name}_ridge", *RIDGE)).rewards
    group = st.session_state.get(f"{page.name}_group", 1) - 1
    constant = slider_value(f"{page.name}_constant", *CONSTANT)
    return compared, fitted, torch.where(compared.groups == group, fitted + constant, fitted)


@live_panel
def reward_figures(page: Page) -> None:
    compared, fitted, shifted = rewards_now(page)
    left, right = st.columns(2, gap="small")
    with left:
        live_figure(
            bars(compared, fitted, shifted), f"{page.name}_fitted", _("Fitted reward of every answer")
        )
    with right:
        known = compared.groups[:, None] == compared.groups[None, :]
        live_figure(
            win_matrix(compared.names, win_probabilities(shifted).numpy(), known.numpy()),
            f"{page.name}_wins",
            _("Chance that the row's answer beats the column's"),
            lambda click: add_comparison(page, click),
        )


def bars(compared: Comparisons, fitted: torch.Tensor, shifted: torch.Tensor) -> go.Figure:
    label = _("{name} (group {number})")
    names = [
        label.format(name=name, number=group + 1)
        for name, group in zip(compared.names, compared.groups.tolist(), strict=True)
    ]
    return fitted_rewards(names, fitted.numpy(), shifted.numpy(), LIMIT)


def add_comparison(page: Page, click: dict) -> None:
    """A click on a cell: the row's answer has beaten the column's once more."""
    winner, loser = str(click["y"]), str(click["x"])
    key = f"{page.name}_compared"
    rows = parse_comparisons(st.session_state[key])
    if winner != loser and len(rows) < MOST_COMPARISONS:
        st.session_state[key] = write_comparisons((*rows, (winner, loser, "1")))
    st.rerun(("reward_model",))


@panel
def reward_numbers(page: Page) -> None:
    """The loss with and without the constant, against torch's logistic loss."""
    compared, fitted, shifted = rewards_now(page)
    before, after = float(loss(fitted, compared)), float(loss(shifted, compared))
    for column, (name, value) in zip(
        st.columns(4),
        (
            (_("Loss as fitted (nats)"), f"{before:.6f}"),
            (_("Loss with the constant"), f"{after:.6f}"),
            (_("Groups of compared answers"), str(int(compared.groups.max()) + 1)),
            (_("Comparisons"), f"{int(compared.times.sum())}"),
        ),
        strict=True,
    ):
        column.metric(name, value)
    left, right = st.columns([3, 2])
    left.latex(
        r"\begin{aligned}P(a\succ b)&=\sigma(r_a-r_b)\\&=\sigma\big((r_a+c)-(r_b+c)\big)\end{aligned}"
    )
    right.latex(r"L=-\log\sigma(r_w-r_l)")
    checked_against(checks(compared, fitted, slider_value(f"{page.name}_ridge", *RIDGE)))
    take_with_you(
        f"{page.name}_reward",
        lambda: pd.DataFrame(
            {"answer": compared.names, "group": compared.groups.numpy() + 1, "reward": fitted.numpy()}
        ),
        lambda: bars(compared, fitted, shifted),
        f"""from models.preference.bradley_terry import fit, parse_comparisons, read_comparisons

compared = read_comparisons(parse_comparisons({st.session_state[f"{page.name}_compared"]!r}))
found = fit(compared, {slider_value(f"{page.name}_ridge", *RIDGE)!r})
print(dict(zip(compared.names, found.rewards.tolist())), found.loss)
""",
    )


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
