"""The same rewards under TRL, verl and OpenRLHF: where their advantages differ."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from pandas.io.formats.style import Styler

from components.figures.curves import Curve, curves
from components.lesson_parts import note
from components.panels.policy.settings import TakesMethod, method_label, normed_by_torch
from components.panels.policy.table import HasTable
from components.settings import slider
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.group_advantages import Convention, advantages
from models.policy.group_table import Groups, rollout_of
from models.policy.libraries import (
    LIBRARIES,
    OPENRLHF,
    TRL,
    VERL,
    LibraryMethod,
    convention_of,
    denominators,
    in_library,
    library_advantages,
    takes,
)
from models.policy.losses import objective

DIFFERENT = 1e-4  # of the larger one: cells that differ by more are marked
GAPS = np.logspace(-8, 0, 120)
NARROW_GAP, WIDE_GAP = float(GAPS[0]), float(GAPS[-1])
TABLE_HEIGHT = 540  # pixels, as the figure beside it has on a laptop
MIDDLE = 1e-4  # gaps beyond have their numbers on the left
GAE_DEFAULTS = {TRL: "–", VERL: "1.0", OPENRLHF: "1.0"}  # where a critic is trained along
# Where a name means something else there, or the method is another trainer's.
REMARKS = {
    (OPENRLHF, "reinforce"): mark("not there: its “reinforce” is REINFORCE++"),
}
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
    """Advantages of every library for the method; None where it has none, or refuses such groups."""
    return {
        library: library_advantages(library, method, groups.rewards, groups.lengths, groups.mask)
        for library in LIBRARIES
    }


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
    rows = []
    for library in LIBRARIES:
        there, values = in_library(library, method), by_library[library]
        if there is None or values is None:
            rows.append({_("Library"): library, _("Method"): why_nothing(library, method, groups)})
            continue
        loss = "–"
        if not values[groups.mask].isnan().any():
            loss = f"{float(objective(rollout_of(groups, values), there.loss).total):+.6f}"
        convention, dual = there.convention, there.loss.dual_clip
        divides = convention.scale != "none"
        rows.append(
            {
                _("Library"): library,
                _("Method"): method_label(method),
                _("Set by"): there.setting,
                _("Place in its source"): there.place,
                _("σ of"): ("n − 1" if convention.ddof else "n") if divides else "–",
                "ε": f"{convention.epsilon:.0e}" if divides else "–",
                _("A group of one gives"): of_one(there),
                _("Dual clip c"): f"{dual:g}" if dual else _("off"),
                "GAE λ": GAE_DEFAULTS[library],
                _("KL, if any"): there.kl,
                _("Value of the loss"): loss,
            }
        )
    return pd.DataFrame(rows).fillna("–")


def why_nothing(library: str, method: str, groups: Groups) -> str:
    """Why a library gives no number for a method and these groups."""
    there = in_library(library, method)
    if there is None:
        remark = REMARKS.get((library, method))
        return _(remark) if remark else _("not there")
    if there.equal_groups and groups.is_ragged:
        return _("takes groups of one size only")
    assert not takes(there, groups.lengths, groups.mask)
    return _("refuses a batch of one token: its sample variance divides by 0")


def of_one(there: LibraryMethod) -> str:
    """What becomes of a group of one answer, by the same convention as the numbers."""
    convention = there.convention
    if convention.baseline == "none":
        return _("as any other")
    if convention.single == "undefined":
        return _("refused")
    said = "0" if convention.single == "zero" else _("the reward itself")
    if convention.scale == "whiten":
        said = _("{value}, then whitened").format(value=said)
    return said if there.trains_alone else _("{value}; its trainer refuses it").format(value=said)


def checks(method: str, groups: Groups, by_library: ByLibrary) -> list[Check]:
    """Each library's σ and ε again, by torch's normalisation of a population and NumPy's weights."""
    made = []
    for library, values in by_library.items():
        convention = convention_of(library, method)
        if values is None or convention is None or values[groups.mask].isnan().any():
            continue
        if convention.scale == "group" and max(groups.sizes) > 1:
            gap = layer_norm_gap(convention, groups, values)
            made.append(Check(f"torch.nn.functional.layer_norm, {library}", gap, 1e-5))
        elif convention.scale == "whiten":
            gap = whitening_gap(convention, groups, values)
            made.append(Check(f"numpy.average, numpy.cov, {library}", gap, 1e-6))
    return made


def layer_norm_gap(convention: Convention, groups: Groups, values: torch.Tensor) -> float:
    """Group by group: layer norm divides by the population's deviation, put on the library's scale."""
    gap = 0.0
    for rewards, made, size in zip(groups.rewards, values, groups.sizes, strict=True):
        if size > 1:
            row = rewards[:size]
            sigma = row.std(correction=convention.ddof)
            theirs = normed_by_torch(row) * row.std(correction=0)
            gap = max(gap, float((theirs / denominators(convention, sigma) - made[:size]).abs().max()))
    return gap


def whitening_gap(convention: Convention, groups: Groups, values: torch.Tensor) -> float:
    """Every token of an answer carries its reward: NumPy's mean and variance with tokens as weights."""
    rows = []
    for rewards, size in zip(groups.rewards, groups.sizes, strict=True):
        has_mean = convention.baseline == "group" and size > 1
        rows.append(rewards[:size] - (rewards[:size].mean() if has_mean else 0.0))
    centred, weights = torch.cat(rows).numpy(), groups.lengths[groups.mask].numpy()
    count = weights.sum()
    variance = np.cov(centred, aweights=weights, ddof=0) * count / max(count - convention.ddof, 1)
    sigma = torch.as_tensor(variance, dtype=torch.float64).sqrt()
    theirs = (centred - np.average(centred, weights=weights)) / float(denominators(convention, sigma))
    return float(np.abs(theirs - values[groups.mask].numpy()).max())


def snippet(view: LibraryConventions) -> str:
    """Python that repeats the numbers of the marked table."""
    return f"""from models.policy.group_table import read_groups
from models.policy.libraries import LIBRARIES, library_advantages

groups = read_groups(*{view.grids!r})
for library in LIBRARIES:
    print(
        library,
        library_advantages(library, {view.method!r}, groups.rewards, groups.lengths, groups.mask),
    )
"""
