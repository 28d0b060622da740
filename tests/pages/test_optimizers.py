"""The optimizers page: its figures are what torch's optimizers do, whatever is done to its controls."""

import numpy as np
import pytest
import torch

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from components.work.runs import QUEUE
from models.optimizers.surfaces import SURFACES
from models.optimizers.trajectories import KINDS
from tests.components.test_lesson import constant
from tests.pages.screen import figures, follow_answers, follow_scenes, live, offers_python, open_page, said

DEFAULTS = constant("optimizers", "DEFAULTS")
VIEWS = {
    "paths": {"contour", "loss", "distance", "parts"},
    "basin": {"basin", "runs"},
    "rotation": {"needed", "turned"},
    "first": {"sizes", "factors"},
    "decay": {"decay_0", "decay_1"},
    "momentum": {"map", "errors"},
    "matrices": {"matrix_loss", "values", "schulz", "pictures"},
    "training": {"training_loss", "norms", "sharpness"},
    "depth": {"at_start", "four"},
}
WITHOUT_MINIMUM = {"saddle", "monkey", "typed"}
QUICK = {"steps": "60", "chosen": "sgd,adam"}


def optimizers(**query: str):
    return open_page("optimizers", **{f"optimizers_{name}": value for name, value in query.items()})


def drawn(screen) -> dict:
    return {name.removeprefix("optimizers_"): figure for name, figure in figures(screen).items()}


def lines(figure) -> dict:
    """The curves of a figure by name."""
    return {
        trace["name"]: trace
        for trace in figure["data"]
        if trace["type"] == "scatter" and trace.get("mode") == "lines" and "name" in trace
    }


def checks(screen) -> list[str]:
    return [caption.value for caption in screen.caption if "check_circle" in caption.value]


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
    assert offers_python(screen)
    assert {button.key for button in screen.get("download_button")} >= {
        "optimizers_csv" if view == "paths" else f"optimizers_{view}_csv"
    }


# Paths


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_is_walked_on(surface):
    screen = optimizers(surface=surface, **QUICK)
    assert said(screen) == []
    expected = VIEWS["paths"] - ({"distance"} if surface in WITHOUT_MINIMUM else set())
    assert set(drawn(screen)) == expected


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
    import components.panels.optimizers.setup as setup

    screen = optimizers(chosen="sgd,momentum,adam", steps="37")
    walked = []
    original = setup.trajectory
    monkeypatch.setattr(
        setup, "trajectory", lambda *given: (walked.append(given[2].kind), original(*given))[1]
    )
    screen.session_state["optimizers_adam_rate"] = 0.1234
    screen.run()
    assert said(screen) == []
    assert walked == ["adam"]


def test_a_changed_surface_begins_at_its_own_start_and_a_link_keeps_its_own():
    screen = optimizers(start="1, 1", **QUICK)
    assert lines(drawn(screen)["contour"])["SGD η=0.002"]["x"][0] == 1
    screen.session_state["optimizers_surface"] = "beale"
    screen.run()
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
def test_what_is_refused_says_so_in_one_sentence_and_leaves_a_figure(query, sentence):
    screen = optimizers(**query, **QUICK)
    assert not screen.exception
    (told,) = said(screen)
    assert sentence in told
    assert set(drawn(screen)) >= {"contour", "loss"}


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


def run_to_the_end(screen, name: str) -> None:
    """AppTest reruns whole pages, which pauses a run; in a browser its fragment goes on by itself."""
    QUEUE.find(f"{screen.session_state['loupe_runner']}:{name}").draw(seconds=120)
    screen.run()
    assert not screen.exception


def test_a_network_is_trained_to_the_end_and_stays_for_comparison():
    screen = optimizers(view="training", training_steps="30", layers="1")
    assert screen.session_state["optimizers_training_steps"] == 30
    assert len(lines(drawn(screen)["training_loss"])["Adam η=0.003"]["y"]) == 20  # a preview
    screen.button(key="optimizers_training_start").click().run()
    assert not screen.exception
    run_to_the_end(screen, "training")
    losses = lines(drawn(screen)["training_loss"])["Adam η=0.003"]["y"]
    assert len(losses) == 30
    assert losses[-1] < losses[0]
    screen.selectbox(key="optimizers_trained_widget").set_value("sgd").run()
    assert set(lines(drawn(screen)["training_loss"])) == {"Adam η=0.003", "SGD η=0.003"}


def test_four_networks_are_trained_side_by_side():
    screen = optimizers(view="depth", depth="1")
    screen.button(key="optimizers_depth_start").click().run()
    assert not screen.exception
    run_to_the_end(screen, "depth")
    found = lines(drawn(screen)["four"])
    assert {len(trace["y"]) for trace in found.values()} == {100}
    assert set(found) == {"Pre-LN", "Pre-LN, warm-up 50", "Post-LN", "Post-LN, warm-up 50"}


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        shown = screen.session_state[name]
        expected = value[0].split(",") if isinstance(value, list) else value
        assert shown == expected, (link, name)
    view = values.get("optimizers_view", "paths")
    surface = values.get("optimizers_surface", "rosenbrock")
    without = {"distance"} if view == "paths" and surface in WITHOUT_MINIMUM else set()
    assert set(drawn(screen)) == VIEWS[view] - without, link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("optimizers", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("optimizers", kind, check_link)
