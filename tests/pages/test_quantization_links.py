"""The quantization page: its snippets repeat it, and its scenes and answers set what they name."""

import contextlib
import io

import pytest

from components.catalogue import lesson
from components.lesson import Link
from components.settings import parse_link
from components.words import LANGUAGES
from tests.pages.quantization_screen import CONTROLS, TEXT, VIEWS, drawn, quantization, title
from tests.pages.screen import figures, follow_answers, follow_scenes, follows, live
from tests.pages.screen import files as files_of


def printed(screen) -> str:
    """What the page's Python prints, run as a person would."""
    (code,) = screen.code
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code.value, {})
    return out.getvalue()


def test_the_snippet_of_the_matrix_repeats_its_decibels():
    for query in ({}, {"format": "nvfp4"}, {"module": "random", "bits": "5"}):
        screen = quantization(view="matrix", **query)
        quality = float(printed(screen).split("sqnr=")[1].split(",")[0])
        assert f"{quality:.2f} dB" in title(screen, "levels")


def test_the_snippets_of_the_other_views_repeat_their_tables():
    screen = quantization(view="duel")
    lines = printed(screen).splitlines()
    for row in screen.dataframe[0].value.to_dict("records"):
        line = next(line for line in lines if line.startswith(row["Format"] + " "))
        assert float(line.split()[-1]) == pytest.approx(float(row["SQNR, this matrix (dB)"]), abs=1e-3)
    screen = quantization(view="outliers")
    errors = [float(line.split()[1]) for line in printed(screen).splitlines()]
    assert errors == pytest.approx(list(figures(screen)["quantization_methods"]["data"][0]["x"]), rel=1e-4)
    screen = quantization(view="cascade")
    words = printed(screen).split()
    losses = figures(screen)["quantization_loss"]["data"][0]["y"]
    assert [float(word) for word in words[1:3]] == pytest.approx(list(losses), rel=1e-5)
    screen = quantization(view="gptq")
    steps = [float(line.split()[1]) for line in printed(screen).splitlines()]
    assert steps == pytest.approx(list(figures(screen)["quantization_growing"]["data"][0]["y"]), rel=1e-3)
    assert "tensor" in printed(quantization(view="cache"))
    assert "FormatFacts" in printed(quantization(view="numbers", value="nan"))


@pytest.mark.parametrize("view", [view for view in VIEWS if view not in ("sensitivity", "budget")])
def test_every_view_can_be_taken_along(view):
    screen = quantization(view=view)
    name = f"quantization_{view}"
    assert files_of(screen) == {f"{name}_csv", f"{name}_html"}
    assert "quantization_link" in live(screen)


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("quantization", link, screen)
    assert set(figures(screen)) == drawn(screen.session_state["quantization_view"]), link


def test_every_link_of_both_lessons_can_be_read():
    for language in LANGUAGES:
        words = lesson("quantization", language)
        items = (*words.questions, *words.claims)
        for link in (*words.scenes, *(link for item in items for link in item.links)):
            view = f"{link.query}&".split("quantization_view=")[-1].split("&")[0]
            assert view in VIEWS or "quantization_view" not in link.query, link
            rest = "&".join(part for part in link.query.split("&") if "_view=" not in part)
            parse_link(rest, CONTROLS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("quantization", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("quantization", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_network_and_text():
    screen = quantization(bits="7", format="nf4", layer="2", double="true")
    screen.button(key="quantization_scene_4").click().run()
    named = follows("quantization", lesson("quantization", "en").scenes[4], screen)
    for key, control in CONTROLS.items():
        if not control.kept and key not in named:
            assert key not in screen.session_state, key  # it follows its default again
    assert screen.session_state["quantization_text"] == TEXT
