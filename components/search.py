"""Search over pages, views, scenes, questions and claims, in the person's language."""

from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

import streamlit as st

from components.catalogue import PAGES, lesson
from components.words import _, language, mark

MOST_SHOWN = 12
KINDS = {
    "page": mark("Page"),
    "view": mark("View"),
    "scene": mark("Scene"),
    "question": mark("Question"),
    "claim": mark("Claim"),
}


@dataclass(frozen=True)
class Hit:
    """Something that can be found: where it is, what it is called, and what else it says."""

    kind: str
    page: str
    label: str
    text: str
    query: str  # the controls that it sets
    item: str = ""  # of a question or claim, its identifier

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


@cache
def index(code: str) -> tuple[Hit, ...]:
    """Everything that can be found in one language, pages first."""
    hits: list[Hit] = []
    for entry in PAGES:
        words, name = lesson(entry.name, code), entry.name
        hits.append(Hit("page", name, words.title, words.question, ""))
        hits += [
            Hit("view", name, view.label, f"{view.watch} {words.title}", f"{name}_view={key}")
            for key, view in words.views.items()
        ]
        hits += [Hit("scene", name, scene.label, words.title, scene.query) for scene in words.scenes]
        for kind, items in (("question", words.questions), ("claim", words.claims)):
            hits += [
                Hit(kind, name, item.title, item.text, item.links[0].query, item.identifier)
                for item in items
            ]
    return tuple(sorted(hits, key=lambda hit: list(KINDS).index(hit.kind)))


def find(words: str, code: str) -> list[Hit]:
    """What holds every one of the words, best first: in the label, at its beginning, in the text."""
    wanted = words.casefold().split()
    if not wanted:
        return []

    def rank(hit: Hit) -> int | None:
        label, text = hit.label.casefold(), f"{hit.label} {hit.text} {hit.page}".casefold()
        if not all(word in text for word in wanted):
            return None
        if label.startswith(wanted[0]) and all(word in label for word in wanted):
            return 0
        return 1 if all(word in label for word in wanted) else 2

    ranked = [(rank(hit), hit) for hit in index(code)]
    return [hit for place in (0, 1, 2) for value, hit in ranked if value == place]


def go_to(hit: Hit) -> None:
    """Open what was found: its page, set as it says, with the answer beside the stage."""
    state = st.session_state
    state["loupe_at"] = None  # also on the page that is open: it arrives there anew
    if hit.item:
        state[f"{hit.page}_drawer"] = hit.item
    st.switch_page(f"../pages/{hit.page}.py", query_params=hit.parameters)


def search_button() -> None:
    """The button in the app's line; the key / presses it."""
    if st.button("", icon=":material/search:", help=_("Search (/)"), key="loupe_search", type="tertiary"):
        _dialog()


def _dialog() -> None:
    @st.dialog(_("Search"), width="medium")
    def inside() -> None:
        asked = st.text_input(
            _("Words of a page, a view, a question or a claim"),
            live=True,
            key="loupe_search_words",
            max_chars=100,
            placeholder="√d_k, GPTQ, GAE, YaRN …",
        )
        hits = find(asked or "", language())
        if asked and not hits:
            st.markdown(_("Nothing has all of these words."))
        titles = {entry.name: lesson(entry.name, language()).title for entry in PAGES}
        for number, hit in enumerate(hits[:MOST_SHOWN]):
            label = f"**{hit.label}**  ·  {_(KINDS[hit.kind])} · {titles[hit.page]}"
            if st.button(label, key=f"loupe_hit_{number}", type="tertiary", width="stretch"):
                go_to(hit)
        if len(hits) > MOST_SHOWN:
            st.markdown(
                _("{count} more; another word narrows it down.").format(count=len(hits) - MOST_SHOWN)
            )

    inside()
