"""The home page: a figure that moves under the hand, three doors, and every view by its name."""

import html

import streamlit as st

from components import controls
from components.catalogue import HOME, PAGES, lesson
from components.live.follow import remember_view
from components.server.process import device_name
from components.stage import show
from components.version import version
from components.words import _, language

WAITING_SECONDS = 1.0  # between two questions whether the network is there
CHECKS = (  # what an engineer brings along, and where it is looked at
    ("context", "config", ":material/description:"),
    ("policy", "group", ":material/table:"),
    ("preference", "calculator", ":material/thumbs_up_down:"),
    ("quantization", "matrix", ":material/grid_on:"),
)


def home() -> None:
    """All of it."""
    words = lesson(HOME.name, language())
    with st.container(key="loupe_head", horizontal=True, vertical_alignment="center"):
        st.title(words.title, anchor=False, width="content")
        st.markdown(words.question, width="stretch")
    left, right = st.columns([3, 2], gap="large")
    with left, st.container(key="stage_home"):
        if device_name():
            try_it()
        else:
            warming_up()
    with right, st.container(key="doors"):
        doors()
    topics()
    for note in words.notes.values():
        st.markdown(note)
    st.markdown(f"Loupe {version()}")


@st.fragment(run_every=WAITING_SECONDS)
def warming_up() -> None:
    """Until the network is loaded, the page is there without its figure."""
    if device_name():
        st.rerun()
    st.markdown(_("The network is being loaded; a live figure appears here in a moment."))


@st.fragment(key="bench")
def try_it() -> None:
    """A slider above its figure; imported here, so that the page paints before torch is loaded."""
    from components.panels.home.try_it import TryIt

    controls.read_address(HOME.name, (TryIt,))
    view = controls.now(TryIt)
    with st.container(key="rail_home"):
        st.markdown(_("Turn the temperature: the head reads more sharply or more evenly."))
        controls.draw(view, "temperature")
    stage = view.stage()
    show(stage, HOME.name)
    remember_view(
        view, lambda changed: changed.stage().plots, {plot.name: plot.drawn.text for plot in stage.plots}
    )


def doors() -> None:
    """Who are you? Three ways in."""
    total = sum(len(lesson(entry.name, language()).questions) for entry in PAGES)
    st.markdown("##### " + _("I want to …"))
    with st.container(border=True):
        st.page_link(
            "../pages/questions.py",
            label="**" + _("prepare for an interview") + "**",
            icon=":material/quiz:",
        )
        st.markdown(
            _("{count} questions: think, open, see the answer at work; or draw five.").format(count=total)
        )
    with st.container(border=True):
        st.page_link(
            "../pages/attention.py",
            label="**" + _("teach a lesson") + "**",
            icon=":material/co_present:",
            query_params={"present": "1"},
        )
        st.markdown(
            _("Every page has scenes for a projector: P presents, ← and → step, F fills the window.")
        )
    with st.container(border=True):
        st.markdown("**" + _("check something of mine") + "**")
        with st.container(horizontal=True, gap="small"):
            for page, view, icon in CHECKS:
                label = (
                    lesson(page, language()).views[view].label if lesson(page, language()).views else page
                )
                st.page_link(
                    f"../pages/{page}.py", label=label, icon=icon, query_params={f"{page}_view": view}
                )


def topics() -> None:
    """Each page with a picture, its question and its views, every one a link."""
    cards = "".join(_card(entry.name, entry.picture) for entry in PAGES)
    st.html(f'<div class="loupe-cards">{cards}</div>')


def _card(name: str, picture: str) -> str:
    words = lesson(name, language())
    questions = _("{count} questions").format(count=len(words.questions))
    lang = f"lang={language()}"
    views = " ".join(
        f'<a href="{name}?{name}_view={key}&amp;{lang}" target="_self">{html.escape(view.label)}</a>'
        for key, view in words.views.items()
    )
    return (
        f'<section><a class="loupe-card" href="{name}?{lang}" target="_self">'
        f'<img src="{picture}" alt="{html.escape(words.title)}"><strong>{html.escape(words.title)}</strong>'
        f"<span>{html.escape(words.question)}</span><small>{questions}</small></a><nav>{views}</nav></section>"
    )
