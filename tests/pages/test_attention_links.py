"""The attention page: its snippets and links repeat it, and its scenes and answers set what they name."""

import re

import numpy as np
import pytest

from components.catalogue import lesson
from components.lesson import Link
from components.old_controls import parse_link
from components.words import LANGUAGES
from tests.pages.attention_screen import DEFAULTS, KEPT, TEXT, VIEWS, attention, heatmap
from tests.pages.screen import figures, follow_answers, live, open_page, run_snippet, said

# Take it with you


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"stage": "contribution", "layer": "3", "head": "2", "sink": "true"},
        {
            "stage": "masked",
            "temperature": "0.3",
            "exponent": "0",
            "silenced": ["0.0", "1.5"],
            "layer": "1",
        },
        {"text": 'It\'s "quoted", \\ and {braced}\n中文 🙂'},
    ],
)
def test_the_snippet_repeats_the_numbers_on_the_page(query):
    screen = attention(**query)
    names, printed = run_snippet(screen)
    np.testing.assert_array_equal(names["view"].values.numpy(), heatmap(screen))
    assert printed.strip() == str(names["view"].values)


def numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in re.findall(r"(?<![\w.])-?\d+\.\d*(?:e[-+]\d+)?", text)])


def test_the_snippet_of_the_head_finder_repeats_its_table():
    for query in ({}, {"source": "repeated", "seed": "5"}):
        screen = attention(view="find", **query)
        names, printed = run_snippet(screen)
        rows = screen.dataframe[0].value
        for column, scores in (
            ("previous_token", names["found"].scores.previous_token),
            ("induction", names["found"].induction),
        ):
            np.testing.assert_array_equal(scores[rows["layer"], rows["head"]].numpy(), rows[column])
            assert str(scores) in printed


def test_the_snippet_of_depth_repeats_the_four_curves():
    for distance in ("best", "mean"):
        screen = attention(view="depth", distance=distance)
        curves = [curve["y"] for curve in figures(screen)["attention_rank"]["data"]]
        np.testing.assert_allclose(numbers(run_snippet(screen)[1]), np.concatenate(curves), atol=1e-5)


def test_the_snippet_of_the_scale_repeats_its_table():
    screen = attention(view="scale", width="100", seed="2")
    variances = re.findall(r"\bvariance=([\d.e-]+)", run_snippet(screen)[1])
    assert [f"{float(value):.4g}" for value in variances] == list(screen.dataframe[0].value["Variance"])


def test_the_snippet_of_softmax_repeats_the_bars():
    screen = attention(view="softmax", logits="0.5, 2, -1", shift="3", factor="2", times="2")
    _plain, edited = figures(screen)["attention_softmax"]["data"]
    np.testing.assert_allclose(numbers(run_snippet(screen)[1]), edited["y"], atol=1e-4)


def test_the_snippet_of_sharing_repeats_the_table():
    screen = attention(view="sharing", heads="8", key_heads="4")
    row = screen.dataframe[0].value.set_index("Sharing").loc["GQA"]
    printed = run_snippet(screen)[1].splitlines()
    assert printed[0] == "tensor([0, 0, 1, 1, 2, 2, 3, 3])"
    assert f"{int(printed[1]):,}" == row["Cache, bytes a token (bfloat16)"]
    parameters = sum(int(count) for count in re.findall(r"=(\d+)", printed[2]))
    assert f"{parameters:,}" == row["Parameters of Q, K, V, O in a layer"]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = attention(view=view)
    name = "attention" if view == "look" else f"attention_{view}"
    files = {f"{name}_csv", f"{name}_html"} - ({f"{name}_html"} if view == "find" else set())
    assert {button.key for button in screen.get("download_button")} == files
    assert f"{name}_link" in live(screen)
    assert len(screen.code) == 1


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = attention(layer="2", head="3", stage="raw", query="4", key="2")
    screen.session_state["attention_temperature"] = 0.5
    screen.run()
    written = {k: v for k, v in live(screen)["page_writer"]["parameters"].items() if v is not None}
    assert written["attention_text"] == TEXT
    again = open_page("attention", **written, attention_temperature="0.5")
    np.testing.assert_array_equal(heatmap(again), heatmap(screen))


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    assert set(figures(screen)) == VIEWS[values.get("attention_view", "look")], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    screen = open_page("attention", lang=language)
    scenes = lesson("attention", language).scenes
    for number, link in [*enumerate(scenes), (0, scenes[0]), (0, scenes[0])]:
        screen.pills(key="attention_scene").set_value(number).run()
        check_link(screen, link)
        assert screen.pills(key="attention_scene").value is None


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("attention", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_network_and_text():
    screen = attention(temperature="3", layer="2", silenced=["0.0"], sink="true", stage="raw")
    screen.pills(key="attention_scene").set_value(4).run()
    named = parse_link(lesson("attention", "en").scenes[4].query, DEFAULTS)
    for name, default in DEFAULTS.items():
        if name not in KEPT:
            assert screen.session_state[name] == named.get(name, default), name
    assert screen.text_area[0].value == TEXT
