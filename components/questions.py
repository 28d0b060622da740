"""Interview questions and claims below the stage, each with buttons that demonstrate the answer on it."""

from collections.abc import Sequence

import streamlit as st

from components import controls
from components.catalogue import lesson
from components.lesson import Item, Link
from components.live.address import remember, write_address
from components.live.hands import bring_into_view
from components.settings import View, opening, query_texts
from components.words import _, language


def views_of(item: Item, first: str) -> set[str]:
    """The views that an item's buttons set; ``first`` is the one that opens."""
    asked = [query_texts(link.query) for link in item.links]
    return {next((v for k, v in texts.items() if k.endswith("_view")), first) for texts in asked}


@st.fragment(key="questions")
def questions(page: str, views: Sequence[type[View]], here: type[View]) -> None:
    """One at a time, first those about the view on screen; the answer stays beside the stage after Show."""
    words, state = lesson(page, language()), st.session_state
    kinds = {"questions": _("Questions"), "claims": _("Claims put to the test")}
    state.setdefault(f"{page}_asked", st.query_params.get(f"{page}_asked", "questions"))
    if state[f"{page}_asked"] not in kinds:
        state[f"{page}_asked"] = "questions"
    with st.container(key="questions"):
        st.segmented_control(
            _("Questions and claims"),
            list(kinds),
            format_func=kinds.__getitem__,
            required=True,
            key=f"{page}_asked",
            label_visibility="collapsed",
        )
        kind: str = state[f"{page}_asked"]
        items: dict[str, Item] = {item.identifier: item for item in getattr(words, kind)}
        first = opening(views).name
        about = [name for name, item in items.items() if here.name in views_of(item, first)]
        order = about + [name for name in items if name not in about]
        key = f"{page}_{kind}"
        asked = state.get(key, st.query_params.get(key))
        if asked not in items:
            asked = order[0]
        left, right = st.columns([2, 3], gap="large")
        with left:
            st.markdown(
                _("{here} of {all} are about this view; they come first.").format(
                    here=len(about), all=len(items)
                )
            )
            state[f"{key}_widget"] = asked

            def take() -> None:
                state[key] = state[f"{key}_widget"]

            st.radio(
                kinds[kind],
                order,
                format_func=lambda name: items[name].title,
                key=f"{key}_widget",
                on_change=take,
                label_visibility="collapsed",
            )
        with right, st.container(border=True):
            answer(page, views, items[asked], "below")
        remember(key, state.get(key), None)
        remember(f"{page}_asked", kind, "questions")
    write_address(f"{page}_questions")
    drawer(page, views, {item.identifier: item for item in (*words.questions, *words.claims)})


def answer(page: str, views: Sequence[type[View]], item: Item, place: str) -> None:
    """Title, answer, and its buttons."""
    state = st.session_state

    def show(link: Link) -> None:
        set_keys = controls.apply_link(link.query, views)
        cls = {view.name: view for view in views}[state[f"{page}_view"]]
        view = controls.now(cls)
        state[f"{page}_said"] = [
            controls.in_words(view, name)
            for name, key in cls.keys().items()
            if key in set_keys and len(str(getattr(view, name))) < 60
        ]
        state[f"{page}_scene"] = None
        state[f"{page}_drawer"] = item.identifier
        bring_into_view()
        st.rerun()  # the whole page, not only this fragment

    st.markdown(f"**{item.title}**\n\n{item.text}")
    for number, link in enumerate(item.links):
        st.button(
            link.label,
            key=f"{page}_{item.identifier}_{number}_{place}",
            icon=":material/visibility:",
            on_click=show,
            args=(link,),
        )


def drawer(page: str, views: Sequence[type[View]], items: dict[str, Item]) -> None:
    """The answer that was just demonstrated, over a corner of the page, until it is closed."""
    state, key = st.session_state, f"{page}_drawer"
    if state.get(key) not in items:
        return

    def close() -> None:
        state[key] = None

    with st.container(key="loupe_drawer", border=True):
        st.button(_("Close"), key=f"{key}_close", icon=":material/close:", type="tertiary", on_click=close)
        answer(page, views, items[state[key]], "drawer")
