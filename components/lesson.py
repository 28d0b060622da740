"""Lessons: the prose of a page, read from Markdown with a few fixed headings.

    # Title
    The one question that the page answers.
    ## Views
    ### Name of a view {#view}
    What to move and what to watch, in one sentence.
    ## Scenes
    - [Name of the scene](?page_control=value)
    ## Notes
    ### name of a figure
    What to see in it.
    ## Questions   (and: ## Claims)
    ### Why …? {#identifier}
    The answer. [Show it](?page_control=value)

Links that begin with ``?`` set the page's controls.
"""

import re
from dataclasses import dataclass
from pathlib import Path

SECTIONS = ("Views", "Scenes", "Notes", "Questions", "Claims")
_LINK = re.compile(r"\[([^\]]+)\]\(\?([^)\s]*)\)")
_IDENTIFIER = re.compile(r"\s*\{#([a-z0-9-]+)\}\s*$")


@dataclass(frozen=True)
class Link:
    """Words, and the controls they set as a query string without its question mark."""

    label: str
    query: str


@dataclass(frozen=True)
class Item:
    """A question with its answer, or a claim with its verdict."""

    identifier: str
    title: str
    text: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class ViewWords:
    """A view's name, and the sentence that says what to move and what to watch."""

    label: str
    watch: str


@dataclass(frozen=True)
class Lesson:
    """All the prose of one page in one language."""

    title: str
    question: str
    views: dict[str, ViewWords]
    scenes: tuple[Link, ...]
    notes: dict[str, str]
    questions: tuple[Item, ...]
    claims: tuple[Item, ...]


def read_lesson(path: Path) -> Lesson:
    """Parse a lesson file. Raises ValueError, naming the file, where it is not of the form above."""
    head, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict.fromkeys(SECTIONS, "")
    for part in parts:
        name, _, body = part.partition("\n")
        if name.strip() not in sections:
            raise ValueError(f"{path}: there is no section called {name.strip()!r}.")
        sections[name.strip()] = body
    title, _, question = head.strip().partition("\n")
    if not title.startswith("# ") or not question.strip():
        raise ValueError(f"{path}: a lesson begins with '# Title' and its question.")
    return Lesson(
        title=title[2:].strip(),
        question=question.strip(),
        views={item.identifier: ViewWords(item.title, item.text) for item in _items(sections["Views"])},
        scenes=_links(sections["Scenes"]),
        notes={item.title: item.text for item in _items(sections["Notes"])},
        questions=_items(sections["Questions"]),
        claims=_items(sections["Claims"]),
    )


def _links(text: str) -> tuple[Link, ...]:
    return tuple(Link(label, query) for label, query in _LINK.findall(text))


def _items(section: str) -> tuple[Item, ...]:
    items = []
    for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found = _IDENTIFIER.search(title)
        title = _IDENTIFIER.sub("", title).strip()
        text = _LINK.sub("", body).strip()
        items.append(Item(found.group(1) if found else title, title, text, _links(body)))
    return tuple(items)
