"""Every word of the interface is collected, translated, and can be filled in."""

import ast
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from components import words

ROOT = Path(__file__).parents[2]
TRANSLATED = [code for code in words.LANGUAGES if code != "en"]
MARKERS = {"_", "mark", "InputError"}


@pytest.fixture
def speaking():
    """Choose the language of ``_``; afterwards it is what it was."""
    before = words._language
    yield lambda code: words.follow(lambda: code)
    words.follow(before)


@cache
def extracted() -> frozenset[str]:
    """The messages that Babel collects with the project's own settings."""
    with (ROOT / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)
    keywords = DEFAULT_KEYWORDS | {"InputError": None, "mark": None}
    found = extract_from_dir(ROOT, methods, options, keywords)
    return frozenset(message for _file, _line, message, _comments, _context in found)


@cache
def calls() -> tuple[tuple[str, ast.Call], ...]:
    """Every call in the source, with the file and line where it stands."""
    files = [ROOT / "app.py", *(f for room in ("components", "models", "pages") for f in room_files(room))]
    return tuple(
        (f"{file.relative_to(ROOT)}:{node.lineno}", node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )


def room_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def literal(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return first.value if is_text else None


def fields(message: str) -> set[str]:
    return {field for _text, field, _spec, _conversion in Formatter().parse(message) if field is not None}


@cache
def catalogue(language: str) -> Catalog:
    with (words.LOCALE / language / "LC_MESSAGES" / "loupe.po").open("rb") as file:
        return read_po(file, locale=language)


def test_babel_collects_every_message_in_the_source():
    """Babel does not look into f-strings (Python 3.11), so that ``_`` must not be called in one."""
    written = {literal(call): place for place, call in calls() if name(call) in MARKERS}
    lost = {message: place for message, place in written.items() if message and message not in extracted()}
    assert not lost


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated(language):
    translated = {
        message.id: message.string for message in catalogue(language) if message.id and not message.fuzzy
    }
    missing = {message for message in extracted() if not translated.get(message, "").strip()}
    assert not missing


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_message_is_fuzzy_plural_or_no_longer_used(language):
    messages = [message for message in catalogue(language) if message.id]
    assert not [message.id for message in messages if message.fuzzy or message.pluralizable]
    written = extracted() | {literal(call) for _place, call in calls() if name(call) in MARKERS}
    assert {message.id for message in messages} <= written
    assert not catalogue(language).obsolete


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_same_placeholders_and_marks(language):
    for message in catalogue(language):
        if message.id:
            assert fields(message.string) == fields(message.id), message.id
            for mark in ("`", "**", "$"):
                assert message.string.count(mark) == message.id.count(mark), message.id


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_left_in_english(language):
    """A message that stays as it is must be a symbol or a name that both languages share."""
    same = {message.id for message in catalogue(language) if message.id and message.id == message.string}
    assert same <= {"softmax(z)", "SmoothQuant α"}  # names of methods and functions


def test_every_refusal_is_a_literal_sentence_whose_values_are_all_given():
    refusals = [(place, call) for place, call in calls() if name(call) == "InputError"]
    assert len(refusals) > 20
    for place, call in refusals:
        template = literal(call)
        assert template is not None, f"{place}: the template must be one literal string"
        assert fields(template) == {keyword.arg for keyword in call.keywords}, place
        assert template.endswith("."), place


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_refusal_can_be_filled_in(language):
    for place, call in calls():
        if name(call) == "InputError":
            template = words.translations(language).gettext(literal(call))
            shown = template.format(**{keyword.arg: 7 for keyword in call.keywords})
            assert "{" not in shown, place
            assert shown.count("7") >= len(call.keywords), place


def test_every_label_is_given_the_values_that_it_names():
    filled = [
        (place, call, literal(call.func.value))
        for place, call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "format"
        and isinstance(call.func.value, ast.Call)
        and name(call.func.value) == "_"
    ]
    assert filled
    for place, call, message in filled:
        if message is not None:
            assert fields(message) == {keyword.arg for keyword in call.keywords}, place


def test_words_follow_the_session_language(speaking):
    assert words._("Layer") == "Layer"
    speaking("zh")
    assert words.language() == "zh"
    assert words._("Layer") == "层"
    assert words._("never translated by anyone") == "never translated by anyone"
    speaking("en")
    assert words._("Layer") == "Layer"


def test_a_language_without_catalogue_stays_english():
    assert words.translations("xx").gettext("Layer") == "Layer"


def test_the_compiled_catalogue_says_what_the_file_says():
    for message in catalogue("zh"):
        if message.id:
            assert words.translations("zh").gettext(message.id) == message.string


def test_mark_changes_nothing():
    assert words.mark("Attention and positions") == "Attention and positions"


def speaks(function: ast.FunctionDef, others: dict[str, ast.FunctionDef], seen: frozenset[str]) -> bool:
    """Whether a function asks for words of a language, itself or through others of its module."""
    called = {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    seen |= {function.name}
    return "_" in called or any(
        speaks(others[name], others, seen) for name in called & others.keys() - seen
    )


@pytest.mark.parametrize("path", sorted((ROOT / "components").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_that_is_kept_for_others_holds_words_of_one_language(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        if any("cache" in ast.unparse(decorator) for decorator in function.decorator_list):
            assert not speaks(function, functions, frozenset()), function.name
