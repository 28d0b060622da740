"""Lessons: their form, the same in every language, with links that the page understands."""

import re
from pathlib import Path

import pytest

from components.catalogue import ASSETS, HOME, PAGES, QUESTIONS, lesson
from components.lesson import Item, Link, read_lesson
from components.settings import query_texts
from components.words import LANGUAGES
from tests.pages.screen import controls, views

ROOT = Path(__file__).parents[2]
NAMES = [entry.name for entry in (HOME, QUESTIONS, *PAGES)]
OTHERS = [code for code in LANGUAGES if code != "en"]

WELL_FORMED = """# Title
What is asked?

## Scenes
- [One](?page_a=1)
- [Two](?page_a=2&page_b=x%20y)

## Notes
### first
Text of the first.
### second
Text of the second,
on two lines.

## Questions
### Why so? {#why-so}
Because of $a_{1}$. [Elsewhere](https://example.org) stays.
[Show: it](?page_a=3)
[Show: that](?page_b=)

## Claims
### It is so. {#is-so}
**False.**
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "lesson.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_lesson_is_read_in_parts(tmp_path):
    read = read_lesson(write(tmp_path, WELL_FORMED))
    assert (read.title, read.question) == ("Title", "What is asked?")
    assert read.scenes == (Link("One", "page_a=1"), Link("Two", "page_a=2&page_b=x%20y"))
    assert read.notes == {"first": "Text of the first.", "second": "Text of the second,\non two lines."}
    (question,) = read.questions
    assert (question.identifier, question.title) == ("why-so", "Why so?")
    assert question.text == "Because of $a_{1}$. [Elsewhere](https://example.org) stays."
    assert question.links == (Link("Show: it", "page_a=3"), Link("Show: that", "page_b="))
    assert read.claims == (Item("is-so", "It is so.", "**False.**", ()),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Title\nWhat is asked?",
        "# Title",
        "# Title\n\n## Scenes\n",
        "## Scenes\n# Title\nWhat?",
        "# Title\nWhat is asked?\n## Scene\n- [One](?page_a=1)\n",
    ],
)
def test_a_lesson_of_another_form_is_refused_by_its_name(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_lesson(path)


def test_there_are_no_lessons_without_a_page():
    for language in LANGUAGES:
        files = {path.stem for path in (ASSETS / "lessons" / language).glob("*.md")}
        assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", OTHERS)
def test_lessons_have_the_same_parts_in_every_language(name, language):
    english, other = lesson(name, "en"), lesson(name, language)
    assert [scene.query for scene in other.scenes] == [scene.query for scene in english.scenes]
    assert list(other.notes) == list(english.notes)
    assert list(other.views) == list(english.views)
    for part in ("questions", "claims"):
        ours = {item.identifier: [link.query for link in item.links] for item in getattr(other, part)}
        theirs = {item.identifier: [link.query for link in item.links] for item in getattr(english, part)}
        assert list(ours) == list(theirs)
        assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_part_of_a_lesson_has_words(name, language):
    read = lesson(name, language)
    items = read.questions + read.claims
    links = [*read.scenes, *(link for item in items for link in item.links)]
    assert all(link.label.strip() and link.query for link in links)
    assert all(text.strip() for text in read.notes.values())
    assert all(item.title and item.text for item in items)
    assert all(re.fullmatch(r"[a-z0-9-]+", item.identifier) for item in items)
    identifiers = [item.identifier for item in items]
    assert len(identifiers) == len(set(identifiers))
    assert all(item.links for item in items), "each answer is demonstrated by a click"
    whole = [read.question, *read.notes.values(), *(item.title + item.text for item in items)]
    assert all(text.count("$") % 2 == 0 for text in whole)
    assert ("，" in "".join(whole)) == (language == "zh")


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_view_has_a_name_and_a_sentence(entry, language):
    words = lesson(entry.name, language).views
    assert list(words) == [view.name for view in views(entry.name)]
    for view in words.values():
        assert view.label
        assert view.watch.rstrip("*").endswith("." if language == "en" else "。"), view
        assert len(view.watch.split()) <= 30, view


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_sets_controls_that_the_page_has(entry, language):
    known = controls(entry.name)
    read = lesson(entry.name, language)
    links = [*read.scenes, *(link for item in read.questions + read.claims for link in item.links)]
    assert links
    for link in links:
        texts = query_texts(link.query)
        view = texts.pop(f"{entry.name}_view", None)
        assert view in {None, *(cls.name for cls in views(entry.name))}, link
        assert texts or view, link
        for key, text in texts.items():
            known[key].parse(text)  # raises what it cannot be; an unknown key is a KeyError


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
def test_every_note_of_a_page_is_written_and_shown(entry):
    """Notes are shown by ``note(view, "name")``, or read as ``lesson.notes["name"]``."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (*(ROOT / "components").rglob("*.py"), ROOT / "pages" / f"{entry.name}.py")
    )
    for name in lesson(entry.name, "en").notes:
        called = re.search(rf'note\((?:self|view), [^)]*"{name}"', source)
        assert called or f'notes["{name}"]' in source, name
