"""The optimizers page: its figures are what torch's optimizers do, whatever is done to its controls."""

import numpy as np
import pytest
import torch

from components.catalogue import lesson
from components.lesson import Link
from components.words import LANGUAGES
from models.optimizers.recorded import DEPTH_STEPS, FIRST, FIRST_FOUR, recorded
from models.optimizers.surfaces import SURFACES
from models.optimizers.trajectories import KINDS
from tests.pages.optimizers_screen import (
    QUICK,
    VIEWS,
    WITHOUT_MINIMUM,
    checks,
    drawn,
    lines,
    optimizers,
    panels,
)
from tests.pages.screen import files as files_of
from tests.pages.screen import (
    follow_answers,
    follow_scenes,
    follows,
    live,
    open_page,
    said,
    to_the_end,
)
from tests.pages.test_attention_links import numbers, run_snippet


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("optimizers", optimizers_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("optimizers", language).title
    assert set(drawn(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    assert checks(screen)
    assert len(screen.code) == 1
    assert files_of(screen) == {
        f"optimizers_{view}_csv",
        f"optimizers_{view}_html",
    }


# Paths


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_is_walked_on(surface):
    screen = optimizers(surface=surface, **QUICK)
    assert said(screen) == []
    assert set(drawn(screen)) == VIEWS["paths"]
    shown = panels(drawn(screen)["loss"])
    assert set(shown) == ({"y"} if surface in WITHOUT_MINIMUM else {"y", "y2"})
    assert all(len(names) == 2 for names in shown.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_can_be_taken_apart(kind):
    screen = optimizers(chosen=f"sgd,{kind}" if kind != "sgd" else "sgd", tune=kind, steps="30", step="7")
    assert said(screen) == []
    (check,) = checks(screen)
    assert "1e-06" in check


def test_the_path_of_adam_is_torchs():
    screen = optimizers(chosen="adam", adam_rate="0.2", adam_beta1="0.8", steps="40")
    point = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([point], lr=0.2, betas=(0.8, 0.999))
    points = [point.detach().clone()]
    for _step in range(40):
        optimizer.zero_grad()
        ((1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2).backward()
        optimizer.step()
        points.append(point.detach().clone())
    (path,) = (trace for name, trace in lines(drawn(screen)["contour"]).items() if name.startswith("Adam"))
    np.testing.assert_allclose(np.stack([path["x"], path["y"]], 1), torch.stack(points), atol=1e-6)


def test_frames_hold_every_step_and_both_figures_share_them():
    found = drawn(optimizers(steps="50", chosen="sgd,adam"))
    contour, loss = found["contour"], found["loss"]
    assert [frame["name"] for frame in contour["frames"]] == [str(step) for step in range(51)]
    assert [frame["name"] for frame in loss["frames"]] == [frame["name"] for frame in contour["frames"]]
    assert contour["layout"]["meta"] == loss["layout"]["meta"]
    assert contour["layout"]["sliders"][0]["active"] == 20
    assert "sliders" not in loss["layout"]
    paths = list(lines(contour).values())
    for frame in (contour["frames"][0], contour["frames"][33], contour["frames"][50]):
        step, (heads,) = int(frame["name"]), frame["data"]
        np.testing.assert_allclose(heads["x"], [path["x"][step] for path in paths], atol=1e-4)
        assert loss["frames"][step]["data"] == [{"x": [step, step]}]


def test_a_long_run_has_at_most_a_few_hundred_frames_and_its_last_step():
    frames = drawn(optimizers(steps="1000", chosen="sgd"))["contour"]["frames"]
    assert len(frames) <= 252
    assert frames[-1]["name"] == "1000"


def test_divergence_is_told_and_drawn():
    screen = optimizers(surface="ravine", condition="100", chosen="sgd", sgd_rate="0.1", steps="100")
    (name,) = (name for name in lines(drawn(screen)["contour"]) if name.startswith("SGD"))
    assert "diverged at step" in name
    assert any(trace.get("text") == ["∞"] for trace in drawn(screen)["loss"]["data"])


def test_tuned_rates_end_lower_than_the_librarys():
    ends = {}
    for rates in ("torch", "tuned"):
        found = lines(drawn(optimizers(rates=rates, **QUICK))["loss"])
        ends[rates] = {name.split()[0]: trace["y"][-1] for name, trace in found.items()}
    assert all(ends["tuned"][name] < ends["torch"][name] for name in ends["torch"])


def test_a_change_of_one_optimizer_computes_that_one_alone(monkeypatch):
    import components.panels.optimizers.walks as walks

    screen = optimizers(chosen="sgd,momentum,adam", steps="37")
    walked = []
    original = walks.trajectory
    monkeypatch.setattr(
        walks, "trajectory", lambda *given: (walked.append(given[2].kind), original(*given))[1]
    )
    screen.session_state["optimizers_adam_rate"] = 0.1234
    screen.run()
    assert said(screen) == []
    assert walked == ["adam"]


def test_a_changed_surface_begins_at_its_own_start_and_a_link_keeps_its_own():
    screen = optimizers(start="1, 1", **QUICK)
    assert lines(drawn(screen)["contour"])["SGD η=0.002"]["x"][0] == 1
    screen.selectbox(key="optimizers_surface_widget").set_value("beale").run()
    assert screen.text_input(key="optimizers_start_widget").value == ""
    assert lines(drawn(screen)["contour"])["SGD η=0.002"]["x"][0] == 0.5
    linked = optimizers(surface="beale", start="2, -1", **QUICK)
    assert lines(drawn(linked)["contour"])["SGD η=0.002"]["y"][0] == -1


# Bad input


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"surface": "typed", "formula": "x +"}, "not a formula"),
        ({"surface": "typed", "formula": "z^2"}, "name z"),
        ({"surface": "typed", "formula": "x.__class__"}, "have a meaning here"),
        ({"surface": "typed", "formula": "__import__('os')"}, "no function"),
        ({"surface": "typed", "formula": "log(x)"}, "no finite value"),
        ({"surface": "typed", "formula": "x" * 500}, "at most 200"),
        ({"start": "9, 9"}, "outside the plot"),
        ({"start": "nan, 0"}, "outside the plot"),
        ({"start": "here"}, "two numbers"),
    ],
)
def test_what_is_refused_says_so_in_one_sentence_and_leaves_the_last_figure(query, sentence):
    linked = optimizers(**query, **QUICK)
    screen = optimizers(**QUICK)
    for key, value in query.items():
        screen.session_state[f"optimizers_{key}"] = value
    screen.run()
    for refused in (linked, screen):
        assert not refused.exception
        (told,) = said(refused)
        assert sentence in told
    assert set(drawn(screen)) == {"contour", "loss"}  # greyed
    assert drawn(linked) == {}  # there was none yet


def test_the_last_good_figure_stays_while_something_wrong_is_typed():
    screen = optimizers(surface="typed", formula="x^2 + 5*y^2", **QUICK)
    before = drawn(screen)["contour"]["data"][0]["z"]
    screen.text_input(key="optimizers_formula_widget").set_value("x^2 + 5*y^").run()
    (told,) = said(screen)
    assert "not a formula" in told
    np.testing.assert_array_equal(drawn(screen)["contour"]["data"][0]["z"], before)
    assert screen.text_input(key="optimizers_formula_widget").value == "x^2 + 5*y^"


@pytest.mark.parametrize(
    "query",
    [
        {"sgd_rate": "0"},
        {"sgd_rate": "-1"},
        {"sgd_rate": "1e99"},
        {"adam_beta1": "nan"},
        {"adam_beta2": "7"},
        {"steps": "1e9"},
        {"chosen": "moon,sgd"},
        {"chosen": ""},
        {"view": "nowhere"},
        {"noise": "-3"},
        {"warmup": "99999999999"},
        {"tune": "moon"},
        {"step": "-5"},
        {"view": "momentum", "curves": "0"},
        {"view": "training", "layers": "999", "trained": "lbfgs"},
        {"view": "matrices", "rows": "7", "spread": "abc"},
    ],
)
def test_a_bad_address_opens_a_page_that_works(query):
    screen = optimizers(**{**({} if "steps" in query else {"steps": "60"}), **query})
    assert not screen.exception
    assert set(drawn(screen)) == VIEWS[query["view"] if query.get("view") in VIEWS else "paths"]


# A network


def test_before_a_start_a_recorded_run_is_shown_faintly():
    screen = optimizers(view="training", layers="1")
    assert any(caption.value == "Recorded; press Start for your own." for caption in screen.caption)
    figure = drawn(screen)["training_loss"]
    shown = lines(figure)["Adam η=0.003"]
    np.testing.assert_allclose(shown["y"], [step.loss for step in recorded(FIRST)], rtol=1e-6)
    assert shown["opacity"] < 0.5
    assert len(lines(drawn(screen)["norms"])) == FIRST.layers
    (start,) = (button for button in screen.button if button.key == "optimizers_training_start")
    assert start.proto.type == "primary"


def test_a_recorded_run_of_the_same_settings_is_shown_where_there_is_one():
    screen = optimizers(view="training", trained="sgd", training_rate="0.5", batches="fixed")
    assert set(lines(drawn(screen)["training_loss"])) == {"SGD η=0.5"}
    (limit,) = drawn(screen)["sharpness"]["layout"]["annotations"]
    assert limit["text"] == "2/η = 4"


def test_a_network_is_trained_to_the_end_and_stays_for_comparison():
    screen = optimizers(view="training", training_steps="30", layers="1")
    assert screen.session_state["optimizers_training_steps"] == 30
    screen.button(key="optimizers_training_start").click().run()
    assert not screen.exception
    to_the_end(screen, "optimizers_training")
    assert not screen.exception
    losses = lines(drawn(screen)["training_loss"])["Adam η=0.003"]["y"]
    assert len(losses) == 30
    assert losses[-1] < losses[0]
    screen.selectbox(key="optimizers_trained_widget").set_value("sgd").run()
    assert set(lines(drawn(screen)["training_loss"])) == {"Adam η=0.003"}  # its own, and the recorded one
    screen.button(key="optimizers_training_start").click().run()
    to_the_end(screen, "optimizers_training")
    assert set(lines(drawn(screen)["training_loss"])) == {"Adam η=0.003", "SGD η=0.003"}


def test_four_networks_are_trained_side_by_side():
    screen = optimizers(view="depth", depth="1")
    shown = drawn(screen)["four"]
    assert shown["layout"]["title"]["text"].startswith(f"depth {FIRST_FOUR[0].layers},")
    assert {len(trace["y"]) for trace in lines(shown).values()} == {DEPTH_STEPS}
    screen.button(key="optimizers_depth_start").click().run()
    assert not screen.exception
    to_the_end(screen, "optimizers_depth")
    assert not screen.exception
    figure = drawn(screen)["four"]
    assert figure["layout"]["title"]["text"].startswith("depth 1,")
    assert {len(trace["y"]) for trace in lines(figure).values()} == {DEPTH_STEPS}
    assert set(lines(figure)) == {"Pre-LN", "Pre-LN, warm-up 50", "Post-LN", "Post-LN, warm-up 50"}


# Take it with you


@pytest.mark.parametrize(
    "query", [QUICK, {"surface": "typed", "noise": "1", "schedule": "cosine", **QUICK}]
)
def test_the_snippet_of_the_paths_repeats_their_ends(query):
    screen = optimizers(**query)
    names, printed = run_snippet(screen)
    ends = [(t["x"][-1], t["y"][-1]) for n, t in lines(drawn(screen)["contour"]).items() if "η" in n]
    np.testing.assert_allclose(numbers(printed).reshape(-1, 2), ends, atol=1e-4)
    assert names["path"].positions.shape == (61, 2)


def test_the_snippet_of_the_basin_repeats_its_best_rates():
    screen = optimizers(view="basin", **QUICK)
    _names, printed = run_snippet(screen)
    best = [float(line.split()[1]) for line in printed.splitlines()]
    assert [f"{rate:.2g}" for rate in best] == list(screen.dataframe[0].value["Best rate"])


@pytest.mark.parametrize("view", ["rotation", "first", "decay", "momentum", "matrices"])
def test_other_snippets_run(view):
    _names, printed = run_snippet(optimizers(view=view, **QUICK))
    assert len(numbers(printed)) >= 2


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    follows("optimizers", link, screen)
    assert set(drawn(screen)) == VIEWS[screen.session_state["optimizers_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("optimizers", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("optimizers", kind, check_link)
