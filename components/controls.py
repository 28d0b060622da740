"""A view's controls in Streamlit: what the session holds of them, and their widgets.

``st.session_state[key]`` holds a control's value and outlives its widget; scenes, links and clicks write
it. The address is read once, when a session first opens a page, and written from the values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import streamlit as st

from components.control_kinds import Control, Flag, Number, OneOf, Several, Slider, Text, of
from components.live.slider import live_slider
from components.settings import OF_THE_BENCH, View, asked_for, page_controls, parse_link, query_texts
from components.words import _
from models.errors import InputError

V = TypeVar("V", bound=View)
SHORT_CHOICE = 60  # characters: options as segments in the rail only while they fit


def now(cls: type[V]) -> V:
    """The view as its controls stand in this session."""
    state = st.session_state
    raw = {name: state[key] for name, key in cls.keys().items() if key in state}
    view = cls.settled(raw)
    if view.trouble is None:  # else what was typed or chosen waits for better times
        state.update(
            {
                cls.keys()[name]: getattr(view, name)
                for name, value in raw.items()
                if getattr(view, name) != value
            }
        )
    return view


def put(view: View) -> None:
    """Let the session's controls stand as in ``view``; what did not change keeps following its default.

    So does what is now at a default that depends on the other controls.
    """
    state, held, keys = st.session_state, now(type(view)), view.keys()
    for name, control in view.controls().items():
        value = getattr(view, name)
        if callable(control.default) and value == control.fit(control.default_of(view), view):
            state.pop(keys[name], None)
        elif value != getattr(held, name):
            state[keys[name]] = value
    state[f"{view.page}_view"] = view.name


def read_address(page: str, views: Sequence[type[View]]) -> None:
    """Take the page's controls from the address, when a session first opens the page."""
    state, opened = st.session_state, f"{page}_opened"
    if opened in state:
        return
    state[opened] = True
    texts = {key: ",".join(st.query_params.get_all(key)) for key in st.query_params}
    take_texts(page, views, texts)


def take_texts(page: str, views: Sequence[type[View]], texts: Mapping[str, str]) -> None:
    """Take controls from the parameters of an address; names that the page does not know are counted."""
    state, known = st.session_state, {**page_controls(views), f"{page}_view": None}
    if f"{page}_view" in texts:
        texts = {**texts, f"{page}_view": asked_for(views, texts)}
    for key, value in texts.items():
        if key in known and key not in state:
            state[key] = value
    own = {f"{page}_{word}" for word in (*OF_THE_BENCH, "going_on")}
    strange = [
        key
        for key in texts
        if key.startswith(f"{page}_") and key not in known and key not in own and not key.endswith("_kept")
    ]
    state[f"{page}_strange"] = len(strange)


def apply_link(query: str, views: Sequence[type[View]]) -> list[str]:
    """Set the controls that ``query`` names and put the others back, except those that are kept.

    Returns the keys that were set. Raises ValueError on a control or a value that cannot be.
    """
    state, page = st.session_state, views[0].page
    known = page_controls(views)
    texts = query_texts(query)
    view = asked_for(views, texts)
    if view not in {cls.name for cls in views}:
        raise ValueError(f"There is no view called {view!r}.")
    values = parse_link("&".join(part for part in query.split("&") if "_view=" not in part), known)
    for key, control in known.items():
        before = f"{key}_before"  # what a scene has overwritten of the person's own
        follows = bool(control.follows) and f"{page}_{control.follows}" in values
        if key in values or follows:
            if control.kept:
                state.setdefault(before, state.get(key))
            state.update({key: values[key]}) if key in values else state.pop(key, None)
        elif not control.kept:
            state.pop(key, None)
        elif before in state:
            own = state.pop(before)
            state.pop(key, None) if own is None else state.update({key: own})
    state[f"{page}_view"] = view
    return list(values)


def label_of(view: View, name: str) -> str:
    """A control's label in the person's language."""
    label = view.controls()[name].label
    if callable(label):
        return label(view)
    return _(label) if label else name


def is_shown(view: View, name: str) -> bool:
    """Whether a control is there at all, as the view stands."""
    control = view.controls()[name]
    return control.shown is None or control.shown(view)


def in_words(view: View, name: str) -> str:
    """A control and what it stands at, as a person reads them."""
    control, value = view.controls()[name], getattr(view, name)
    if isinstance(control, OneOf):
        value = control.label_in(view)(value)
    elif isinstance(control, Several):
        value = ", ".join(map(control.label_of, value))
    elif isinstance(value, float):
        value = f"{value:,.6g}"
    return f"{label_of(view, name)}: {value}"


def draw(view: View, name: str, **layout: Any) -> None:
    """The widget of one control, where it is shown."""
    control, key = view.controls()[name], view.keys()[name]
    if not is_shown(view, name):
        return
    if name in view.unread:
        return  # the stage says why
    off = control.off(view) if control.off is not None else ""
    if control.widget is not None:
        control.widget(view)
        return
    common = {"help": _(control.help) if control.help else None, "disabled": bool(off)} | layout
    try:
        _WIDGETS[type(control)](view, name, control, key, common)
    except InputError:
        return  # its bounds or options cannot be read now; the stage says why
    if off:
        st.caption(_(off))


def _prepared(view: View, name: str, key: str) -> dict[str, Any]:
    """Key and callback of a widget that shows the view's value and writes the session's."""
    state, widget = st.session_state, f"{key}_widget"
    state[widget] = getattr(view, name)

    def take() -> None:
        state[key] = state[widget]
        state.pop(f"{key}_before", None)
        for other in view.controls()[name].resets:
            state.pop(view.keys()[other], None)

    return {"key": widget, "on_change": take}


def _draw_slider(view: View, name: str, control: Slider, key: str, common: dict[str, Any]) -> None:
    def write(value: float) -> None:
        if control.writes is None:
            st.session_state[key] = value
        else:
            put(control.writes(now(type(view)), value))

    live_slider(
        label_of(view, name),
        key,
        of(control.low, view),
        of(control.high, view),
        control.fit(control.default_of(view), view),
        getattr(view, name),
        replace(control, live=of(control.live, view)),
        write,
        help=common["help"] or "",
        disabled=common["disabled"],
    )


def _draw_number(view: View, name: str, control: Number, key: str, common: dict[str, Any]) -> None:
    low, high = of(control.low, view), of(control.high, view)
    further = {"step": control.step, **_prepared(view, name, key), **common}
    st.number_input(label_of(view, name), low, high, **further)


def _draw_choice(view: View, name: str, control: OneOf, key: str, common: dict[str, Any]) -> None:
    options = control.options_of(view)
    label, option_name = label_of(view, name), control.label_in(view)
    further = {"format_func": option_name, **_prepared(view, name, key), **common}
    length = sum(len(option_name(option)) + 3 for option in options)
    if control.style == "segments" and length <= SHORT_CHOICE:
        st.segmented_control(label, options, required=True, **further)
    elif control.style == "radio":
        st.radio(label, options, **further)
    else:
        st.selectbox(label, options, **further)


def _draw_several(view: View, name: str, control: Several, key: str, common: dict[str, Any]) -> None:
    options = control.options_of(view)
    prepared = _prepared(view, name, key)
    st.session_state[prepared["key"]] = list(getattr(view, name))
    placeholder = _("none") if control.least == 0 else None
    st.multiselect(
        label_of(view, name),
        options,
        format_func=control.label_of,
        max_selections=control.most,
        placeholder=placeholder,
        **prepared,
        **common,
    )


def _draw_text(view: View, name: str, control: Text, key: str, common: dict[str, Any]) -> None:
    field: Any = st.text_area if control.lines > 1 else st.text_input
    placeholder = _(control.placeholder) if control.placeholder else None
    further: dict[str, Any] = {"placeholder": placeholder, "max_chars": control.most}
    if control.lines > 1:
        further["height"] = 24 * control.lines + 28
    field(label_of(view, name), **_prepared(view, name, key), **further, **common)


def _draw_flag(view: View, name: str, control: Flag, key: str, common: dict[str, Any]) -> None:
    st.toggle(label_of(view, name), **_prepared(view, name, key), **common)


_WIDGETS: dict[type[Control], Any] = {
    Slider: _draw_slider,
    Number: _draw_number,
    OneOf: _draw_choice,
    Several: _draw_several,
    Text: _draw_text,
    Flag: _draw_flag,
}


def draw_rail(view: View, only: Sequence[str] = ()) -> None:
    """The rail: sliders first, then what is chosen, then the fold "More". ``only``: these fields alone."""
    shown = [name for name in view.controls() if is_shown(view, name) and (not only or name in only)]
    places = {name: view.controls()[name].place for name in shown}
    rail = [name for name in shown if places[name] == "rail"]
    lead = view.rail_first
    rail.sort(key=lambda name: lead.index(name) if name in lead else len(lead))
    rail.sort(key=lambda name: not isinstance(view.controls()[name], Slider))
    for names in _in_rows(view, rail):
        if len(names) == 1:
            draw(view, names[0])
            continue
        for column, name in zip(st.columns(len(names), gap="small"), names, strict=True):
            with column:
                draw(view, name)
    if more := [name for name in shown if places[name] == "more"]:
        with st.expander(_("More ({count})").format(count=len(more))):
            for name in more:
                draw(view, name)


def _in_rows(view: View, names: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for name in names:
        if rows and view.controls()[name].beside:
            rows[-1].append(name)
        else:
            rows.append([name])
    return rows
