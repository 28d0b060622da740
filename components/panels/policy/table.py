"""The table of answers, rewards with their lengths and ratios: in the address, in the rail, in files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Self

import pandas as pd
import streamlit as st

from components.controls import now, put
from components.panels.editing import edited_cells
from components.refusal import sentence
from components.settings import View, grid, one_of
from components.words import _, mark
from models.errors import InputError
from models.policy.group_table import (
    Groups,
    example,
    parse_file,
    read_groups,
    records_of,
    resized,
    shaped_like,
    trimmed,
)
from models.tables import Grid, parse_grid, write_csv, write_grid, write_json

KINDS = ("rewards", "lengths", "ratios")
FILLING = {"rewards": 0.0, "lengths": 100.0, "ratios": 1.0}
MOST_SHOWN = 16  # groups and answers that the sizes below the table reach; a file may bring more
ROW, HIGHEST_TABLE = 35, 6  # pixels of a row, and rows until the table scrolls
COLUMN = 46  # pixels


def kind_label(kind: str) -> str:
    return {"rewards": _("Rewards"), "lengths": _("Lengths"), "ratios": _("Ratios ρ")}[kind]


def kind_meaning(kind: str) -> str:
    return {
        "rewards": _("Groups down, answers across: what each earned."),
        "lengths": _("Groups down, answers across: tokens of each."),
        "ratios": _("Groups down, answers across: π/π_old of its tokens."),
    }[kind]


@lru_cache(maxsize=64)  # a redraw asks several times
def parsed(rewards: str, lengths: str, ratios: str) -> tuple[Grid, Grid, Grid]:
    """Three texts as grids, the last two cut or filled up to the answers that have a reward."""
    cells = trimmed(parse_grid(rewards))
    return (
        cells,
        shaped_like(parse_grid(lengths), cells, FILLING["lengths"]),
        shaped_like(parse_grid(ratios), cells, FILLING["ratios"]),
    )


@lru_cache(maxsize=64)
def read(rewards: str, lengths: str, ratios: str) -> Groups:
    """Three texts as numbers. Raises InputError, by row and column."""
    return read_groups(*parsed(rewards, lengths, ratios))


def draw_table(view: "HasTable") -> None:
    """The table that is chosen, its size, and files in and out. What is typed stays."""
    st.caption(kind_meaning(view.table), help=_("Empty cells at the end of a row make its group smaller."))
    edit(view)
    sizes(view)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            _("Random"),
            key=f"{view.page}_random",
            icon=":material/casino:",
            help=_("Fill at random"),
            on_click=fill,
            args=(type(view),),
        )
        with st.popover(_("Files"), icon=":material/folder_open:"):
            files(view)


@dataclass(frozen=True)
class HasTable(View):
    """A view on groups of answers. A table is one text: commas between cells, semicolons between groups."""

    table: str = one_of(KINDS, label=mark("Table of"), label_of=kind_label, style="segments")
    rewards: str = grid(
        "1,0,0,0;1,1,0,1;0,0,0,0;1,1,0,0",
        label=mark("Table of answers"),
        place="rail",
        widget=draw_table,
    )
    lengths: str = grid("40,120,90,60;50,45,160,70;110,80,140,95;60,30,120,240")
    ratios: str = grid("1.1,0.9,1,1.05;1.3,1,0.7,1;1,1,1,1;0.95,1.25,1.4,1")

    @property
    def grids(self) -> tuple[Grid, Grid, Grid]:
        """Rewards, lengths and ratios as they were typed."""
        return parsed(self.rewards, self.lengths, self.ratios)

    @property
    def groups(self) -> Groups:
        """The table as numbers. Raises InputError."""
        return read(self.rewards, self.lengths, self.ratios)

    @property
    def shown(self) -> tuple[Grid, Grid, Grid]:
        """The cells as they are shown."""
        return self.grids

    def with_grids(self, **grids: Grid) -> Self:
        """The view with other cells."""
        return replace(self, **{kind: write_grid(cells) for kind, cells in grids.items()})


def edit(view: HasTable) -> None:
    """The table as text cells. It is built anew only when it was changed from elsewhere: a cell that is
    typed into meanwhile would be lost.
    """
    state, kind, cls = st.session_state, view.table, type(view)
    text = write_grid(view.shown[KINDS.index(kind)])
    key = f"{view.page}_{kind}_editor"
    own = state.setdefault(key, {"base": "", "made": "", "version": 0})
    if text != own["made"] or f"{key}_{own['version']}" not in state:
        own |= {"base": text, "made": text, "version": own["version"] + 1}
    base = frame(parse_grid(own["base"]))
    editor = f"{key}_{own['version']}"

    def take() -> None:
        cells = [list(map(str, row)) for row in base.to_numpy()]
        places = {name: index for index, name in enumerate(base.columns)}
        for row, column, typed in edited_cells(state.get(editor)):
            if row < len(cells) and column in places:
                cells[row][places[column]] = typed
        changed = now(cls).with_grids(**{kind: tuple(map(tuple, cells))})
        own["made"] = write_grid(changed.shown[KINDS.index(kind)])
        put(changed)

    st.data_editor(
        base,
        key=editor,
        num_rows="fixed",
        width="stretch",
        height=3 + ROW * (1 + min(len(base), HIGHEST_TABLE)),
        column_config={name: st.column_config.TextColumn(width=COLUMN) for name in base.columns},
        on_change=take,
    )


def frame(cells: Grid) -> pd.DataFrame:
    """Cells by group and answer; rows of smaller groups end in empty cells."""
    width = max(map(len, cells), default=0)
    return pd.DataFrame(
        [[*row, *[""] * (width - len(row))] for row in cells],
        index=pd.Index([str(number + 1) for number in range(len(cells))], name=_("Group")),
        columns=[str(number + 1) for number in range(width)],
        dtype=str,
    )


def sizes(view: HasTable) -> None:
    """Two numbers that cut the table or fill it up."""
    state, cls = st.session_state, type(view)
    keys = f"{view.page}_groups_widget", f"{view.page}_answers_widget"
    rewards = view.shown[0]
    held = max(1, len(rewards)), max(map(len, rewards), default=1)
    labels = _("Groups"), _("Answers G")

    def resize() -> None:
        size = state[keys[0]], state[keys[1]]
        current = now(cls)
        put(
            current.with_grids(
                **{
                    kind: resized(cells, *size, FILLING[kind])
                    for kind, cells in zip(KINDS, current.shown, strict=True)
                }
            )
        )

    for column, key, label, count in zip(st.columns(2, gap="small"), keys, labels, held, strict=True):
        state[key] = count
        column.number_input(label, 1, max(MOST_SHOWN, count), key=key, on_change=resize)


def fill(cls: type[HasTable]) -> None:
    """Another random example of the same size; the seed counts up with each."""
    view, key = now(cls), f"{cls.page}_fill_seed"
    rewards = view.grids[0]
    seed = st.session_state[key] = st.session_state.get(key, 0) + 1
    made = example(len(rewards), max(map(len, rewards), default=1), seed)
    put(view.with_grids(**dict(zip(KINDS, made, strict=True))))


def files(view: HasTable) -> None:
    """The table as CSV and JSON, and a file in its place."""
    cls = type(view)
    records = records_of(*view.shown)
    for kind, write in (("csv", write_csv), ("json", write_json)):
        st.download_button(
            _("Table as {kind}").format(kind=kind.upper()),
            partial(written, records, write),
            f"loupe-groups.{kind}",
            key=f"{view.page}_table_{kind}",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )
    uploaded = st.file_uploader(
        _("CSV or JSON with the columns group and reward, and length and ratio if there are"),
        key=f"{view.page}_file",
    )
    seen = f"{view.page}_file_seen"
    if uploaded is None or st.session_state.get(seen) == uploaded.file_id:
        return
    try:
        made = parse_file(uploaded.getvalue())
    except InputError as error:
        st.warning(sentence(error), icon=":material/info:")
        return
    put(now(cls).with_grids(**dict(zip(KINDS, made, strict=True))))
    st.session_state[seen] = uploaded.file_id
    st.rerun()


def written(
    records: list[dict[str, str]], write: Callable[[list[dict[str, str]]], bytes]
) -> bytes:  # called without a session
    return write(records)
