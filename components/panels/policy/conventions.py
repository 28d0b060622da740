"""The same rewards under TRL, verl and OpenRLHF: where their advantages differ."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from pandas.io.formats.style import Styler
from torch.nn.functional import batch_norm, layer_norm

from components.figures.curves import Curve, curves
from components.lesson_parts import note
from components.panels.policy.settings import TakesMethod, method_label
from components.panels.policy.table import HasTable
from components.settings import slider
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.group_advantages import (
    LIBRARIES,
    advantages,
    convention_of,
    needs_equal_groups,
)
from models.policy.group_table import Groups, rollout_of
from models.policy.losses import PolicyLoss, objective

DIFFERENT = 1e-4  # of the larger one: cells that differ by more are marked
GAPS = np.logspace(-8, 0, 120)
NARROW_GAP, WIDE_GAP = float(GAPS[0]), float(GAPS[-1])
TABLE_HEIGHT = 540  # pixels, as the figure beside it has on a laptop
MIDDLE = 1e-4  # gaps beyond have their numbers on the left
# What each library's loss does by default: TRL's dapo, verl's token-mean with dual clip 3, OpenRLHF's
# token-level loss; each over all tokens.
LOSSES = {
    "TRL 1.16": PolicyLoss(),
    "verl": PolicyLoss(dual_clip=3.0),
    "OpenRLHF": PolicyLoss(),
}
KL_DEFAULTS = {"TRL 1.16": "k3, β = 0", "verl": "k3 ±10 / k1", "OpenRLHF": "k1 ±10"}
GAE_DEFAULTS = {"TRL 1.16": "–", "verl": "1.0", "OpenRLHF": "1.0"}
SIDES = ("bottom", "middle", "top")  # of a marker, for each library's number: they often stand close

ByLibrary = dict[str, torch.Tensor | None]


@dataclass(frozen=True)
class LibraryConventions(HasTable, TakesMethod):
    """One table of rewards, and the advantages that three libraries make of it."""

    page, name = "policy", "conventions"
    gap: float = slider(NARROW_GAP, WIDE_GAP, 1e-5, log=True, label=mark("Gap δ of the group [1, 1 + δ]"))

    def stage(self) -> Stage:
        alt = _("Advantage of the better answer of two")
        by_library = advantages_by_library(self.groups, self.method)

        def table() -> None:
            st.dataframe(
                marked_table(self.groups, by_library), hide_index=True, width="stretch", height=TABLE_HEIGHT
            )

        return Stage([Plot("gaps", gap_figure(self.gap), alt), Block(table)])

    def below(self) -> None:
        groups = self.groups
        by_library = advantages_by_library(groups, self.method)
        note(self, "conventions")
        st.dataframe(settings_table(self.method, groups, by_library), hide_index=True, width="stretch")
        if made := checks(self.method, groups, by_library):
            checked_against(made)
        take_with_you(
            self,
            lambda: plain_table(groups, by_library),
            lambda: gap_figure(self.gap),
            snippet(self),
        )


def gap_figure(gap: float) -> go.Figure:
    """GRPO's advantage of the second of two rewards 1 and 1 + δ, by library."""
    lines = []
    across = "left" if gap > MIDDLE else "right"
    for place, library in enumerate(LIBRARIES):
        lines.append(Curve(library, place, GAPS, pair_advantages(library, GAPS)))
        at = pair_advantages(library, np.array([gap]))
        side = f"{SIDES[place]} {across}"
        lines.append(
            Curve(library, place, np.array([gap]), at, written=f"{library}: {at[0]:.4f}", side=side)
        )
    return curves(
        lines,
        "δ",
        _("Advantage of the better answer"),
        x_log=True,
        x_range=(NARROW_GAP, WIDE_GAP),
        y_range=(-0.04, 0.8),
    )


def pair_advantages(library: str, gaps: np.ndarray) -> np.ndarray:
    convention = convention_of(library, "grpo")
    assert convention is not None
    rewards = torch.from_numpy(np.stack([np.zeros_like(gaps), gaps], axis=1))
    return advantages(rewards, convention)[:, 1].numpy()


def advantages_by_library(groups: Groups, method: str) -> ByLibrary:
    """Advantages of every library for the method; None where it has none, or takes no such groups."""
    made: ByLibrary = {}
    for library in LIBRARIES:
        convention = convention_of(library, method)
        if convention is None or (groups.is_ragged and needs_equal_groups(library, method)):
            made[library] = None
        else:
            made[library] = advantages(groups.rewards, convention, groups.lengths, groups.mask)
    return made


def plain_table(groups: Groups, by_library: ByLibrary) -> pd.DataFrame:
    """A row an answer; NaN where a library has no number."""
    numbers = groups.mask.nonzero() + 1
    table: dict[str, object] = {
        _("Group"): numbers[:, 0].numpy(),
        _("Answer"): numbers[:, 1].numpy(),
        _("Reward"): groups.rewards[groups.mask].numpy(),
    }
    for library, values in by_library.items():
        table[library] = np.full(len(numbers), np.nan) if values is None else values[groups.mask].numpy()
    return pd.DataFrame(table)


def marked_table(groups: Groups, by_library: ByLibrary) -> Styler:
    """Cells that differ from the first library's that has any are marked with ≠ and a colour."""
    table = plain_table(groups, by_library)
    shown = table.copy()
    first = next((library for library in LIBRARIES if by_library[library] is not None), LIBRARIES[0])
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


def settings_table(method: str, groups: Groups, by_library: ByLibrary) -> pd.DataFrame:
    """What each library sets, and the loss that its default average makes of it."""
    single = {"zero": "0", "raw": _("the reward itself"), "undefined": _("undefined")}
    rows = []
    for library in LIBRARIES:
        convention, values = convention_of(library, method), by_library[library]
        if convention is None or values is None:
            why = _("not there") if convention is None else _("takes groups of one size only")
            rows.append({_("Library"): library, _("Method"): why})
            continue
        loss = "–"
        if not values[groups.mask].isnan().any():
            loss = f"{float(objective(rollout_of(groups, values), LOSSES[library]).total):+.6f}"
        divides = convention.scale != "none"
        dual = LOSSES[library].dual_clip
        rows.append(
            {
                _("Library"): library,
                _("Method"): method_label(method),
                _("σ of"): ("n − 1" if convention.ddof else "n") if divides else "–",
                "ε": f"{convention.epsilon:.0e}" if divides else "–",
                _("A group of one gives"): single[convention.single],
                _("Dual clip c"): f"{dual:g}" if dual else _("off"),
                "GAE λ": GAE_DEFAULTS[library],
                _("KL, if any"): KL_DEFAULTS[library],
                _("Loss over all tokens"): loss,
            }
        )
    return pd.DataFrame(rows).fillna("–")


def checks(method: str, groups: Groups, by_library: ByLibrary) -> list[Check]:
    """Each library's σ and ε again, by torch's normalisations of populations."""
    if max(groups.sizes) == 1:
        return []
    if method == "grpo":
        return [
            Check(
                f"torch.nn.functional.layer_norm, {library}", layer_norm_gap(library, groups, values), 1e-5
            )
            for library, values in by_library.items()
            if values is not None
        ]
    if method == "reinforce++":
        return [
            Check(
                f"torch.nn.functional.batch_norm, {library}", batch_norm_gap(library, groups, values), 1e-3
            )
            for library, values in by_library.items()
            if values is not None
        ]
    return []


def layer_norm_gap(library: str, groups: Groups, values: torch.Tensor) -> float:
    """Group by group: layer norm divides by the population's deviation, put on the library's scale."""
    convention, gap = convention_of(library, "grpo"), 0.0
    assert convention is not None
    for rewards, made, size in zip(groups.rewards, values, groups.sizes, strict=True):
        if size > 1:
            row = rewards[:size]
            sigma = row.std(correction=convention.ddof)
            theirs = layer_norm(row, (size,), eps=1e-20) * row.std(correction=0)
            gap = max(gap, float((theirs / (sigma + convention.epsilon) - made[:size]).abs().max()))
    return gap


def batch_norm_gap(library: str, groups: Groups, values: torch.Tensor) -> float:
    """Every token of an answer carries its advantage: batch norm over all of them."""
    convention = convention_of(library, "reinforce++")
    assert convention is not None
    repeats = groups.lengths[groups.mask].long()
    tokens = groups.rewards[groups.mask].repeat_interleave(repeats)
    theirs = batch_norm(tokens[:, None], None, None, training=True, eps=1e-8)[:, 0]
    factor = ((len(tokens) - convention.ddof) / len(tokens)) ** 0.5
    return float((factor * theirs - values[groups.mask].repeat_interleave(repeats)).abs().max())


def snippet(view: LibraryConventions) -> str:
    """Python that repeats the numbers of the marked table."""
    return f"""from models.policy.group_table import read_groups
from models.policy.group_advantages import LIBRARIES, advantages, convention_of

groups = read_groups(*{view.grids!r})
for library in LIBRARIES:
    if convention := convention_of(library, {view.method!r}):
        print(library, convention, advantages(groups.rewards, convention, groups.lengths, groups.mask))
"""
