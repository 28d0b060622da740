"""The mixture-of-experts page: what it shows is what transformers and models/ compute."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.catalogue import lesson
from components.lesson import Link
from components.words import LANGUAGES
from models.moe.layer_training import Knobs, LayerSettings, LayerTraining
from models.networks.catalogue import EMBEDDED
from tests.pages.moe_screen import CONTROLS, TEXT, VIEWS, moe
from tests.pages.screen import (
    CHECK,
    figures,
    follow_answers,
    follow_scenes,
    follows,
    live,
    open_page,
    run_snippet,
    said,
)
from tests.pages.screen import files as files_of

NETWORK = EMBEDDED / "loupe-moe-bias"


# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("moe", moe_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("moe", language).title
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    asked = screen.radio(key="moe_questions_widget").options
    assert sorted(asked) == sorted(item.title for item in lesson("moe", language).questions)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = moe(view=view)
    assert files_of(screen) == {f"moe_{view}_csv", f"moe_{view}_html"}
    assert "moe_link" in live(screen)
    names, _printed = run_snippet(screen)
    assert names


# Real routing


def test_tiles_and_bars_are_what_the_router_of_transformers_gives():
    model = AutoModelForCausalLM.from_pretrained(NETWORK, attn_implementation="eager").eval()
    ids = AutoTokenizer.from_pretrained(NETWORK)(TEXT, return_tensors="pt").input_ids
    outputs = []
    model.model.layers[2].mlp.gate.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        model(ids)
    logits, weights, chosen = outputs[0]
    drawn = figures(moe(layer="2", token="4"))
    tiles = drawn["moe_tiles"]["data"][0]["z"].flatten()
    first = chosen.gather(1, weights.argmax(1, keepdim=True))[:, 0]
    np.testing.assert_array_equal(tiles[~np.isnan(tiles)], first.numpy())
    rest, taken, _marks = drawn["moe_gate"]["data"]
    assert sorted(taken["x"].tolist()) == sorted(chosen[4].tolist())
    shown = dict(zip([*rest["x"].tolist(), *taken["x"].tolist()], [*rest["y"], *taken["y"]], strict=True))
    np.testing.assert_allclose([shown[e] for e in range(16)], logits[4].sigmoid().numpy(), atol=1e-5)


def test_load_by_domain_and_by_device():
    by_expert = figures(moe(layer="1"))["moe_load"]["data"][0]["z"]
    by_device = figures(moe(layer="1", devices="4"))["moe_load"]["data"][0]["z"]
    assert by_expert.shape == (5, 16)
    np.testing.assert_allclose(by_expert.mean(1), 1, atol=1e-5)
    np.testing.assert_allclose(by_expert.reshape(5, 4, 4).mean(2), by_device, atol=1e-5)


def test_a_silenced_expert_costs_loss_and_is_crossed_out():
    plain, silenced = moe(layer="1"), moe(layer="1", silenced=["1.3", "0.2"])
    losses = [[float(metric.value) for metric in screen.metric] for screen in (plain, silenced)]
    assert losses[0] != losses[1]
    assert sum(losses[1]) > sum(losses[0])
    assert all(metric.delta for metric in silenced.metric)
    assert len(figures(silenced)["moe_gate"]["layout"]["annotations"]) == 1


def test_a_long_text_says_how_much_of_it_is_shown():
    screen = moe(text="lamp and keeper " * 200)
    assert any("The first 144 of" in caption.value for caption in screen.caption)
    assert np.isfinite(figures(screen)["moe_tiles"]["data"][0]["z"]).sum() == 144


# Checks


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 1),
        ({"layer": "3"}, 1),
        ({"view": "groups"}, 1),
        ({"view": "groups", "kept": "2", "groups": "16", "experts": "128"}, 1),
        ({"view": "loss"}, 2),
        (
            {
                "view": "loss",
                "loss_experts": "2",
                "loss_chosen": "1",
                "share": "0.6",
                "probability": "0.31",
            },
            2,
        ),
        ({"view": "loss", "share": "0.1", "probability": "0.9"}, 1),
    ],
)
def test_checks_are_made_and_hold(query, count):
    checks = [found for found in (CHECK.match(caption.value) for caption in moe(**query).caption) if found]
    assert len(checks) == count
    assert all(float(found.group(1)) <= float(found.group(2)) for found in checks)


def test_a_check_that_fails_is_shown_in_red(monkeypatch):
    monkeypatch.setattr("components.panels.moe.route.difference_from_rule", lambda *_arguments: 0.5)
    screen = moe()
    assert not screen.exception
    assert any("This check failed" in error.value for error in screen.error)


# The other views


def test_capacity_zero_drops_every_token_and_plenty_drops_none():
    for factor, expected in (("0", 4), ("4", 0)):
        dropped = figures(moe(view="capacity", factor=factor, scope="batch"))["moe_dropped"]["data"][0]["z"]
        assert (dropped == expected).all()


def test_counted_over_each_sequence_more_is_dropped():
    drops = [
        int(figures(moe(view="capacity", scope=scope))["moe_dropped"]["data"][0]["z"].sum())
        for scope in ("batch", "sequence")
    ]
    assert drops[0] < drops[1]


def test_a_run_shown_at_first_is_that_of_the_knobs():
    screen = moe(view="train", balancing="none", run_seed="3")
    training = LayerTraining(LayerSettings(seed=3))
    knobs = Knobs("none", loss_weight=0.1, bias_rate=0.01)
    steps = list(training.steps(lambda: knobs))
    shown = figures(screen)["moe_load_time"]["data"][0]["z"]
    load = torch.stack([step.load for step in steps])
    expected = (load / load.mean(1, keepdim=True)).view(100, 8, 16).mean(1).T
    np.testing.assert_allclose(shown, expected.numpy(), atol=1e-5)
    assert screen.metric[0].value == f"{training.outcome().max_violation:.3f}"


def test_sizes_change_with_k():
    tables = [
        moe(view="sizes", active=active).dataframe[0].value.set_index("Network") for active in ("8", "1")
    ]
    assert tables[0].loc["DeepSeek-V3", "active"] == "37.55 B"
    assert tables[1].loc["DeepSeek-V3", "active"] < "37"
    assert (tables[0]["Parameters in all"] == tables[1]["Parameters in all"]).all()


def test_the_held_out_figures_are_those_on_record():
    shown = moe(view="duel", measured="held_out").dataframe[0].value
    for name, label in (("bias", "bias, no loss"), ("loss", "auxiliary loss"), ("none", "no balancing")):
        record = json.loads((EMBEDDED / f"loupe-moe-{name}" / "measurements.json").read_text())["held_out"]
        row = shown[(shown["Balanced by"] == label) & (shown["Domain"] == "all")].iloc[0]
        assert row["MaxVio"] == f"{np.mean(record['max_violation_global_by_layer']):.3f}"
        assert float(row["Loss (nats per character)"]) == pytest.approx(record["mean_nats_per_character"])


# Bad input


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"text": "  "}, "empty"),
        ({"view": "groups", "groups": "16", "experts": "32", "kept": "1"}, "hold fewer than the 8"),
        ({"view": "groups", "chosen": "16", "experts": "32", "kept": "1"}, "hold fewer than the 16"),
        ({"view": "loss", "loss_experts": "2", "loss_chosen": "8"}, "8 of 2 experts cannot be chosen"),
        ({"view": "duel", "further": "no such"}, "not a network that Loupe knows"),
        ({"network": "other", "other": str(EMBEDDED / "loupe-llama")}, "no router"),
    ],
)
def test_bad_input_is_one_sentence(query, sentence):
    screen = moe(**query)
    assert not screen.exception
    assert any(sentence in words for words in said(screen))
    assert len(set(said(screen))) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"layer": "99", "token": "-4", "devices": "7", "silenced": ["9.9", "x"]},
        {"view": "capacity", "factor": "nan", "rounding": "sideways", "order": "", "seed": "-1"},
        {"view": "groups", "kept": "1e9", "skew": "x", "chosen": "0", "experts": "3"},
        {"view": "loss", "share": "7", "probability": "-3", "loss_layers": "0", "collapse": "inf"},
        {"view": "train", "gamma": "0", "alpha": "abc", "push": "1e99", "frozen": "maybe"},
        {"view": "sizes", "published": "GPT-5", "active": "100000"},
        {"view": "nowhere"},
    ],
)
def test_bad_values_in_the_address_become_ones_that_work(query):
    screen = moe(**query)
    assert not screen.exception
    assert said(screen) == []
    assert figures(screen)


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("moe", link, screen)
    assert set(figures(screen)) == VIEWS[screen.session_state["moe_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names(language):
    follow_scenes("moe", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("moe", kind, check_link)


def test_a_scene_keeps_network_and_text():
    screen = moe(network="loupe-moe-none", layer="3", token="2")
    screen.button(key="moe_scene_3").click().run()
    named = follows("moe", lesson("moe", "en").scenes[3], screen)
    for key, control in CONTROLS.items():
        if not control.kept and key not in named:
            assert key not in screen.session_state, key  # it follows its default again
    assert screen.session_state["moe_network"] == "loupe-moe-none"
    assert screen.session_state["moe_text"] == TEXT
