"""The context page: its snippets repeat its numbers, and its scenes and answers set what they name."""

import numpy as np
import pytest
import torch

from components.catalogue import lesson
from components.control_kinds import Slider, of
from components.figures.methods import LOOKS
from components.lesson import Link
from components.panels.context.settings import METHODS, REACHES
from components.settings import query_texts
from components.words import LANGUAGES
from tests.pages.context_screen import CLASSES, CONTROLS, VIEWS, context, settled, stopped
from tests.pages.screen import (
    all_links,
    figures,
    follow_answers,
    follow_scenes,
    follows,
    live,
    open_page,
    run_snippet,
)
from tests.pages.screen import files as files_of


@pytest.mark.parametrize("method", ["linear", "dynamic", "yarn", "llama3", "longrope", "truncated"])
def test_the_snippet_repeats_the_frequencies(method):
    screen = context(view="frequencies", method=method, factor="4")
    scaled = run_snippet(screen)[0]["scaled"]
    drawn = figures(screen)["context_wavelengths"]["data"][1]["customdata"]
    np.testing.assert_allclose(scaled.wavelengths.numpy(), drawn, rtol=1e-5)


def test_the_snippet_repeats_the_losses():
    screen = settled(context(view="loss", length="512", family="reach", method="lambda", window="64"))
    losses = run_snippet(screen)[0]["losses"]
    rows = screen.dataframe[0].value.set_index("method")
    shown = rows.loc["Λ: sinks and window", "257–512"]
    assert float(losses[:, 256:].mean()) == pytest.approx(shown, abs=1e-3)


def test_the_snippet_repeats_the_shares():
    screen = context(view="distance", length="512", layer="3", head="1")
    names = run_snippet(screen)[0]
    found = names["weight_by_distance"](names["weights"], 256).share
    drawn = {trace["name"]: trace["y"] for trace in figures(screen)["context_shares"]["data"]}
    np.testing.assert_allclose(drawn["YaRN"], found.numpy(), atol=1e-5)


def test_the_snippet_repeats_the_needles():
    screen = settled(context(view="needle", length="512", trials="4", method="ntk"))
    names = run_snippet(screen)[0]
    last = names["retrieve"]("loupe-llama", names["way"], names["Haystack"](512, 5, 4, 0))
    drawn = figures(screen)["context_needles_scaled"]["data"][0]["z"]
    np.testing.assert_allclose(drawn[:, 2], last.best_of_all.numpy())


def test_the_snippet_repeats_the_config():
    screen = context(view="config", example="gemma-3")
    ropes = run_snippet(screen)[0]["read"].ropes
    assert {rope.layer_type for rope in ropes} == {"full_attention", "sliding_attention"}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = settled(context(view=view, length="512", trials="4"))
    assert files_of(screen) == {
        f"context_{view}_csv",
        f"context_{view}_html",
    }
    assert "context_link" in live(screen)


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = context(view="distance", length="512", layer="3", head="2", method="ntk", passage="orchard")
    written = {k: v for k, v in live(screen)["context_history"]["parameters"].items() if v is not None}
    again = open_page("context", **written)
    np.testing.assert_array_equal(*(figures(s)["context_map"]["data"][0]["z"] for s in (screen, again)))


# Scenes, questions and claims


@pytest.fixture
def quick(monkeypatch):
    """Long work of no length: what is linked is tested here, what is measured elsewhere."""
    monkeypatch.setattr("components.panels.context.loss.passage_loss", lambda *_way: torch.zeros(2_047))
    monkeypatch.setattr("components.panels.context.needle.measured", lambda *_asked: iter(()))
    monkeypatch.setattr("components.panels.context.needle.finish", lambda *_all: None)
    monkeypatch.setattr("components.panels.context.loss.finish", lambda *_all: None)


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("context", link, screen)
    view = screen.session_state["context_view"]
    assert set(figures(screen)) >= VIEWS[view] - {"context_needles_scaled"}, link
    stopped(screen)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language, quick):
    follow_scenes("context", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind, quick):
    follow_answers("context", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_the_passage(quick):
    screen = context(view="frequencies", method="ntk", factor="3", passage="ferry", layer="3")
    screen.button(key="context_scene_3").click().run()
    named = follows("context", lesson("context", "en").scenes[3], screen)
    for key, control in CONTROLS.items():
        if not control.kept and key not in named:
            assert key not in screen.session_state, key  # it follows its default again
    assert screen.session_state["context_passage"] == "ferry"


@pytest.mark.parametrize("link", all_links("context"), ids=lambda link: link.label)
def test_every_link_of_the_lessons_opens_without_a_refusal(link):
    asked = query_texts(link.query)
    cls = {cls.name: cls for cls in CLASSES}[asked.pop("context_view")]
    view = cls.from_query(link.query)
    assert view.trouble is None
    fields = {key: name for name, key in cls.keys().items()}
    for key, text in asked.items():
        value = CONTROLS[key].parse(text)
        assert str(getattr(view, fields[key])).removesuffix(".0") == str(value).removesuffix(".0"), key
    assert {f"context_{plot.name}" for plot in view.stage().plots} <= VIEWS[cls.name]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_stage_is_made_outside_of_any_session_and_live_sliders_move_it(cls):
    view = cls.at()
    shown = [plot.drawn.text for plot in view.stage().plots]
    assert shown
    for name, control in cls.controls().items():
        if isinstance(control, Slider) and control.live:
            moved = [view.with_(**{name: of(end, view)}) for end in (control.low, control.high)]
            assert any([plot.drawn.text for plot in at.stage().plots] != shown for at in moved), name


def test_a_method_looks_the_same_in_every_view_and_no_two_are_alike():
    looks = [LOOKS[method] for method in (*METHODS, *REACHES)]
    assert len({look[:2] for look in looks}) == len(looks)
    for cls in CLASSES:
        if "method" not in cls.controls():
            continue
        for plot in cls.at(method="yarn").stage().plots:
            for trace in plot.figure.data:
                if trace.name == "YaRN":
                    assert (trace.line.color, trace.line.dash) == LOOKS["yarn"][:2], cls
