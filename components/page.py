"""A page as a bench: head line, views, rail and stage side by side, and below them what explains it."""

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st

from components import controls, takeaway
from components.catalogue import lesson
from components.control_kinds import Text
from components.lesson import Lesson, Link
from components.live.address import write_steps
from components.live.follow import remember_view
from components.live.hands import PRESENT, bring_into_view, hands, is_presenting
from components.live.kept import keep
from components.questions import questions
from components.refusal import refusals, sentence
from components.server.watch import panel_timed
from components.settings import View, asked_for, opening, query_texts
from components.stage import REFUSED, Plot, show
from components.words import _, language, speaking
from models.errors import InputError

RAIL, STAGE = 1.0, 3.6  # widths; the style sheet holds the rail to 17.5rem
LONGEST_IN_ADDRESS = 1_500  # characters; servers and browsers refuse much longer addresses


@dataclass(frozen=True)
class Page:
    """A page's name, which is its lesson's, and its views in the order of their tabs."""

    name: str
    views: tuple[type[View], ...]

    def key(self, word: str) -> str:
        """What the bench itself keeps of a page, in session and address; controls have their own."""
        return f"{self.name}_{word}"

    @property
    def lesson(self) -> Lesson:
        return lesson(self.name, language())

    def view_class(self) -> type[View]:
        """The class of the view that is chosen; the opening one where an unknown one is asked for."""
        state, key = st.session_state, self.key("view")
        by_name = {view.name: view for view in self.views}
        if state.get(key) not in by_name:
            state[key] = opening(self.views).name
        return by_name[state[key]]

    def show(self) -> None:
        """The whole page."""
        controls.read_address(self.name, self.views)
        self._arrive()
        self.view_class()  # settles which view is chosen
        with st.container(key="loupe_views"):
            _choose_view(self)
        _bench(self)
        questions(self.name, self.views, self.view_class())

    def _arrive(self) -> None:
        """Coming from another page by a link that sets something: the page stands as the link says."""
        state = st.session_state
        if state.get("loupe_at") == self.name:
            return
        state["loupe_at"] = self.name
        own = {key: ",".join(st.query_params.get_all(key)) for key in st.query_params}
        if any(key.startswith(f"{self.name}_") for key in own):
            _take_back(self, urlencode(own))


@st.fragment(key="bench")
def _bench(page: Page) -> None:
    cls = page.view_class()
    with speaking(language()), panel_timed(page.key(cls.name)):
        view = controls.now(cls)
        with st.container(key="loupe_head", horizontal=True, vertical_alignment="center"):
            _head(page, view)
        _strange_link(page)
        rail, stage = st.columns([RAIL, STAGE], gap="small")
        with rail, st.container(key="rail"):
            controls.draw_rail(view, _only(page))
            with suppress(InputError):  # the stage says it
                view.actions()
        with stage, st.container(key="stage"):
            plots = _stage(page, view)
            view.editor()
        if plots and not is_presenting():
            with st.container(key="below"), refusals():
                view.below()
        _write_address(page, view)
        hands(page.name, lambda step: _step_scene(page, step))


def _head(page: Page, view: View) -> None:
    """Title and question in one line, and beside them what opens: scenes, text, things to take along."""
    st.title(page.lesson.title, anchor=False, width="content")
    st.markdown(page.lesson.question, width="stretch")
    with st.popover(_("Scenes"), icon=":material/play_arrow:", width="content", key="loupe_scenes"):
        _scenes(page)
    view.head_line()
    takeaway.reserve(page.name)
    with st.popover(
        "",
        icon=":material/push_pin:",
        width="content",
        help=_("Pin this state and compare"),
        key="loupe_pin",
    ):
        _pin(page, view)
    with st.popover(
        "",
        icon=":material/co_present:",
        width="content",
        help=_("Present to a room"),
        key="loupe_present_menu",
    ):
        _presenting(page, view)


def _scenes(page: Page) -> None:
    playing = _scene_now(page)
    for number, scene in enumerate(page.lesson.scenes):
        is_on = number == playing
        st.button(
            scene.label,
            key=page.key(f"scene_{number}"),
            icon=":material/check:" if is_on else ":material/play_arrow:",
            type="primary" if is_on else "tertiary",
            on_click=_play,
            args=(page, number),
        )


def _scene_now(page: Page) -> int | None:
    return st.session_state.get(page.key("scene"))


def _play(page: Page, number: int) -> None:
    scene = page.lesson.scenes[number]
    apply(page, scene)
    st.session_state[page.key("scene")] = number


def apply(page: Page, link: Link) -> None:
    """Set the page as a link says, and say what was set."""
    set_keys = controls.apply_link(link.query, page.views)
    cls = page.view_class()
    view = controls.now(cls)
    names = [name for name, key in cls.keys().items() if key in set_keys]
    words = [controls.in_words(view, name) for name in names if name != "text"]
    st.session_state[page.key("said")] = words
    st.session_state[page.key("scene")] = None
    bring_into_view()


def _step_scene(page: Page, step: int) -> None:
    scenes = len(page.lesson.scenes)
    now = _scene_now(page)
    if scenes:
        _play(page, (now + step) % scenes if now is not None else (0 if step > 0 else scenes - 1))


def _choose_view(page: Page) -> None:
    """The views in one line, by their names in the lesson. It stands in the page itself: another view is a
    rerun of all of it, questions too.
    """
    state, key = st.session_state, page.key("view")
    state[f"{key}_widget"] = state[key]

    def take() -> None:
        state[key] = state[f"{key}_widget"]
        state[page.key("scene")] = None

    st.segmented_control(
        _("View"),
        [view.name for view in page.views],
        format_func=lambda name: page.lesson.views[name].label,
        required=True,
        key=f"{key}_widget",
        on_change=take,
        label_visibility="collapsed",
        width="stretch",
    )


def _strange_link(page: Page) -> None:
    """Say once that a link named settings that there are no longer."""
    if count := st.session_state.pop(page.key("strange"), 0):
        st.info(
            _("This link names {count} settings that no longer exist; the rest of it was followed.").format(
                count=count
            )
        )


def _stage(page: Page, view: View) -> bool:
    """The stage with its one sentence above it; whether it could be made.

    Where the view refuses its settings, the last stage that could be made stays, greyed.
    """
    state, good = st.session_state, page.key("good")
    said = state.pop(page.key("said"), None)
    watch = page.lesson.views[view.name].watch
    line = _("Set: {settings}.").format(settings=" · ".join(said)) + " " if said else ""
    with st.container(key="watch", horizontal=True, vertical_alignment="center"):
        st.markdown(line + watch, width="stretch")
        takeaway.reserve_checks()
    if (refused := state.pop(REFUSED, None)) is not None:
        st.warning(sentence(refused), icon=":material/info:")
    try:
        if view.trouble is not None:
            raise view.trouble
        _draw_stage(page, view)
    except InputError as error:
        st.warning(sentence(error), icon=":material/info:")
        last = state.get(good)
        if last is not None and type(last) is type(view):
            with st.container(key="greyed"), refusals():
                show(last.stage(), page.name)
        return False
    state[good] = view
    return True


def _draw_stage(page: Page, view: View) -> None:
    pinned = st.session_state.setdefault(page.key("pin"), st.query_params.get(page.key("pin"), ""))
    stage = view.stage()
    if pinned and (first := _pinned_view(page, view, pinned)) is not None:
        takeaway.compare(page.name, first, stage)
    else:
        show(stage, page.name)
    remember_view(view, _plots, {plot.name: plot.drawn.text for plot in stage.plots if not plot.waits})


def _plots(view: View) -> list[Plot]:
    return [plot for plot in view.stage().plots if not plot.waits]


def _pinned_view(page: Page, view: View, query: str) -> View | None:
    """State A: of the same view as the one on screen, else there is nothing to compare."""
    if query_texts(query).get(page.key("view"), opening(page.views).name) != view.name:
        return None
    return type(view).from_query(query)


def _pin(page: Page, view: View) -> None:
    """Keep this state as A and go on with B; or let A go."""
    key = page.key("pin")

    def pin() -> None:
        st.session_state[key] = view.address()

    def unpin() -> None:
        st.session_state[key] = ""

    st.markdown(_("Keep this state as A, go on with B, and see both and their difference."))
    st.button(_("Pin as A"), key=f"{key}_set", icon=":material/push_pin:", on_click=pin)
    st.button(_("Let A go"), key=f"{key}_clear", icon=":material/close:", on_click=unpin)


def _only(page: Page) -> tuple[str, ...]:
    """The controls that a teacher's link leaves to be seen; none: all."""
    key = page.key("seen")
    text = st.session_state.setdefault(key, st.query_params.get(key, ""))
    return tuple(part for part in str(text).split(",") if part)


def _presenting(page: Page, view: View) -> None:
    """Start presenting, and choose which controls the room may see."""
    state, key = st.session_state, page.key("seen")

    def begin() -> None:
        state[PRESENT] = not is_presenting()

    def take() -> None:
        state[key] = ",".join(state[f"{key}_widget"])

    label = _("Stop presenting (P)") if is_presenting() else _("Present (P)")
    st.button(label, key=page.key("present"), icon=":material/co_present:", on_click=begin)
    in_rail = [name for name, control in view.controls().items() if control.place in ("rail", "more")]
    shown = [name for name in in_rail if controls.is_shown(view, name)]
    state[f"{key}_widget"] = [name for name in _only(page) if name in shown]
    st.multiselect(
        _("Controls to be seen (none chosen: all)"),
        shown,
        format_func=lambda name: controls.label_of(view, name),
        key=f"{key}_widget",
        on_change=take,
    )
    st.caption(_("← and → step through the scenes, F fills the window with a figure, Esc leaves."))


def parameters_of(view: View) -> dict[str, str | None]:
    """What the address holds of a view; texts that are too long for it stay in the browser's tab."""
    state, written = st.session_state, view.parameters()
    for name, control in view.controls().items():
        key = view.keys()[name]
        if key not in written:
            written[key] = control.write(state[key]) if key in state else None
        if isinstance(control, Text):
            text = written[key] or ""
            is_long = len(text) > LONGEST_IN_ADDRESS
            written[f"{key}_kept"] = keep(key, text, is_long)
            written[key] = None if is_long else written[key]
    return written


def _write_address(page: Page, view: View) -> None:
    """The address of what is on screen."""
    state, written = st.session_state, parameters_of(view)
    written[page.key("view")] = None if type(view) is opening(page.views) else view.name
    for name in ("questions", "claims"):
        written[page.key(name)] = state.get(page.key(name))
    written[page.key("asked")] = "claims" if state.get(page.key("asked")) == "claims" else None
    written[page.key("pin")] = state.get(page.key("pin")) or None
    written[page.key("seen")] = ",".join(_only(page)) or None
    written["present"] = "1" if is_presenting() else None
    write_steps(page.name, written, lambda search: _take_back(page, search))


def _take_back(page: Page, search: str) -> None:
    """Back or Forward: the page stands again as the address says."""
    state, texts = st.session_state, query_texts(search)
    first = opening(page.views)
    named = {view.name: view for view in page.views}
    cls = named.get(asked_for(page.views, texts), first)
    for key in cls.keys().values():
        if key in texts:
            state[key] = texts[key]
        elif f"{key}_kept" not in texts:
            state.pop(key, None)
    state[page.key("view")] = cls.name
    state[page.key("pin")] = texts.get(page.key("pin"), "")
    state[page.key("seen")] = texts.get(page.key("seen"), "")
    state[page.key("scene")] = None
    state[PRESENT] = texts.get("present") == "1"
    if texts.get("lang"):
        state["lang"] = texts["lang"]
