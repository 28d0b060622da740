"""The parts that every page has, in the order in which they stand on it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.catalogue import lesson
from components.controls import apply_link, choose
from components.lesson import Item, Lesson, Link
from components.live.address import copy_link, write_address
from components.take import offer as python_to_take
from components.take.script import Script
from components.words import _, language


@dataclass(frozen=True)
class Page:
    """A page's name, its controls with their defaults, and those that scenes leave alone."""

    name: str
    defaults: Mapping[str, Any]
    kept: frozenset[str]

    def default(self, control: str) -> Any:
        """A control's default, by its name without the page's prefix."""
        return self.defaults[f"{self.name}_{control}"]

    @property
    def lesson(self) -> Lesson:
        return lesson(self.name, language())

    def head(self) -> None:
        """Title and question, and the scenes that set several controls at once."""
        st.title(self.lesson.title, anchor=False)
        st.markdown(self.lesson.question)
        key = f"{self.name}_scene"

        def play() -> None:
            number = st.session_state[key]
            if number is not None:
                apply_link(self.lesson.scenes[number].query, self.defaults, self.kept)
                st.session_state[key] = None  # a scene is played, not held: it can be played again

        st.pills(
            _("Scenes"),
            range(len(self.lesson.scenes)),
            format_func=lambda number: f":material/play_arrow: {self.lesson.scenes[number].label}",
            key=key,
            on_change=play,
        )

    def view(self, names: Iterable[str], label_of: Callable[[str], str]) -> str:
        """Which of its views the page shows: one at a time, each a screen of its own."""
        return choose(
            _("View"),
            list(names),
            f"{self.name}_view",
            label_of,
            default=self.default("view"),
            style="segments",
            label_visibility="collapsed",
            width="stretch",
        )

    def note(self, name: str) -> None:
        """What to see in a figure, in small print."""
        st.caption(self.lesson.notes[name])

    def questions(self) -> None:
        """Interview questions and claims, each with buttons that demonstrate the answer above."""
        _questions(self)


@st.fragment
def _questions(page: Page) -> None:
    """One answer at a time: every element of a page costs the browser time while a slider moves."""
    kinds = {"questions": _("Questions"), "claims": _("Claims put to the test")}
    kind = choose(
        _("Questions and claims"),
        list(kinds),
        f"{page.name}_asked",
        kinds.__getitem__,
        default="questions",
        style="segments",
        label_visibility="collapsed",
    )
    items = {item.identifier: item for item in getattr(page.lesson, kind)}
    left, right = st.columns([2, 3], gap="large")
    with left:
        asked = choose(
            kinds[kind],
            list(items),
            f"{page.name}_{kind}",
            lambda identifier: items[identifier].title,
            default=next(iter(items)),
            style="radio",
            label_visibility="collapsed",
        )
    with right, st.container(border=True):
        _answer(page, items[asked])
    write_address(f"{page.name}_questions")


def _answer(page: Page, item: Item) -> None:
    def show(link: Link) -> None:
        apply_link(link.query, page.defaults, page.kept)
        st.rerun()  # the whole page, not only this fragment

    st.markdown(f"**{item.title}**\n\n{item.text}")
    for number, link in enumerate(item.links):
        st.button(
            link.label,
            key=f"{page.name}_{item.identifier}_{number}",
            icon=":material/visibility:",
            on_click=show,
            args=(link,),
        )


@dataclass(frozen=True)
class Check:
    """One comparison made just now: what with what, the largest difference, what is allowed."""

    what: str
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN


def checked_against(checks: list[Check]) -> None:
    """Show comparisons that were computed in this run; one that fails is shown in red."""
    for check in checks:
        line = _("{what}: largest difference {difference} (allowed {tolerance})").format(
            what=check.what, difference=f"{check.difference:.1e}", tolerance=f"{check.tolerance:.0e}"
        )
        if check.holds:
            word = _("Checked against")
            st.caption(f":green[:material/check_circle:] {word} {line}")
        else:
            word = _("This check failed.")
            st.error(f"{word} {line}", icon=":material/error:")


def take_with_you(
    key: str,
    table: Callable[[], pd.DataFrame],
    figure: Callable[[], go.Figure] | None,
    python: Callable[[], Script] | str,
) -> None:
    """A link to this state, the data as CSV, the figure as HTML, and Python that repeats the numbers.

    ``table``, ``figure`` and ``python`` are called only when somebody asks for them.
    """
    st.markdown("##### " + _("Take it with you"))
    link, data, picture = st.columns(3)
    with link:
        copy_link(f"{key}_link")
    data.download_button(
        _("Data as CSV"),
        lambda: table().to_csv(index=False).encode(),
        f"loupe-{key}.csv",
        "text/csv",
        key=f"{key}_csv",
        icon=":material/table:",
        on_click="ignore",
        width="stretch",
    )
    if figure is not None:
        picture.download_button(
            _("Figure as HTML"),
            lambda: figure().to_html(include_plotlyjs=True).encode(),
            f"loupe-{key}.html",
            "text/html",
            key=f"{key}_html",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
            help=_("The camera in the figure's corner saves it as PNG."),
        )
    if not isinstance(python, str):
        python_to_take.offer(key, python)
        return
    with st.expander(_("Reproduce in Python")):
        st.code(python, language="python")
