"""Views that read a network, and those that read a text with it: what stands in the head line's menu."""

import html
from dataclasses import dataclass
from typing import Any, ClassVar

import streamlit as st

from components import controls
from components.refusal import plain
from components.settings import View, one_of, text
from components.traces import facts, traced
from components.words import _, language, mark
from models.errors import InputError
from models.networks.catalogue import DEFAULT, Entry, available, find
from models.networks.facts import NetworkFacts
from models.networks.texts import Passage, passages
from models.networks.tracing import Trace

OTHER = "other"
YOURS = "yours"  # a text that is no passage's
SENTENCE = "sentence"  # short enough that every cell of a map can be read
SHORT_TEXT = "The cat sat on the mat because the cat was tired."
LABEL_LETTERS = 22  # of the text in the menu's label


def network_names(view: View) -> list[str]:
    """Networks that can be loaded here, and "another one"."""
    return [*(entry.name for entry in available()), OTHER]


def network_label(name: str) -> str:
    if name == OTHER:
        return _("another one …")
    return next((described(entry) for entry in available() if entry.name == name), name)


def described(entry: Entry) -> str:
    if entry.parameters is None:
        return entry.name
    return f"{entry.name} · {entry.parameters / 1e6:,.0f} M · {entry.licence}"


def passage_label(name: str) -> str:
    if name == SENTENCE:
        return _("a short sentence")
    return _("your own text") if name == YOURS else passage(name).title(language())


def passage(name: str) -> Passage:
    """A passage by its name; the first where there is none of it."""
    return next((item for item in passages() if item.name == name), passages()[0])


def excerpt(name: str) -> str:
    """The text that a choice of passage begins with."""
    return SHORT_TEXT if name == SENTENCE else passage(name).excerpt


@dataclass(frozen=True)
class ReadsNetwork(View):
    """A view on a network that a person chooses."""

    network: str = one_of(
        network_names, DEFAULT, label=mark("Network"), label_of=network_label, place="head", kept=True
    )
    other: str = text(
        "",
        label=mark("Hub id or folder"),
        placeholder="owner/name",
        place="head",
        kept=True,
        most=300,
        help=mark("A transformers network with safetensors weights. Its own code is never run."),
    )

    @property
    def network_name(self) -> str:
        """The network that is read. Raises InputError on a typed one that cannot be."""
        if self.network != OTHER:
            return self.network
        return find(self.other).name if self.other else DEFAULT

    @property
    def facts(self) -> NetworkFacts:
        return facts(self.network_name)

    def head_line(self) -> None:
        with st.popover(plain(self.network), icon=":material/hub:", width="content", key="loupe_text"):
            self.choose_network()

    def choose_network(self) -> None:
        controls.draw(self, "network")
        if self.network == OTHER:
            controls.draw(self, "other")


@dataclass(frozen=True)
class ReadsText(ReadsNetwork):
    """A view on a network that reads a text: a passage's excerpt until something is typed."""

    first_passage: ClassVar[str] = SENTENCE  # in whose maps each cell can be read

    passage: str = one_of(
        lambda view: [SENTENCE, *(item.name for item in passages()), YOURS],
        lambda view: view.first_passage,
        label=mark("Passage"),
        label_of=passage_label,
        place="head",
        kept=True,
    )
    text: str = text(
        lambda view: excerpt(view.passage),
        label=mark("Text"),
        lines=5,
        place="head",
        kept=True,
        follows="passage",
    )

    @property
    def trace(self) -> Trace:
        """The network's own forward pass over the text. Raises InputError."""
        return traced(self.network_name, self.text)

    def head_line(self) -> None:
        words = " ".join(self.text.split())
        start = words if len(words) <= LABEL_LETTERS else words[: LABEL_LETTERS - 1] + "…"
        label = f"{plain(self.network)} · {plain(start)} · {self._count()}"
        with st.popover(label, icon=":material/description:", width="content", key="loupe_text"):
            self.choose_network()
            self._choose_passage()
            self._write_text()
            self._token_strip()

    def _count(self) -> str:
        try:
            return _("{shown} tokens").format(shown=self.trace.tokens_shown)
        except InputError:
            return "?"

    def _choose_passage(self) -> None:
        """The passage whose excerpt the text is; "your own" for any other text, which is never lost."""
        state, keys = st.session_state, self.keys()
        widget, own = f"{keys['passage']}_widget", f"{keys['text']}_own"
        offered: Any = self.controls()["passage"]
        is_passage = self.text == self.controls()["text"].default_of(self)
        state[widget] = self.passage if is_passage else YOURS

        def take() -> None:
            chosen = state[keys["passage"]] = state[widget]
            if chosen == YOURS:
                state[keys["text"]] = state.get(own, self.text)
            else:
                state.pop(keys["text"], None)

        st.selectbox(
            _("Passage"),
            offered.options_of(self),
            format_func=offered.label_of,
            key=widget,
            on_change=take,
        )

    def _write_text(self) -> None:
        state, key = st.session_state, self.keys()["text"]
        widget = f"{key}_widget"
        state[widget] = self.text

        def take() -> None:
            state[key] = state[f"{key}_own"] = state[widget]
            state.pop(f"{key}_before", None)

        st.text_area(_("Text"), key=widget, height=148, on_change=take)

    def _token_strip(self) -> None:
        """The text as the tokenizer sees it, and how much of it is shown."""
        try:
            trace = self.trace
        except InputError:
            return  # the stage says why
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
