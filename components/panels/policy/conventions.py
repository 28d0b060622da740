"""The same rewards under TRL, verl and OpenRLHF: where their advantages differ."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.functional import batch_norm, layer_norm

from components.figures.curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.policy.grid import follow_slider, grid_editor, grids, groups_now, load_grids
from components.panels.policy.setup import choose_method, now
from components.words import _
from models.policy.group_advantages import LIBRARIES, advantages, convention_of
from models.policy.group_table import Groups, rollout_of
from models.policy.losses import PolicyLoss, objective

LIVE = ("convention_live",)
SETTLED = (*LIVE, "convention_facts")
DIFFERENT = 1e-4  # of the larger one: cells that differ by more are marked
GAPS = np.logspace(-8, 0, 120)
# What each library's loss does by default: TRL's dapo, verl's token-mean with dual clip 3, OpenRLHF's
# token-level loss; each over all tokens.
LOSSES = {
    "TRL 1.16": PolicyLoss(),
    "verl": PolicyLoss(dual_clip=3.0),
    "OpenRLHF": PolicyLoss(),
}


@panel
def library_conventions(page: Page) -> None:
    load_grids(page)
    follow_slider(page)
    left, right = st.columns(2, gap="medium")
    with left:
        grid_editor(page, SETTLED)
    with right:
        choose_method(page)
        live_slider(
            _("Gap δ of the group [1, 1 + δ]"), f"{page.name}_gap", 1e-8, 1.0, 1e-5,
            log=True, live=LIVE, settled=SETTLED,
        )  # fmt: skip
        convention_live(page)
    page.note("conventions")
    convention_facts(page)


@live_panel
def convention_live(page: Page) -> None:
    live_figure(
        gap_figure(float(now(page, "gap"))), f"{page.name}_gaps", _("Advantage of the better answer of two")
    )


def gap_figure(gap: float) -> go.Figure:
    """GRPO's advantage of the second of two rewards 1 and 1 + δ, by library."""
    lines = []
    for place, library in enumerate(LIBRARIES):
        lines.append(Curve(library, place, GAPS, pair_advantages(library, GAPS)))
        at = pair_advantages(library, np.array([gap]))
        lines.append(Curve(f"{library}: {at[0]:.4f}", place, np.array([gap]), at, markers=True))
    return curves(
        lines, "δ", _("Advantage of the better answer"), x_log=True, x_range=(1e-8, 1.0),
        y_range=(0.0, 0.8), height=380,
    )  # fmt: skip


def pair_advantages(library: str, gaps: np.ndarray) -> np.ndarray:
    convention = convention_of(library, "grpo")
    assert convention is not None
    rewards = torch.from_numpy(np.stack([np.zeros_like(gaps), gaps], axis=1))
    return advantages(rewards, convention)[:, 1].numpy()


def by_library(page: Page, groups: Groups) -> dict[str, torch.Tensor | None]:
    """Advantages of every library for the method; None where it has none, or refuses."""
    found: dict[str, torch.Tensor | None] = {}
    for library in LIBRARIES:
        convention = convention_of(library, now(page, "method"))
        found[library] = (
            None if convention is None else advantages(groups.rewards, convention, groups.lengths)
        )
    return found


@panel
def convention_facts(page: Page) -> None:
    groups = groups_now(page)
    found = by_library(page, groups)
    rows = min(330, 38 + 35 * groups.rewards.numel())
    st.dataframe(marked_table(groups, found), hide_index=True, width="stretch", height=rows)
    st.dataframe(settings_table(page, groups, found), hide_index=True, width="stretch")
    if (made := checks(page, groups, found)) is not None:
        checked_against(made)
    gap = float(now(page, "gap"))
    take_with_you(
        f"{page.name}_conventions",
        lambda: plain_table(groups, found),
        lambda: gap_figure(gap),
        snippet(page),
    )


def plain_table(groups: Groups, found: dict[str, torch.Tensor | None]) -> pd.DataFrame:
    rows, columns = groups.rewards.shape
    place = np.indices((rows, columns)).reshape(2, -1) + 1
    table: dict[str, object] = {
        _("Group"): place[0],
        _("Answer"): place[1],
        _("Reward"): groups.rewards.flatten().numpy(),
    }
    for library, values in found.items():
        table[library] = np.full(rows * columns, np.nan) if values is None else values.flatten().numpy()
    return pd.DataFrame(table)


def marked_table(groups: Groups, found: dict[str, torch.Tensor | None]):
    """Cells that differ from TRL's are marked with ≠ and a colour."""
    table = plain_table(groups, found)
    shown, first = table.copy(), LIBRARIES[0] if found[LIBRARIES[0]] is not None else "verl"
    marks = pd.DataFrame("", index=table.index, columns=table.columns)
    for library in LIBRARIES:
        gap = (table[library] - table[first]).abs()
        differs = gap > DIFFERENT * table[[library, first]].abs().max(axis=1).clip(lower=1e-6)
        nothing = table[library].isna()
        words = table[library].map(lambda value: "–" if np.isnan(value) else f"{value:+.5f}")
        shown[library] = words.where(~differs | nothing, "≠ " + words)
        marks.loc[differs & ~nothing, library] = (
            "background-color: rgba(230, 159, 0, .35); font-weight: 600"
        )
    return shown.style.apply(lambda _table: marks, axis=None)


def settings_table(page: Page, groups: Groups, found: dict[str, torch.Tensor | None]) -> pd.DataFrame:
    """What each library sets, and the loss that its default average makes of it."""
    single = {"zero": "0", "raw": _("the reward itself"), "undefined": _("undefined")}
    rows = []
    for library in LIBRARIES:
        convention, values = convention_of(library, now(page, "method")), found[library]
        if convention is None or values is None:
            rows.append({_("Library"): library, _("Method"): _("not there")})
            continue
        loss = "–"
        if not values.isnan().any():
            loss = f"{float(objective(rollout_of(groups, values), LOSSES[library]).total):+.6f}"
        divides = convention.scale != "none"
        rows.append(
            {
                _("Library"): library,
                _("Method"): now(page, "method"),
                _("σ of"): ("n − 1" if convention.ddof else "n") if divides else "–",
                "ε": f"{convention.epsilon:.0e}" if divides else "–",
                _("A group of one gives"): single[convention.single],
                _("Dual clip c"): f"{LOSSES[library].dual_clip:g}"
                if LOSSES[library].dual_clip
                else _("off"),
                "GAE λ": "–" if library == "TRL 1.16" else "1.0",
                _("KL, if any"): KL_DEFAULTS[library],
                _("Loss over all tokens"): loss,
            }
        )
    return pd.DataFrame(rows).fillna("–")


KL_DEFAULTS = {"TRL 1.16": "k3, β = 0", "verl": "k3 ±10 / k1", "OpenRLHF": "k1 ±10"}


def checks(page: Page, groups: Groups, found: dict[str, torch.Tensor | None]) -> list[Check]:
    """Each library's σ and ε again, by torch's normalisations of populations."""
    method, count, result = now(page, "method"), groups.rewards.shape[1], []
    for library, values in found.items():
        convention = convention_of(library, method)
        if values is None or convention is None or count == 1:
            continue
        if method == "grpo":
            population = groups.rewards.std(dim=1, correction=0, keepdim=True)
            sigma = groups.rewards.std(dim=1, correction=convention.ddof, keepdim=True)
            theirs = (
                layer_norm(groups.rewards, (count,), eps=1e-20) * population / (sigma + convention.epsilon)
            )
            gap = float((theirs - values).abs().max())
            result.append(Check(f"torch.nn.functional.layer_norm, {library}", gap, 1e-5))
        elif method == "reinforce++":
            repeats = groups.lengths.flatten().long()
            tokens = groups.rewards.flatten().repeat_interleave(repeats)
            theirs = batch_norm(tokens[:, None], None, None, training=True, eps=1e-8)[:, 0]
            factor = ((len(tokens) - convention.ddof) / len(tokens)) ** 0.5
            mine = values.flatten().repeat_interleave(repeats)
            gap = float((factor * theirs - mine).abs().max())
            result.append(Check(f"torch.nn.functional.batch_norm, {library}", gap, 1e-3))
    return result


def snippet(page: Page) -> str:
    return f"""from models.policy.group_table import read_groups
from models.policy.group_advantages import LIBRARIES, advantages, convention_of

groups = read_groups(*{grids(page)!r})
for library in LIBRARIES:
    if convention := convention_of(library, {now(page, "method")!r}):
        print(library, convention, advantages(groups.rewards, convention, groups.lengths))
"""
