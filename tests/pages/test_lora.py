"""The LoRA page: its figures are the models' numbers, its controls do what they say, its links hold."""

import contextlib
import io

import numpy as np
import pytest
import torch

from components.lesson import Link
from components.panels.lora.finished import FINISHED
from components.panels.lora.settings import RATES
from components.words import LANGUAGES
from components.work import QUEUE
from models.lora.comparison import Grid, summarise, train_grid
from models.lora.fine_tuning import FineTuning, fine_tune
from models.lora.initialisations import INITIALISATIONS
from models.lora.lab import Recipe, Task
from tests.pages.lora_screen import DEFAULTS, VIEWS, checks, finished_grid, lora, shown
from tests.pages.screen import (
    figures,
    follow_answers,
    follow_scenes,
    follows,
    live,
    open_page,
    said,
    to_the_end,
)
from tests.pages.screen import files as files_of


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_view_shows_its_figures_in_both_languages(view, language):
    screen = open_page("lora", lang=language, lora_view=view)
    assert not screen.exception
    assert said(screen) == []
    assert shown(screen) == VIEWS[view]
    assert len(screen.code) == 1


@pytest.mark.parametrize("view", [view for view in VIEWS if view not in ("compare", "real")])
def test_what_is_shown_was_checked_just_now_and_can_be_taken_along(view):
    screen = lora(view=view)
    assert checks(screen)
    assert not screen.error
    name = f"lora_{view}"
    assert files_of(screen) == {f"{name}_csv", f"{name}_html"}
    assert "lora_link" in live(screen)


@pytest.mark.parametrize("view", ["zero", "scaling", "invariance", "spectrum", "audit", "merge"])
def test_the_snippet_of_a_view_runs_and_prints_numbers(view):
    (code,) = lora(view=view).code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.value, {})
    assert any(letter.isdigit() for letter in printed.getvalue())


# The grid


def test_the_grid_grows_and_ends_with_the_models_numbers():
    screen = finished_grid()
    settings = Grid(
        Task(width=32), ("kaiming", "orthogonal", "pissa"), (2, 8), RATES, (0, 1, 2), Recipe(steps=20)
    )
    *_progress, last = train_grid(settings)
    table = summarise(last.losses[:, -1], settings.runs)
    expected = [
        [min(mean for _rate, mean, _spread in table[name, rank]) for rank in (2, 8)]
        for name in settings.initialisations
    ]
    (shown,) = figures(screen)["lora_heatmap"]["data"]
    np.testing.assert_allclose(10 ** shown["z"], expected, rtol=1e-4)
    assert len(screen.dataframe[0].value) == 4  # and full fine-tuning
    assert checks(screen)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(screen.code[0].value, names)
    torch.testing.assert_close(names["trained"].losses, last.losses)


def test_a_changed_control_trains_another_grid():
    screen = finished_grid()
    assert "lora_basins" in figures(screen)
    before = figures(screen)["lora_heatmap"]["data"][0]["z"]
    screen.session_state["lora_alignment"] = 1.0
    to_the_end(screen.run(), "lora_grid")
    after = figures(screen)["lora_heatmap"]["data"][0]["z"]
    assert np.abs(after - before).max() > 0.1


def test_the_heat_map_can_run_over_learning_rates():
    (shown,) = figures(finished_grid(axis="rate", rank="2"))["lora_heatmap"]["data"]
    assert shown["x"] == ["0.001", "0.003", "0.01", "0.03", "0.1"]


# One view each


def test_only_zero_factors_have_exact_zero_gradients():
    (shown,) = figures(lora(view="zero"))["lora_gradients"]["data"]
    empty = np.array([[text == "0" for text in row] for row in shown["text"]])
    assert empty.tolist() == [
        [True, False, False, False, False, False],
        [False, False, False, True, False, False],
        [True] * 6,
        [False] * 6,
        [False] * 6,
    ]


@pytest.mark.parametrize("query", [{"p": "4"}, {"p": "0.5", "optimizer": "sgd"}])
def test_turning_all_knobs_leaves_the_curve(query):
    screen = lora(view="invariance", **query)
    plain, turned = figures(screen)["lora_invariance"]["data"]
    np.testing.assert_allclose(plain["y"][::6], turned["y"], rtol=1e-5)
    assert screen.metric[0].value == "0.00e+00"


def test_leaving_one_knob_out_moves_it():
    screen = lora(view="invariance", p="4", turned="alpha,rate")
    assert float(screen.metric[0].value) > 1e-3


def test_the_two_rules_agree_at_rank_one_and_part_above():
    for part in ("gradient", "change", "progress"):
        by_r, by_root = figures(lora(view="scaling"))[f"lora_{part}"]["data"]
        assert by_r["y"][0] == pytest.approx(by_root["y"][0], rel=1e-5)
        assert by_root["y"][-1] == pytest.approx(by_r["y"][-1] * np.sqrt(128), rel=1e-4)


def test_foreign_directions_grow_with_epsilon():
    def framed(epsilon):
        layout = figures(lora(view="spectrum", epsilon=epsilon))["lora_cosines_0"]["layout"]
        return len(layout.get("shapes", []))

    assert framed("0") == 0
    assert framed("0.2") <= framed("0.6") <= framed("1")
    assert framed("1") >= 9


def test_the_audit_names_what_falls_back():
    verdicts = lora(view="audit").table[0].value["Verdict"]
    assert "silently" in verdicts["eva"]
    assert "silently" in verdicts["lora_ga"]
    assert verdicts["True (default)"].startswith("no-op")
    assert verdicts["corda"].startswith("refuses")


def test_counts_follow_the_targets():
    (one,) = figures(lora(view="merge", targets="q_proj"))["lora_counts"]["data"]
    assert one["x"][0] == 4 * 8 * (192 + 192)


def test_merging_is_measured_when_asked():
    screen = lora(view="merge", targets="q_proj")
    screen.button(key="lora_measure").click().run()
    assert not screen.exception
    assert len(screen.metric) == 2
    assert float(screen.metric[1].value) < 1e-3


# The real network


def test_a_finished_run_is_shown_with_its_adapter():
    run = FineTuning(steps=2, rank=4)
    *_progress, tuned = fine_tune(run)
    FINISHED.keep(run, tuned)
    screen = lora(view="real", real_steps="2", real_rank="4")
    assert not screen.exception
    (curve,) = figures(screen)["lora_new"]["data"]
    np.testing.assert_allclose(curve["y"], tuned.new.numpy(), rtol=1e-5)
    assert "lora_adapter" in files_of(screen)
    assert len(checks(screen)) == 1
    assert not screen.error
    spectrum = lora(view="spectrum", source="network")
    assert set(figures(spectrum)) >= {"lora_values", "lora_cosines_0"}


def test_at_most_two_runs_work_and_others_see_their_place():
    """Three people: the third waits, and takes the place of one that stops."""
    assert QUEUE.slots == 2
    first, second, third = (QUEUE.join(None, is_real=True) for _person in range(3))
    assert [QUEUE.place(ticket) for ticket in (first, second, third)] == [0, 0, 1]
    QUEUE.leave(first)
    assert QUEUE.place(third) == 0


# Bad input


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"view": "real", "real_rank": "0"}, "at least 1"),
        ({"view": "real", "real_rank": "500"}, "between 1 and"),
        ({"view": "real", "real_alpha": "0"}, "greater than 0"),
        ({"view": "real", "targets": ""}, "No matrix is chosen"),
        ({"view": "real", "real_init": "orthogonal", "real_rank": "3"}, "even rank"),
        ({"view": "real", "real_init": "pissa", "qlora": "true"}, "4-bit base"),
        ({"view": "merge", "virtual": "0"}, "at least one"),
        ({"view": "spectrum", "spectrum_rank": "0"}, "at least 1"),
        ({"view": "spectrum", "spectrum_rank": "99"}, "between 1 and 64"),
        ({"view": "spectrum", "spectrum_start": "orthogonal", "spectrum_rank": "3"}, "even rank"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(query, words):
    screen = lora(**query)
    assert not screen.exception
    assert len(said(screen)) == 1
    assert words in said(screen)[0]


@pytest.mark.parametrize(
    "query",
    [
        {"alignment": "nan", "target": "1e99", "exponent": "x", "size": "-3"},
        {"names": "nobody", "ranks": "x,99", "width": "7", "steps": "99999", "seeds": "0", "seed": "-1"},
        {"view": "nowhere", "rank": "3", "axis": "x", "scaling": "x", "alpha": "inf", "ratio": "0"},
        {"view": "invariance", "p": "0", "turned": "x", "optimizer": "x"},
        {"view": "real", "domain": "x", "method": "x", "real_rate": "1", "real_init": "x"},
    ],
)
def test_a_broken_address_gives_defaults(query):
    screen = lora(**query)
    assert not screen.exception
    assert said(screen) == []


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("lora", link, screen)
    assert shown(screen) == VIEWS[screen.session_state["lora_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("lora", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("lora", kind, check_link)


def test_all_initialisations_are_offered():
    assert DEFAULTS["lora_names"] == INITIALISATIONS
