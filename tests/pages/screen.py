"""What a person would see: pages opened by address, and their live figures as arrays."""

import ast
import base64
import contextlib
import io
import json
import re
import runpy
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np
import plotly.graph_objects as go
from streamlit.testing.v1 import AppTest

from components.catalogue import lesson
from components.control_kinds import Control
from components.lesson import Link
from components.page import Page
from components.settings import View, opening, page_controls, query_texts
from components.words import LANGUAGES
from components.work import Run

ROOT = Path(__file__).parents[2]


def constant(page: str, name: str) -> object:
    """A constant of a page, read without running it."""
    tree = ast.parse((ROOT / "pages" / f"{page}.py").read_text(encoding="utf-8"))
    values = {ast.unparse(s.targets[0]): s.value for s in tree.body if isinstance(s, ast.Assign)}
    value = values[name]
    return ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)


@cache
def views(page: str) -> tuple[type[View], ...]:
    """The views of a page, in the order of their tabs, without running it; none of an old page."""
    listed: list[Page] = []
    with patch.object(Page, "show", lambda page: listed.append(page)):
        runpy.run_path(str(ROOT / "pages" / f"{page}.py"))
    return listed[0].views if listed else ()


@cache
def controls(page: str) -> dict[str, Control]:
    """The controls of a page by their keys."""
    return page_controls(views(page))


def follows(page: str, link: Link, screen: AppTest) -> dict[str, object]:
    """Assert that a link was followed: it set what it names, and its view is open. Returns its values."""
    assert not screen.exception, link
    assert said(screen) == [], link
    texts = query_texts(link.query)
    view = texts.pop(f"{page}_view", opening(views(page)).name)
    assert screen.session_state[f"{page}_view"] == view, link
    values = {key: controls(page)[key].parse(text) for key, text in texts.items()}
    for key, value in values.items():
        now = screen.session_state[key]
        assert now == value or str(now) == str(value), (link, key)
    return values


def open_page(name: str = "home", locale: str = "en-GB", **query: str | list[str]) -> AppTest:
    """Open a page by its address, in a browser of that locale."""
    screen = AppTest.from_file(str(ROOT / "components" / "shell.py"), default_timeout=60)
    screen.context["locale"] = locale
    for key, value in query.items():
        screen.query_params[key] = value
    if name != "home":
        screen.switch_page(f"../pages/{name}.py")
    return screen.run()


def live(screen: AppTest) -> dict[str, dict]:
    """What each live element (slider, figure, address) was handed, by key."""
    return {element.key: json.loads(element.proto.json) for element in screen.get("bidi_component")}


def figures(screen: AppTest) -> dict[str, dict]:
    """The Plotly figures of all live figures, their typed arrays decoded; all that they say is Plotly's."""
    sent = {key: json.loads(data["figure"]) for key, data in live(screen).items() if "figure" in data}
    for figure in sent.values():
        go.Figure(
            figure
        )  # raises ValueError for a property that there is not, or a value that it cannot take
    return {key: decoded(figure) for key, figure in sent.items()}


def decoded(value):
    """The same JSON with Plotly's typed arrays (base64) as NumPy arrays."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "bdata" not in value:
        return {key: decoded(item) for key, item in value.items()}
    array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
    return array.reshape([int(size) for size in str(value.get("shape", -1)).split(",")])


PATIENCE = 240  # seconds of long work, no measure of speed


def run_of(screen: AppTest, key: str) -> Run:
    """The run that the page has asked for last under a key."""
    return next(reversed(screen.session_state["loupe_work"][key].values()))


def to_the_end(screen: AppTest, key: str) -> AppTest:
    """The page once its run has come to its end; a browser's timer would redraw it meanwhile."""
    run = run_of(screen, key)
    assert run.wait(PATIENCE)
    assert run.finished, run.error
    return screen.run()


CHECK = re.compile(r".*Checked against.* largest difference (\S+) \(allowed (\S+)\)", re.DOTALL)


def captions(screen: AppTest) -> list[str]:
    return [caption.value for caption in screen.caption]


def run_snippet(screen: AppTest) -> tuple[dict, str]:
    """Run the page's Python as a person would: its names, and what it prints."""
    (code,) = screen.code
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.value, names)
    return names, printed.getvalue()


def files(screen: AppTest) -> set[str]:
    """The files that a view offers, by their buttons' keys, less its Python (tests/take)."""
    return {button.key for button in screen.get("download_button") if not button.key.endswith("_py")}


def said(screen: AppTest) -> list[str]:
    """The sentences in which the page refuses something."""
    return [element.value for element in (*screen.warning, *screen.error)]


def follow_scenes(page: str, language: str, check: Callable[[AppTest, Link], None]) -> None:
    """Play every scene of a page, and the first one again; ``check`` says whether it was followed."""
    screen = open_page(page, lang=language)
    scenes = lesson(page, language).scenes
    for number, link in [*enumerate(scenes), (0, scenes[0])]:
        check(screen.button(key=f"{page}_scene_{number}").click().run(), link)


def all_links(page: str) -> list[Link]:
    """Every link of a page's lessons, in all languages: scenes, questions and claims."""
    words = [lesson(page, language) for language in LANGUAGES]
    items = [item for read in words for item in (*read.questions, *read.claims)]
    return [link for read in words for link in read.scenes] + [
        link for item in items for link in item.links
    ]


def follow_answers(page: str, kind: str, check: Callable[[AppTest, Link], None]) -> None:
    """Open every question or claim of a page in both languages, and press each of its buttons in one.

    The buttons lead to the same addresses (tests/components/test_lesson.py): the languages take turns.
    """
    for turn, language in enumerate(LANGUAGES):
        screen, numbers = open_page(page, lang=language), count(turn)
        screen.session_state[f"{page}_asked"] = kind
        for item in getattr(lesson(page, language), kind):
            screen.session_state[f"{page}_{kind}"] = item.identifier
            screen.run()
            assert any(item.text in text.value for text in screen.markdown), item.identifier
            for number, link in enumerate(item.links):
                button = screen.button(key=f"{page}_{item.identifier}_{number}_below")
                if next(numbers) % 2:
                    check(button.click().run(), link)
