"""All questions and claims in one place: to search, to be asked, to mark as known, to print."""

import random
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import streamlit as st

from components.catalogue import PAGES, PageEntry, lesson
from components.lesson import Item
from components.live.address import remember, write_address
from components.words import _, language

_keep_marks = st.components.v2.component(
    "loupe_marks", js=(Path(__file__).parent / "live" / "marks.js").read_text(encoding="utf-8")
)
PER_SCREEN = 20
DRAWN = 5
KNOWN, AGAIN = "known", "again"
MARKS = "loupe_marks"  # in the session: what the browser keeps


@dataclass(frozen=True)
class Asked:
    """A question or claim with its page."""

    entry: PageEntry
    item: Item
    kind: str

    @property
    def name(self) -> str:
        return f"{self.entry.name}/{self.item.identifier}"


def everything(code: str) -> list[Asked]:
    """Questions and claims of all pages in one language, page by page."""
    return [
        Asked(entry, item, kind)
        for entry in PAGES
        for kind in ("questions", "claims")
        for item in getattr(lesson(entry.name, code), kind)
    ]


def chosen(
    asked: list[Asked], words: str, pages: list[str], kind: str, marks: dict[str, str], mark: str
) -> list[Asked]:
    """Those that hold all the words and pass the filters; empty filters let all pass."""
    wanted = words.casefold().split()
    return [
        one
        for one in asked
        if (not pages or one.entry.name in pages)
        and kind in ("", one.kind)
        and (not mark or (marks.get(one.name, "") == mark if mark != "new" else one.name not in marks))
        and all(word in f"{one.item.title} {one.item.text}".casefold() for word in wanted)
    ]


def marks_of_browser() -> dict[str, str]:
    """The marks, once the browser has handed them over."""
    state = st.session_state

    def take() -> None:
        sent = state.get("loupe_marks_keeper", {}).get("marks")
        if isinstance(sent, dict) and MARKS not in state:
            state[MARKS] = {str(name): str(mark) for name, mark in sent.items() if mark in (KNOWN, AGAIN)}

    with st.container(key="address_marks"):
        _keep_marks(
            key="loupe_marks_keeper",
            data={"marks": state.get(MARKS), "print": state.get("loupe_print", 0)},
            on_marks_change=take,
        )
    return state.get(MARKS, {})


@st.fragment(key="question_list")
def question_list() -> None:
    """Filters at the left, questions at the right with their answers folded."""
    state, asked = st.session_state, everything(language())
    marks = marks_of_browser()
    rail, stage = st.columns([1, 3.6], gap="small")
    with rail, st.container(key="rail"):
        found = _filters(asked, marks)
    with stage, st.container(key="list"):
        drawn = state.get("questions_drawn")
        if drawn:
            by_name = {one.name: one for one in asked}
            found = [by_name[name] for name in drawn if name in by_name]
        st.markdown(_("{count} of {all} questions and claims").format(count=len(found), all=len(asked)))
        shown = state.setdefault("questions_shown", PER_SCREEN)
        for one in found[:shown]:
            _question(one, marks)
        if len(found) > shown:
            st.button(_("More"), on_click=lambda: state.update(questions_shown=shown + PER_SCREEN))
    write_address("questions")


def _filters(asked: list[Asked], marks: dict[str, str]) -> list[Asked]:
    state = st.session_state
    kinds = {"": _("all"), "questions": _("Questions"), "claims": _("Claims")}
    labels = {"": _("all"), "new": _("not marked"), AGAIN: _("again"), KNOWN: _("known")}

    def forget_drawn() -> None:
        state.pop("questions_drawn", None)
        state["questions_shown"] = PER_SCREEN

    words = st.text_input(
        _("Words"),
        key="questions_words",
        live=True,
        on_change=forget_drawn,
        max_chars=100,
        bind="query-params",
    )
    names = [entry.name for entry in PAGES]
    titles = {name: lesson(name, language()).title for name in names}
    state.setdefault(
        "questions_pages",
        [name for name in st.query_params.get("questions_pages", "").split(",") if name in names],
    )
    pages = st.multiselect(
        _("Pages"), names, format_func=titles.__getitem__, key="questions_pages", on_change=forget_drawn
    )
    remember("questions_pages", ",".join(pages), "")
    kind = st.segmented_control(
        _("Kind"),
        list(kinds),
        format_func=kinds.__getitem__,
        default="",
        key="questions_kind",
        on_change=forget_drawn,
        required=True,
    )
    mark = st.segmented_control(
        _("Mark"),
        list(labels),
        format_func=labels.__getitem__,
        default="",
        key="questions_mark",
        on_change=forget_drawn,
        required=True,
    )
    found = chosen(asked, words or "", pages, kind or "", marks, mark or "")

    def draw() -> None:
        state["questions_drawn"] = [one.name for one in random.sample(found, min(DRAWN, len(found)))]

    st.button(_("Draw five"), icon=":material/casino:", on_click=draw, width="stretch", disabled=not found)
    st.toggle(_("Answers open"), key="questions_open")
    st.button(
        _("Print"),
        icon=":material/print:",
        on_click=lambda: state.update(loupe_print=state.get("loupe_print", 0) + 1),
        width="stretch",
        help=_("As they stand here: with their answers where these are open."),
    )
    return found


def _question(one: Asked, marks: dict[str, str]) -> None:
    """The question alone; its answer when it is asked for, and the buttons that show it."""
    state, mark = st.session_state, marks.get(one.name, "")
    icon = {KNOWN: ":material/check_circle:", AGAIN: ":material/replay:"}.get(mark)
    title = f"{one.item.title}  ·  {lesson(one.entry.name, language()).title}"
    with st.expander(title, expanded=state.get("questions_open", False), icon=icon):
        st.markdown(one.item.text)
        with st.container(horizontal=True):
            for number, link in enumerate(one.item.links):
                if st.button(
                    link.label, key=f"questions_{one.name}_{number}", icon=":material/visibility:"
                ):
                    _go(one, link.query)
            for name, label in ((KNOWN, _("I know this")), (AGAIN, _("Ask me again"))):
                is_on = mark == name
                st.button(
                    label,
                    key=f"questions_{one.name}_{name}",
                    type="primary" if is_on else "secondary",
                    on_click=_mark,
                    args=(one.name, "" if is_on else name),
                )


def _mark(name: str, mark: str) -> None:
    marks = dict(st.session_state.get(MARKS, {}))
    marks.pop(name, None)
    st.session_state[MARKS] = marks | ({name: mark} if mark else {})


def _go(one: Asked, query: str) -> None:
    """Open the page that shows the answer, with the answer beside its stage."""
    st.session_state["loupe_at"] = None
    st.session_state[f"{one.entry.name}_drawer"] = one.item.identifier
    st.switch_page(f"../pages/{one.entry.name}.py", query_params=dict(parse_qsl(query)))
