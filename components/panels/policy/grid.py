"""The editable grid of answers: rewards, lengths and ratios, in the address, from a file and into one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import pandas as pd
import streamlit as st

from components.controls import LONGEST_IN_ADDRESS, choose
from components.live.address import remember
from components.page import Page
from components.refusal import sentence
from components.words import _
from models.errors import InputError
from models.policy.group_table import (
    Groups,
    example,
    parse_file,
    read_groups,
    records_of,
    resized,
)
from models.tables import Grid, cell_of, number_of, parse_grid, write_csv, write_grid, write_json

KINDS = ("rewards", "lengths", "ratios")
FILLING = {"rewards": 0.0, "lengths": 100.0, "ratios": 1.0}
MOST_SHOWN = 16  # groups and answers that the sizes beside the table reach; a file may bring more
LOWEST, HIGHEST = -2.0, 2.0  # of the slider for one reward


def kind_label(kind: str) -> str:
    return {
        "rewards": _("Rewards"),
        "lengths": _("Lengths (tokens)"),
        "ratios": _("Ratios π/π_old"),
    }[kind]


def load_grids(page: Page) -> None:
    """Take the grids from the address, once; those that are too long for it come from the session."""
    for kind in KINDS:
        key = f"{page.name}_{kind}"
        if key not in st.session_state:
            st.session_state[key] = st.query_params.get(key, page.default(kind))


def grids(page: Page) -> tuple[Grid, Grid, Grid]:
    """Rewards, lengths, ratios as typed; lengths and ratios are filled up to the rewards' size."""
    rewards, lengths, ratios = (st.session_state[f"{page.name}_{kind}"] for kind in KINDS)
    return _parsed(rewards, lengths, ratios)


@lru_cache(maxsize=64)  # a live panel asks several times a redraw
def _parsed(rewards: str, lengths: str, ratios: str) -> tuple[Grid, Grid, Grid]:
    grid = parse_grid(rewards)
    rows, columns = len(grid), max(map(len, grid), default=0)
    return (
        grid,
        resized(parse_grid(lengths), rows, columns, FILLING["lengths"]),
        resized(parse_grid(ratios), rows, columns, FILLING["ratios"]),
    )


@lru_cache(maxsize=64)
def _read(rewards: str, lengths: str, ratios: str) -> Groups:
    return read_groups(*_parsed(rewards, lengths, ratios))


def groups_now(page: Page) -> Groups:
    """The table as numbers, with the chosen cell's reward as its slider stands. Raises InputError."""
    groups = _read(*(st.session_state[f"{page.name}_{kind}"] for kind in KINDS))
    group, answer = chosen_cell(page)
    rewards = groups.rewards.clone()
    rewards[group, answer] = st.session_state.get(f"{page.name}_reward", float(rewards[group, answer]))
    return replace(groups, rewards=rewards)


def chosen_cell(page: Page) -> tuple[int, int]:
    """Group and answer of the chosen cell, from 0; the first where the table has no such cell."""
    rewards = grids(page)[0]
    try:
        group, answer = (int(part) - 1 for part in str(st.session_state[f"{page.name}_cell"]).split("."))
    except (KeyError, ValueError):
        return 0, 0
    is_there = 0 <= group < len(rewards) and 0 <= answer < len(rewards[0])
    return (group, answer) if is_there else (0, 0)


def choose_cell(page: Page, click: dict) -> None:
    """A click on a cell of a figure chooses its answer."""
    st.session_state[f"{page.name}_cell"] = f"{int(click['y']) + 1}.{int(click['x']) + 1}"


def follow_slider(page: Page) -> None:
    """Keep the slider and the cell in step: whichever changed since they last agreed wins."""
    state, name = st.session_state, page.name
    if f"{name}_cell" not in state:
        state[f"{name}_cell"] = st.query_params.get(f"{name}_cell", page.default("cell"))
    group, answer = chosen_cell(page)
    rewards = [list(row) for row in grids(page)[0]]
    try:
        cell = number_of(rewards[group][answer], group + 1, answer + 1)
    except (InputError, IndexError):
        return
    agreed = state.get(f"{name}_agreed")
    slider = state.get(f"{name}_reward", cell)
    if agreed is not None and agreed[0] == (group, answer) and agreed[1] == cell != slider:
        rewards[group][answer] = cell_of(round(slider, 6))
        state[f"{name}_rewards"] = write_grid(tuple(map(tuple, rewards)))
        cell = round(slider, 6)
    state[f"{name}_reward"] = cell
    state[f"{name}_agreed"] = ((group, answer), cell)
    remember(f"{name}_cell", f"{group + 1}.{answer + 1}", page.default("cell"))


def grid_editor(page: Page, panels: Sequence[str]) -> None:
    """Sizes, the table, and files in and out. What is typed stays; ``panels`` follow an edit."""
    name = page.name
    rewards = grids(page)[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = choose(
            _("Table of"), KINDS, f"{name}_table", kind_label, default="rewards", style="segments"
        )
        _sizes(page, len(rewards), max(map(len, rewards), default=1))
        st.button(
            _("Fill at random"),
            key=f"{name}_random",
            icon=":material/casino:",
            on_click=_fill,
            args=(page,),
        )
    _table(page, kind, panels)
    _files(page)
    _remember(page)


def _sizes(page: Page, groups: int, answers: int) -> None:
    """Two numbers that cut the table or fill it up."""
    state, name = st.session_state, page.name
    keys = f"{name}_groups_widget", f"{name}_answers_widget"
    state[keys[0]], state[keys[1]] = groups, answers

    def resize() -> None:
        size = state[keys[0]], state[keys[1]]
        for kind, grid in zip(KINDS, grids(page), strict=True):
            state[f"{name}_{kind}"] = write_grid(resized(grid, *size, FILLING[kind]))

    st.number_input(_("Groups"), 1, max(MOST_SHOWN, groups), key=keys[0], on_change=resize, width=110)
    st.number_input(_("Answers G"), 1, max(MOST_SHOWN, answers), key=keys[1], on_change=resize, width=110)


def _fill(page: Page) -> None:
    """Another random example of the same size; the seed counts up with each."""
    state, name = st.session_state, page.name
    rewards = grids(page)[0]
    seed = state[f"{name}_fill_seed"] = state.get(f"{name}_fill_seed", 0) + 1
    made = example(len(rewards), max(map(len, rewards), default=1), seed)
    _put(page, made)


def _put(page: Page, made: tuple[Grid, Grid, Grid]) -> None:
    for kind, grid in zip(KINDS, made, strict=True):
        st.session_state[f"{page.name}_{kind}"] = write_grid(grid)


def _table(page: Page, kind: str, panels: Sequence[str]) -> None:
    """The table as text cells. It is built anew only when it was changed from elsewhere.

    An edit draws the panels again and not the table: a cell that is typed into meanwhile would be lost.
    """
    state, key = st.session_state, f"{page.name}_{kind}"
    own = state.setdefault(f"{key}_editor", {"base": "", "made": "", "version": 0})
    if state[key] != own["made"] or f"{key}_editor_{own['version']}" not in state:
        own |= {"base": state[key], "made": state[key], "version": own["version"] + 1}
    base = _frame(parse_grid(own["base"]), page, kind)
    editor = f"{key}_editor_{own['version']}"

    def take() -> None:
        cells = [list(map(str, row)) for row in base.to_numpy()]
        for row, changes in state[editor]["edited_rows"].items():
            for column, text in changes.items():
                cells[int(row)][int(column) - 1] = "" if text is None else str(text)
        state[key] = own["made"] = write_grid(tuple(map(tuple, cells)))
        _remember(page)
        group, answer = chosen_cell(page)
        if kind != "rewards" or cells[group][answer] == cell_of(state[f"{page.name}_reward"]):
            st.rerun(panels)

    st.data_editor(
        base,
        key=editor,
        num_rows="fixed",
        width="stretch",
        height=min(38 + 35 * len(base), 318),
        on_change=take,
    )


def _remember(page: Page) -> None:
    """Put the grids into the address, as far as they are not too long for it."""
    for kind in KINDS:
        text, default = st.session_state[f"{page.name}_{kind}"], page.default(kind)
        remember(f"{page.name}_{kind}", text if len(text) <= LONGEST_IN_ADDRESS else default, default)


def _frame(grid: Grid, page: Page, kind: str) -> pd.DataFrame:
    """Cells by group and answer; rows that are too short are filled up with empty cells."""
    if kind != "rewards":
        grid = grids(page)[KINDS.index(kind)]
    width = max(map(len, grid), default=0)
    rows = [[*row, *[""] * (width - len(row))] for row in grid]
    return pd.DataFrame(
        rows,
        index=pd.Index([str(number + 1) for number in range(len(rows))]),
        columns=[str(number + 1) for number in range(width)],
        dtype=str,
    )


def _files(page: Page) -> None:
    """The table as CSV and JSON, and a file in its place."""
    with st.expander(_("From a file, or into one")):
        rows, columns = st.columns(2, gap="medium")
        with rows:
            for kind, write in (("csv", write_csv), ("json", write_json)):
                st.download_button(
                    _("Table as {kind}").format(kind=kind.upper()),
                    partial(_file, records_of(*_square(page)), write),
                    f"loupe-groups.{kind}",
                    key=f"{page.name}_table_{kind}",
                    icon=":material/download:",
                    on_click="ignore",
                    width="stretch",
                )
        with columns:
            uploaded = st.file_uploader(
                _("CSV or JSON with the columns group and reward, and length and ratio if there are"),
                key=f"{page.name}_file",
            )
        seen = f"{page.name}_file_seen"
        if uploaded is not None and st.session_state.get(seen) != uploaded.file_id:
            try:
                _put(page, parse_file(uploaded.getvalue()))
            except InputError as error:
                st.warning(sentence(error), icon=":material/info:")
                return
            st.session_state[seen] = uploaded.file_id
            st.rerun()


def _file(
    records: list[dict[str, str]], write: Callable[[list[dict[str, str]]], bytes]
) -> bytes:  # called without a session
    return write(records)


def _square(page: Page) -> tuple[Grid, Grid, Grid]:
    """The three grids with rows of the same length, as a file needs them."""
    made = grids(page)
    width = max(map(len, made[0]), default=0)
    return (
        tuple((*row, *[""] * (width - len(row))) for row in made[0]),
        made[1],
        made[2],
    )
