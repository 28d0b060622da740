"""The attention page: what it shows is what the network computes, whatever is done to its controls."""

import json
import math
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from components.catalogue import lesson
from components.panels.network.reading import SHORT_TEXT
from components.words import LANGUAGES
from models.networks.tracing import NO_INTERVENTION
from tests.models.networks.test_families import config_of
from tests.models.networks.tiny_networks import byte_level_tokenizer
from tests.pages.attention_screen import NETWORK, STAGES, TEXT, VIEWS, attention, eager, heatmap
from tests.pages.screen import CHECK, captions, figures, live, open_page, said

# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("attention", attention_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("attention", language).title
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    assert bool(screen.dataframe) == (view in ("find", "scale", "softmax", "sharing"))
    asked = screen.radio(key="attention_questions_widget").options
    assert sorted(asked) == sorted(item.title for item in lesson("attention", language).questions)


def test_the_first_visit_shows_a_real_network_at_work():
    screen = open_page("attention")
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["look"]
    (area,) = screen.text_area
    assert area.value == SHORT_TEXT
    tokens = len(heatmap(screen))
    assert any(caption.value == f"{tokens} tokens" for caption in screen.caption)


def test_views_are_changed_on_the_page_and_keep_the_text():
    screen = attention()
    for view in (*VIEWS, "look"):
        screen.session_state["attention_view"] = view
        screen.run()
        assert not screen.exception
        assert set(figures(screen)) == VIEWS[view]
    assert screen.text_area[0].value == TEXT


# The head, against transformers' own eager attention


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 4), (2, 5), (3, 1)])
def test_the_heatmap_is_eager_attention(layer, head):
    shown = heatmap(attention(layer=str(layer), head=str(head)))
    expected = eager()[0][layer, head].numpy()
    assert np.isnan(shown[np.triu_indices_from(shown, 1)]).all()
    np.testing.assert_allclose(np.nan_to_num(shown), expected, atol=1e-5)
    np.testing.assert_allclose(np.nansum(shown, axis=1), 1, atol=1e-5)


def test_stages_follow_one_another():
    shown = {stage: heatmap(attention(stage=stage, layer="1", head="3")) for stage in STAGES}
    width = json.loads((NETWORK / "config.json").read_text())["head_dim"]
    np.testing.assert_allclose(shown["raw"] / math.sqrt(width), shown["scaled"], atol=1e-4)
    lower = np.tril_indices_from(shown["raw"])
    np.testing.assert_array_equal(shown["masked"][lower], shown["scaled"][lower])
    assert not np.isnan(shown["scaled"]).any()
    for stage in ("masked", "softmax", "contribution"):
        assert np.isnan(shown[stage][np.triu_indices_from(shown[stage], 1)]).all()
    hidden = np.where(np.isnan(shown["masked"]), -np.inf, shown["masked"])
    np.testing.assert_allclose(
        torch.tensor(hidden).softmax(-1).numpy(), np.nan_to_num(shown["softmax"]), atol=1e-5
    )
    assert (shown["contribution"][lower] >= 0).all()


def test_raw_scores_are_the_products_of_the_traced_queries_and_keys():
    from components.traces import traced_with

    record = traced_with("loupe-llama", TEXT, NO_INTERVENTION).layers[2]
    products = torch.einsum("qd,kd->qk", record.query[5], record.key[record.key_of_head[5]])
    shown = heatmap(attention(stage="raw", layer="2", head="5"))
    np.testing.assert_allclose(shown, products.numpy(), rtol=1e-4, atol=1e-4)


def test_the_grid_holds_every_head_as_it_is_even_while_the_network_is_changed():
    grid = figures(attention(layer="0"))["attention_grid"]["data"][0]["z"]
    changed = figures(attention(temperature="9"))["attention_grid"]["data"][0]["z"]
    np.testing.assert_array_equal(grid, changed)
    maps = eager()[0]
    size = maps.shape[-1]
    for layer in range(maps.shape[0]):
        for head in range(maps.shape[1]):
            top, left = layer * (size + 2), head * (size + 2)
            tile = grid[top : top + size, left : left + size]
            expected = maps[layer, head] / maps[layer, head].max()
            np.testing.assert_allclose(np.nan_to_num(tile), expected, atol=1e-4)


def test_the_next_tokens_are_the_networks_own():
    (bars,) = figures(attention())["attention_next"]["data"]
    expected = eager()[1][-1].softmax(-1).topk(len(bars["x"])).values
    np.testing.assert_allclose(bars["x"], expected.numpy(), atol=1e-5)


# Changing how it reads


def test_temperature_sharpens_and_flattens_the_rows_in_place():
    screen = attention()
    before = heatmap(screen)
    largest = {}
    for temperature in (0.05, 20.0):
        screen.session_state["attention_temperature"] = temperature
        screen.run()
        assert said(screen) == []
        assert live(screen)["attention_temperature_slider"]["value"] == temperature
        assert not np.allclose(np.nan_to_num(heatmap(screen)), np.nan_to_num(before), atol=1e-3)
        largest[temperature] = np.nanmax(heatmap(screen), axis=1).mean()
    assert largest[20.0] < np.nanmax(before, axis=1).mean() < largest[0.05]


def test_the_exponent_changes_the_scale_and_one_half_is_the_networks_own():
    plain = heatmap(attention(stage="raw", exponent="0", layer="0"))
    unscaled = heatmap(attention(stage="scaled", exponent="0", layer="0"))
    np.testing.assert_allclose(plain, unscaled, rtol=1e-5)
    np.testing.assert_array_equal(heatmap(attention(exponent="0.5")), heatmap(attention()))


def test_silenced_heads_change_the_next_token_and_leave_their_picture():
    screen = attention()
    screen.multiselect(key="attention_silenced_widget").set_value(["0.0", "0.1", "1.2"]).run()
    assert said(screen) == []
    before, after = figures(screen)["attention_next"]["data"]
    assert np.abs(before["x"] - after["x"]).max() > 1e-4
    crosses = [s for s in figures(screen)["attention_grid"]["layout"]["shapes"] if s["type"] == "line"]
    assert len(crosses) == 2 * 3
    assert divergence(screen) > 0 == divergence(attention())
    plain = figures(attention())["attention_next"]["data"][0]
    as_it_is = dict(zip(labels_of(plain), plain["x"], strict=True))
    shared = [
        (as_it_is[label], p)
        for label, p in zip(labels_of(before), before["x"], strict=True)
        if label in as_it_is
    ]
    assert len(shared) >= 4  # the likeliest stay on the list, with the same probabilities
    np.testing.assert_allclose(*zip(*shared, strict=True))


def labels_of(bars: dict) -> list[str]:
    """The tokens of a bar trace; the row's number stands before each."""
    return [row.split(" · ", 1)[1] for row in bars["y"]]


def divergence(screen) -> float:
    title = figures(screen)["attention_next"]["layout"]["xaxis"]["title"]["text"]
    return float(re.search(r"KL ([\d.]+) nats", title).group(1))


def test_the_hidden_sink_leaves_rows_that_sum_to_one():
    screen = attention(sink="true", layer="1")
    assert screen.toggle[0].value is True
    shown = heatmap(screen)
    assert np.isnan(shown[:, 0]).all()
    np.testing.assert_allclose(np.nansum(shown[1:], axis=1), 1, atol=1e-5)


def test_the_colour_range_moves_the_scale_and_not_the_numbers():
    wide, narrow = attention(), attention(colour="0.25")
    np.testing.assert_array_equal(heatmap(wide), heatmap(narrow))
    tops = [figures(screen)["attention_heatmap"]["data"][0]["zmax"] for screen in (wide, narrow)]
    assert tops == [1.0, 0.25]
    raw = figures(attention(stage="raw"))["attention_heatmap"]["data"][0]
    assert raw["zmin"] == -raw["zmax"]


# The arithmetic of a cell


def test_the_arithmetic_of_a_cell_is_that_of_the_heatmap():
    screen = attention(layer="2", head="1", query="7", key="3")
    weight, contribution, _effect = (metric.value for metric in screen.metric)
    assert float(weight) == pytest.approx(float(eager()[0][2, 1, 7, 3]), abs=6e-4)
    length = heatmap(attention(layer="2", head="1", stage="contribution"))[7]
    assert float(contribution) == pytest.approx(float(length[3] / np.nansum(length)), abs=6e-4)
    raw = heatmap(attention(layer="2", head="1", stage="raw"))[7, 3]
    products = figures(screen)["attention_products"]["data"][0]["y"]
    assert float(np.sum(products)) == pytest.approx(float(raw), abs=1e-3)
    assert f"={raw:.4f}"[:-1] in screen.latex[0].value


def test_without_a_choice_the_strongest_cell_of_the_last_row_is_explained():
    screen = attention(layer="1", head="1")
    last = eager()[0][1, 1, -1]
    assert float(screen.metric[0].value) == pytest.approx(float(last.max()), abs=6e-4)
    (frame,) = figures(screen)["attention_heatmap"]["layout"]["shapes"]
    assert (frame["y0"] + 0.5, frame["x0"] + 0.5) == (len(last) - 1, int(last.argmax()))


def test_a_masked_cell_says_so():
    screen = attention(query="2", key="5")
    assert "The mask hides this key from this query." in captions(screen)
    assert float(screen.metric[0].value) == 0


# Checks


@pytest.mark.parametrize("query", [{}, {"temperature": "0.05"}, {"silenced": ["2.0", "2.1"], "layer": "2"}])
def test_both_checks_are_made_and_hold(query):
    checks = [found for found in map(CHECK.match, captions(attention(**query))) if found]
    assert len(checks) == 2
    assert all(float(found.group(1)) <= float(found.group(2)) for found in checks)


@pytest.mark.parametrize("difference", [0.5, math.nan])
def test_a_check_that_fails_is_shown_in_red(monkeypatch, difference):
    monkeypatch.setattr(
        "components.panels.network.arithmetic.difference_from_sdpa", lambda *_arguments: difference
    )
    screen = attention()
    assert not screen.exception
    (failed,) = screen.error
    assert failed.value.startswith("This check failed.")
    assert f"{difference:.1e}" in failed.value
    assert "scaled_dot_product_attention" in failed.value
    assert len([found for found in map(CHECK.match, captions(screen)) if found]) == 1


# Other views


def test_the_head_finder_scores_every_head():
    rows = attention(view="find").dataframe[0].value
    maps = eager()[0].double()
    assert len(rows) == maps.shape[0] * maps.shape[1]
    assert rows["previous_token"].is_monotonic_decreasing
    for row in rows.itertuples():
        head = maps[row.layer, row.head]
        assert row.previous_token == pytest.approx(float(head.diagonal(-1).mean()), abs=1e-4)
        assert row.first_token == pytest.approx(float(head[1:, 0].mean()), abs=1e-4)
        assert row.diagonal == pytest.approx(float(head.diagonal().mean()), abs=1e-4)
        entropy = float(torch.special.entr(head).sum(-1).mean())
        assert row.entropy == pytest.approx(entropy, abs=1e-3)


def test_repeated_random_tokens_follow_their_seed():
    tables = [
        attention(view="find", source="repeated", seed=seed).dataframe[0].value for seed in ("3", "3", "4")
    ]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert tables[0]["induction"].between(0, 1).all()


def test_depth_draws_the_four_variants_and_both_distances():
    best, mean = (figures(attention(view="depth", distance=kind)) for kind in ("best", "mean"))
    assert len(best["attention_rank"]["data"]) == len(mean["attention_rank"]["data"]) == 4
    for nearest, other in zip(best["attention_rank"]["data"], mean["attention_rank"]["data"], strict=True):
        assert ((nearest["y"] >= 0) & (nearest["y"] <= other["y"] + 1e-6) & (other["y"] <= 1 + 1e-6)).all()
    heads = best["attention_entropy"]["data"][0]
    expected = torch.special.entr(eager()[0]).sum(-1).mean(-1)
    np.testing.assert_allclose(np.sort(heads["y"]), np.sort(expected.flatten().numpy()), atol=1e-4)


def test_wider_vectors_saturate_softmax_only_without_the_scale():
    drawn = figures(attention(view="scale", width="512"))["attention_largest_weight"]["data"]
    scaled, plain, cosine = (curve["y"] for curve in drawn)
    assert plain[-1] > 0.9 > scaled[-1] > cosine[-1]
    assert plain[-1] > plain[0]


def test_softmax_ignores_a_shift_and_follows_a_factor():
    def edited(**query):
        _plain, after = figures(attention(view="softmax", logits="3, 1, 0.5", **query))[
            "attention_softmax"
        ]["data"]
        return after["y"]

    z = torch.tensor([3.0, 1.0, 0.5])
    np.testing.assert_allclose(edited(shift="5"), z.softmax(-1), atol=1e-6)
    np.testing.assert_allclose(edited(factor="3"), (3 * z).softmax(-1), atol=1e-6)
    np.testing.assert_allclose(edited(times="2"), z.softmax(-1).softmax(-1), atol=1e-6)


def test_sharing_draws_a_line_from_each_query_head():
    for heads, key_heads in ((6, 2), (6, 6), (6, 1), (12, 4)):
        screen = attention(view="sharing", heads=str(heads), key_heads=str(key_heads))
        *links, queries, keys = figures(screen)["attention_sharing"]["data"]
        assert (len(links), len(queries["x"]), len(keys["x"])) == (heads, heads, key_heads)


@pytest.mark.parametrize("family", ["opt", "esm", "gpt2"])
def test_the_scale_before_the_queries_is_named(tmp_path, family):
    """OPT and ESM multiply their queries first; the sentence holds at any temperature."""
    torch.manual_seed(0)
    config = config_of(family)
    auto = AutoModelForMaskedLM if family == "esm" else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    said = captions(attention(network="other", other=str(tmp_path), temperature="2"))
    sentence = "This network multiplies its queries by 1/√d_k before q·k, whose own scale is therefore 1."
    assert (sentence in said) == (family != "gpt2")
