"""The session: page settings, language, navigation, header. It runs before every page."""

import difflib
from pathlib import Path

import streamlit as st

from components import words
from components.catalogue import ASSETS, HOME, PAGES, QUESTIONS, PageEntry, lesson
from components.live.address import forget_address, remember, write_address
from components.live.follow import forget_view
from components.live.session import name_session
from components.refusal import plain, sentence
from components.search import search_button
from components.server.process import device_name, settle
from components.server.sign_in import require_sign_in, sign_out_button
from components.server.watch import rerun
from components.streamlit_private import StreamlitPage
from components.words import _
from models.runtime.settings import settings

ROOT = Path(__file__).parent.parent
ICON = ASSETS / "icon.svg"


def preferred_language() -> str:
    """The browser's language where Loupe speaks it, else English."""
    locale = st.context.locale or "en"
    return next((code for code in words.LANGUAGES if locale.lower().startswith(code)), "en")


def session_language() -> str:
    """The language that was chosen, where it is one: a widget's message may say anything."""
    asked = st.session_state.get("lang")
    return asked if isinstance(asked, str) and asked in words.LANGUAGES else preferred_language()


def navigation() -> dict[str, list[StreamlitPage]]:
    """Sections of pages in the person's language; url paths stay the same in all of them."""
    sections: dict[str, list[StreamlitPage]] = {"": [page(HOME, default=True), page(QUESTIONS)]}
    for entry in PAGES:
        sections.setdefault(_(entry.section), []).append(page(entry))
    return sections


def page(entry: PageEntry, default: bool = False) -> StreamlitPage:
    return st.Page(
        ROOT / "pages" / f"{entry.name}.py",
        title=lesson(entry.name, words.language()).title,
        icon=entry.icon,
        url_path=None if default else entry.name,
        default=default,
    )


def header() -> None:
    """Device and language switch, in the line of the navigation."""
    with st.container(key="loupe_bar", horizontal=True, vertical_alignment="center"):
        search_button()
        device = device_name() or _("warming up")
        st.caption(f":material/memory: {device}", width="content")
        choose_language()
        sign_out_button()


def choose_language() -> None:
    """The language, whose code stands in the session and the address; an unknown one is passed over."""
    state, default = st.session_state, preferred_language()
    asked = state.get("lang", st.query_params.get("lang"))
    state["lang"] = state["lang_widget"] = asked if asked in words.LANGUAGES else default

    def take() -> None:
        state["lang"] = state["lang_widget"]

    st.selectbox(
        "Language · 语言",
        list(words.LANGUAGES),
        format_func=words.LANGUAGES.__getitem__,
        key="lang_widget",
        on_change=take,
        label_visibility="collapsed",
        width=108,
    )
    remember("lang", state["lang"], default)


def missing_page() -> None:
    """Say which page was asked for and does not exist; the gallery below shows those that do."""
    if asked := st.query_params.get("missing"):
        names = [entry.name for entry in PAGES]
        near = difflib.get_close_matches(asked.lower(), names, n=1, cutoff=0.5)
        hint = _("Did you mean “{page}”?").format(page=near[0]) if near else _("Here is what there is.")
        st.info(_("There is no page called “{page}”.").format(page=plain(asked[:40])) + " " + hint)


def stand_in_notice() -> None:
    """Say once on the page that the pool of networks does not answer, and what runs instead."""
    if settings().engine == "process":
        return
    from models.networks.engine.choice import engine  # imports torch, before which the home page paints

    if (trouble := engine().trouble) is not None:
        meanwhile = _("Networks that ship with Loupe run here meanwhile.")
        st.info(f"{sentence(trouble)} {meanwhile}", icon=":material/info:")


STYLE = f"<style>{(Path(__file__).parent / 'bench.css').read_text(encoding='utf-8')}</style>"

st.set_page_config(page_title="Loupe", page_icon=str(ICON), layout="wide")
words.follow(session_language)
st.html(STYLE)
name_session()
require_sign_in()
forget_address()
forget_view()
header()
missing_page()
notices = st.container()
with words.speaking(words.language()):  # asked once a run: every label asks again
    chosen = st.navigation(navigation(), position="top")
    with rerun(chosen.url_path or HOME.name):
        chosen.run()
with notices:
    stand_in_notice()
write_address("page")
settle(chosen.url_path)
