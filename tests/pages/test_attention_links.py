"""The attention page: its snippets and links repeat it, and its scenes and answers set what they name."""

import re

import numpy as np
import pytest

from components.catalogue import lesson
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.attention_screen import CONTROLS, TEXT, VIEWS, attention, heatmap
from tests.pages.screen import figures, follow_answers, follow_scenes, follows, live, open_page, run_snippet
from tests.pages.screen import files as files_of

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
    name = f"attention_{view}"
    files = {f"{name}_csv", f"{name}_html"} - ({f"{name}_html"} if view == "find" else set())
    assert files_of(screen) == files
    assert "attention_link" in live(screen)
    assert len(screen.code) == 1


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = attention(layer="2", head="3", stage="raw", query="4", key="2")
    screen.session_state["attention_temperature"] = 0.5
    screen.run()
    written = {k: v for k, v in live(screen)["attention_history"]["parameters"].items() if v is not None}
    assert written["attention_text"] == TEXT
    again = open_page("attention", **written)
    np.testing.assert_array_equal(heatmap(again), heatmap(screen))


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("attention", link, screen)
    assert set(figures(screen)) == VIEWS[screen.session_state["attention_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("attention", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("attention", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_network_and_text():
    screen = attention(temperature="3", layer="2", silenced=["0.0"], sink="true", stage="raw")
    screen.button(key="attention_scene_4").click().run()
    named = follows("attention", lesson("attention", "en").scenes[4], screen)
    for key, control in CONTROLS.items():
        if not control.kept and key not in named:
            assert key not in screen.session_state, key  # it follows its default again
    assert screen.text_area[0].value == TEXT


def test_a_text_of_ones_own_comes_back_after_a_scene_that_had_another():
    screen = attention()
    screen.text_area[0].set_value("My own words, typed by hand.").run()
    screen.button(key="attention_scene_1").click().run()
    assert screen.text_area[0].value.startswith("moon chair seven")
    screen.button(key="attention_scene_0").click().run()
    assert screen.text_area[0].value == "My own words, typed by hand."
