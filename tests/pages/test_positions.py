"""The positions page: what it shows is what the network and transformers compute."""

import math
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

from components.catalogue import lesson
from components.words import LANGUAGES
from models.networks.loading import load
from models.networks.tracing import trace
from tests.pages.attention_screen import NETWORK, eager
from tests.pages.positions_screen import CHECKS, TEXT, VIEWS, losses, pair_values, positions
from tests.pages.screen import CHECK, captions, figures, live, open_page, said


def record(layer: int):
    return trace(load("loupe-llama"), TEXT).layers[layer]


# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("positions", positions_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("positions", language).title
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    assert bool(screen.dataframe) == (view in ("decay", "compare"))
    questions = [item.title for item in lesson("positions", language).questions]
    assert sorted(screen.radio(key="positions_questions_widget").options) == sorted(questions)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_checked_against_something_and_holds(view):
    checks = [found for found in map(CHECK.match, captions(positions(view=view))) if found]
    assert len(checks) == CHECKS[view]
    assert all(float(found.group(1)) <= float(found.group(2)) for found in checks)


def test_views_are_changed_on_the_page_and_keep_the_text():
    screen = positions()
    for view in (*VIEWS, "rotate"):
        screen.session_state["positions_view"] = view
        screen.run()
        assert not screen.exception
        assert set(figures(screen)) == VIEWS[view]
    assert screen.text_area[0].value == TEXT


# The microscope


@pytest.mark.parametrize(("layer", "head", "query", "key"), [(0, 0, 5, 2), (1, 4, 7, 6), (3, 5, 10, 0)])
def test_the_bars_sum_to_the_networks_raw_score(layer, head, query, key):
    screen = positions(layer=str(layer), head=str(head), query=str(query), key=str(key))
    bars, unturned = pair_values(screen), figures(screen)["positions_pairs"]["data"][-1]
    own = record(layer)
    score = float(own.query[head, query] @ own.key[own.key_of_head[head], key])
    assert float(np.sum(bars)) == pytest.approx(score, abs=1e-3)
    assert len(bars) == len(unturned["y"]) == 16
    said = figures(screen)["positions_pairs"]["data"][2]["text"]
    assert said == [f"the sum is {score:.3f}"]
    (circles,) = [figures(screen)["positions_circles"]]
    assert circles["data"][0]["name"] == ""
    x = np.array(circles["data"][2]["x"]).reshape(16, 3)
    assert np.isfinite(x[:, :2]).all()


def test_moving_the_whole_text_leaves_bars_and_curve_and_is_checked():
    here, there = positions(query="9"), positions(query="9", offset="700")
    np.testing.assert_allclose(pair_values(here), pair_values(there), atol=2e-3)
    before, after = (figures(screen)["positions_curve"]["data"][0]["y"] for screen in (here, there))
    np.testing.assert_allclose(before, after, atol=2e-3)
    circles = [figures(screen)["positions_circles"]["data"][2]["x"] for screen in (here, there)]
    assert np.nanmax(np.abs(np.array(circles[0]) - np.array(circles[1]))) > 0.1
    checks = [found for found in map(CHECK.match, captions(there)) if found]
    assert len(checks) == CHECKS["rotate"] + 1
    assert all(float(found.group(1)) <= float(found.group(2)) for found in checks)


def test_moving_the_query_walks_along_the_curve():
    plain = figures(positions(query="9", key="4"))["positions_curve"]
    place, height = plain["data"][0]["x"], plain["data"][0]["y"]
    for moved in (-30, 0, 25):
        screen = positions(query="9", key="4", moved=str(moved))
        shown, total = figures(screen), float(np.sum(pair_values(screen)))
        assert total == pytest.approx(float(height[list(place).index(5 + moved)]), abs=1e-3)
        line = shown["positions_curve"]["data"][-1]
        assert list(line["x"]) == [5 + moved] * 2
        assert line["text"][1] == f"{total:.2f} at distance {5 + moved}"
        np.testing.assert_array_equal(shown["positions_curve"]["data"][0]["y"], height)


def test_a_pair_is_worked_out_below_with_a_determinant_of_one():
    screen = positions(query="9", key="4", pair="3")
    bars = pair_values(screen)
    (formula,) = [latex.value for latex in screen.latex]
    assert rf"={bars[3]:.4f}" in formula
    assert r"\det R&=1.000" in formula
    assert f"{10_000 ** (-6 / 32):.6g}" in formula


def test_an_unchosen_key_is_the_other_token_that_is_read_most():
    screen = positions(query="8", key="-1", layer="1", head="4")
    row = eager()[0][1, 4, 8].clone()
    row[8] = -1
    assert any(f"at position {int(row.argmax())}" in text.value for text in screen.markdown)


# Added vectors


def test_the_matrix_is_the_sinusoidal_encoding_of_distilbert():
    screen = positions(view="encode", width="48", length="100")
    expected = torch.empty(100, 48)
    create_sinusoidal_embeddings(100, 48, expected)
    shown = figures(screen)["positions_matrix"]["data"][0]["z"]
    np.testing.assert_allclose(shown, expected.numpy(), atol=5e-5)


def test_wavelengths_and_the_constant_pairs_follow_base_and_length():
    for base, length in ((10_000, 256), (100, 256), (10_000, 16)):
        screen = positions(view="encode", base=str(base), length=str(length))
        turning, still = figures(screen)["positions_wavelengths"]["data"]
        expected = 2 * math.pi * base ** (np.arange(32) / 32)
        for part in (turning, still):
            np.testing.assert_allclose(part["y"], expected[np.array(part["x"], int)], rtol=1e-4)
        assert all(wave <= 16 * (length - 1) * 1.001 for wave in turning["y"])
        assert all(wave > 16 * (length - 1) * 0.999 for wave in still["y"])


def test_the_cosine_curve_is_symmetric_about_its_position():
    screen = positions(view="encode", position="100")
    curve = figures(screen)["positions_cosines"]["data"][0]["y"]
    np.testing.assert_allclose(curve[100:201], curve[100::-1][:101], atol=1e-4)
    assert curve[100] == pytest.approx(1, abs=1e-5)


def test_a_learned_table_is_shown_as_the_network_holds_it():
    screen = positions(view="encode", source="learned", length="300")
    assert said(screen) == []
    table = load("all-MiniLM-L6-v2").model.embeddings.position_embeddings.weight[:300]
    shown = figures(screen)["positions_matrix"]["data"][0]["z"]
    weight = load("all-MiniLM-L6-v2").model.embeddings.position_embeddings.weight
    scale = np.quantile(weight.abs().detach().numpy(), 0.99)
    np.testing.assert_allclose(shown * scale, table.detach().numpy(), atol=1e-5)


# Layouts


def test_the_left_map_is_the_networks_own_and_the_right_one_keeps_its_diagonal():
    shown = figures(positions(view="layout", layer="0", head="1"))
    own, other = (shown[f"positions_{name}"]["data"][0]["z"] for name in ("trained", "swapped"))
    layer = record(0)
    expected = (layer.query[1] @ layer.key[layer.key_of_head[1]].T).numpy()
    lower = np.tril_indices_from(expected)
    np.testing.assert_allclose(own[lower], expected[lower], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.diagonal(other), np.diagonal(own), rtol=1e-4, atol=1e-4)
    assert np.nanmax(np.abs(other - own)) > 1


def test_the_loss_is_what_transformers_computes_and_rises_on_a_repeat():
    repeat = "moon chair seven apple river " * 4
    screen = positions(view="layout", text=repeat)
    model = AutoModelForCausalLM.from_pretrained(NETWORK).eval()
    ids = AutoTokenizer.from_pretrained(NETWORK)(repeat, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = float(model(ids, labels=ids).loss)
    own, other = losses(screen)
    assert own == pytest.approx(expected, abs=2e-3)
    assert other > own + 1
    same = positions(view="layout", text=repeat, swap="none")
    assert losses(same)[1] == pytest.approx(own, abs=2e-3)


# Distance, comparison, shuffling


def test_the_curve_in_phase_is_a_mean_of_cosines_and_rises_on_many_steps():
    screen = positions(view="decay", base="500", farthest="100")
    curve = figures(screen)["positions_decay"]["data"][0]
    theta = 500.0 ** (-np.arange(16) / 16)
    np.testing.assert_allclose(curve["y"], np.cos(np.outer(curve["x"], theta)).mean(1), atol=1e-4)
    rising = screen.dataframe[0].value["Rising steps"]
    assert all(10 < int(share.rstrip("%")) < 90 for share in rising)


def test_the_rotary_tile_is_the_networks_own_attention():
    canvas = figures(positions(view="compare", layer="2", head="3"))["positions_tiles"]["data"][0]["z"]
    own = eager()[0][2, 3].numpy()
    tokens = len(own)
    np.testing.assert_allclose(canvas[-tokens:, -tokens - 2 : -2], own, atol=1e-5)


def test_only_without_positions_and_mask_does_nothing_change():
    changes = figures(positions(view="shuffle"))["positions_change"]["data"]
    assert [np.max(curve["y"]) < 1e-5 for curve in changes] == [False, False, False, True]
    verdicts = {
        case: [text.value for text in positions(view="shuffle", case=case).markdown]
        for case in ("nothing", "mask")
    }
    assert any("cannot tell the two orders apart" in line for line in verdicts["nothing"])
    assert any("depend on the order" in line for line in verdicts["mask"])


def test_a_check_that_fails_is_shown_in_red(monkeypatch):
    monkeypatch.setattr("components.panels.positions.checks.largest_difference", lambda *_pair: math.nan)
    screen = positions()
    assert not screen.exception
    assert len(screen.error) == CHECKS["rotate"]
    assert all(re.match("This check failed", error.value) for error in screen.error)
