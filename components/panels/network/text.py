"""Which network reads which text: the first controls of every page on a real network."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import streamlit as st

from components.controls import LONGEST_IN_ADDRESS, choose
from components.live.address import remember
from components.live.kept import keep
from components.page import Page
from components.traces import traced
from components.words import _, language
from models.networks.catalogue import DEFAULT, Entry, available, find
from models.networks.texts import passages
from models.networks.tracing import Trace

OTHER = "other"


@dataclass(frozen=True)
class Choice:
    """The chosen network, by name, and text."""

    network: str
    text: str

    @property
    def trace(self) -> Trace:
        return traced(self.network, self.text)


class Offered(Protocol):
    """A text that can be chosen: a passage, or what a page offers in its place."""

    @property
    def name(self) -> str: ...
    @property
    def excerpt(self) -> str: ...
    def title(self, language: str) -> str: ...


def choose_text(
    page: Page, networks: Sequence[Entry] | None = None, offered: Sequence[Offered] | None = None
) -> Choice:
    """Controls for network, passage and text. Raises InputError on a network that cannot be.

    ``networks`` and ``offered`` take the place of all networks that can be loaded, and of the passages.
    """
    with st.container(border=True):
        left, right = st.columns([1, 2], gap="medium")
        with left:
            network = choose_network(page, networks)
            passage = _choose_passage(page, passages() if offered is None else offered)
        with right:
            text = _write_text(page, passage)
    return Choice(network, text)


def _write_text(page: Page, passage: Offered) -> str:
    """The text area: the passage's excerpt until something is typed; it outlives its widget."""
    state, key = st.session_state, f"{page.name}_text"
    widget, source = f"{key}_widget", f"{key}_source"
    if key not in state:
        state[key] = st.query_params.get(key, passage.excerpt)
    elif state.get(source) != passage.name:
        state[key] = passage.excerpt
    state[source] = passage.name
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    text = st.text_area(_("Text"), key=widget, height=124, on_change=take)
    is_long = len(text) > LONGEST_IN_ADDRESS and text != passage.excerpt
    remember(key, passage.excerpt if is_long else text, passage.excerpt)
    keep(key, text, is_long)
    return text


def choose_network(page: Page, networks: Sequence[Entry] | None = None) -> str:
    """A network by its name, of all that can be loaded or of ``networks`` only.

    Raises InputError on a typed one that cannot be.
    """
    entries = {entry.name: entry for entry in (available() if networks is None else networks)}
    name = choose(
        _("Network"),
        [*entries, OTHER],
        f"{page.name}_network",
        lambda name: _("another one …") if name == OTHER else _described(entries[name]),
        default=DEFAULT,
    )
    if name != OTHER:
        return name
    typed = st.text_input(
        _("Hub id or folder"),
        placeholder="owner/name",
        key=f"{page.name}_other",
        bind="query-params",
        help=_("A transformers network with safetensors weights. Its own code is never run."),
    )
    return find(typed).name if typed else next(iter(entries))


def _described(entry: Entry) -> str:
    if entry.parameters is None:
        return entry.name
    return f"{entry.name} · {entry.parameters / 1e6:,.0f} M · {entry.licence}"


def _choose_passage(page: Page, offered: Sequence[Offered]) -> Offered:
    by_name = {passage.name: passage for passage in offered}

    name = choose(
        _("Passage"),
        list(by_name),
        f"{page.name}_passage",
        lambda name: by_name[name].title(language()),
        default=next(iter(by_name)),
    )
    return by_name[name]


def token_strip(trace: Trace) -> None:
    """The text as the tokenizer sees it, and how much of it is shown."""
    chips = "".join(
        f'<span style="border:1px solid rgba(128,128,128,.45);border-radius:.3rem;padding:0 .25rem;'
        f'white-space:pre" title="{index}: {token}">{html.escape(label)}</span>'
        for index, (label, token) in enumerate(zip(trace.labels, trace.token_ids.tolist(), strict=True))
    )
    st.html(
        '<div style="display:flex;flex-wrap:wrap;gap:.15rem;font-size:.8rem;max-height:6.5rem;'
        f'overflow:auto">{chips}</div>'
    )
    shown = _("{shown} tokens").format(shown=trace.tokens_shown)
    if trace.tokens_total > trace.tokens_shown:
        shown = _("The first {shown} of {total} tokens are shown; the text was cut there.").format(
            shown=trace.tokens_shown, total=trace.tokens_total
        )
    st.caption(shown)
