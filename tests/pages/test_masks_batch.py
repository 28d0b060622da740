"""The masks page's batches: padding, packing and streaming show what the network computes."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, GPT2LMHeadModel

from components.catalogue import lesson
from components.words import LANGUAGES
from models.networks.texts import passages
from tests.models.networks.tiny_networks import gpt2_config, gpt2_tokenizer
from tests.pages.masks_batch_screen import (
    DEFAULTS,
    NETWORK,
    VIEWS,
    ids_of,
    logits_of,
    masks,
    metrics,
    model,
)
from tests.pages.screen import CHECK, figures, live, open_page, said

# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("masks", masks_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("masks", language).title
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)


@pytest.mark.parametrize(
    ("view", "query"),
    [
        ("padding", {}),
        ("padding", {"pad_no_mask": "true", "pad_no_positions": "true", "pad_last_column": "true"}),
        ("packing", {}),
        ("packing", {"pack_no_block": "true", "pack_no_restart": "true", "pack_no_ignore": "true"}),
        ("stream", {}),
        ("stream", {"stream_sinks": "0", "stream_prefill": "1"}),
    ],
)
def test_both_checks_are_made_and_hold_whatever_is_forgotten(view, query):
    screen = masks(view, **query)
    found = [match for caption in screen.caption if (match := CHECK.match(caption.value))]
    assert len(found) == 2
    assert all(float(match.group(1)) <= float(match.group(2)) for match in found)


@pytest.mark.parametrize("difference", [0.5, math.nan])
def test_a_check_that_fails_is_shown_in_red(monkeypatch, difference):
    monkeypatch.setattr("components.panels.masks.padding.largest_difference", lambda *_given: difference)
    (failed,) = masks("padding").error
    assert failed.value.startswith("This check failed.")
    assert f"{difference:.1e}" in failed.value


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = masks(view)
    files = {f"masks_{view}_csv", f"masks_{view}_html"}
    assert {button.key for button in screen.get("download_button")} == files
    assert f"masks_{view}_link" in live(screen)


# Padding


def rows_shown(screen) -> list[dict[str, list[str]]]:
    """For each prompt what its figure writes in the cells, by row."""
    drawn = [figures(screen)[f"masks_pad_row{row}"]["data"][0] for row in (0, 1)]
    return [dict(zip(cells["y"], cells["text"], strict=True)) for cells in drawn]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_batch_is_what_the_tokenizer_pads(side):
    tokenizer = AutoTokenizer.from_pretrained(NETWORK, padding_side=side, pad_token="<|start|>")
    texts = [DEFAULTS["masks_pad_first"], DEFAULTS["masks_pad_second"]]
    expected = tokenizer(texts, padding=True)
    shown = rows_shown(masks("padding", pad_side=side))
    for row, cells in enumerate(shown):
        assert cells["input_ids"] == [str(token) for token in expected["input_ids"][row]]
        assert cells["attention_mask"] == [str(one) for one in expected["attention_mask"][row]]


def test_what_is_forgotten_stands_in_the_rows():
    _first, second = rows_shown(masks("padding", pad_no_mask="true", pad_no_positions="true"))
    assert set(second["attention_mask"]) == {"1"}
    assert second["position_ids"] == [str(column) for column in range(len(second["position_ids"]))]


def test_a_forgotten_mask_changes_logits_on_the_left_only():
    largest = {
        (side, forgotten): metrics(masks("padding", pad_side=side, pad_no_mask=forgotten))[
            "Largest change of a logit"
        ]
        for side in ("left", "right")
        for forgotten in ("false", "true")
    }
    assert largest.pop(("left", "true")) > 0.1
    assert max(largest.values()) < 1e-4


def test_the_last_column_of_a_right_padded_prompt_says_something_else():
    right, wrong = (
        metrics(masks("padding", pad_side="right", pad_last_column=last)) for last in ("false", "true")
    )
    name = "KL of the next token, second prompt"
    assert right[name] < 1e-4
    assert wrong[name] > 0.01
    assert wrong["KL of the next token, first prompt"] < 1e-4  # the longest prompt has no padding


def test_the_next_tokens_alone_are_the_networks_own():
    alone, batched = figures(masks("padding", pad_prompt="1"))["masks_pad_next"]["data"]
    logits = logits_of(ids_of(DEFAULTS["masks_pad_second"]))[-1]
    expected = logits.softmax(-1).topk(len(alone["x"])).values
    np.testing.assert_allclose(alone["x"], expected, atol=1e-5)
    np.testing.assert_allclose(batched["x"], expected, atol=1e-5)


def test_the_table_tells_rotary_from_learned_positions():
    table = masks("padding").dataframe[0].value.set_index("Forgotten").astype(float)
    own_left, _own_right, learned_left, _learned_right = (table[name] for name in table.columns)
    assert own_left["position ids"] < 1e-4 < 0.1 < learned_left["position ids"]
    assert own_left["the mask"] > 0.1
    assert (table.filter(like="right") < 1e-4).all(axis=None)


# Packing


def test_the_packed_loss_is_that_of_transformers_on_separate_rows():
    shown = metrics(masks("packing"))
    total, learned = 0.0, 0
    for line in DEFAULTS["masks_pack_text"].splitlines():
        prompt, answer = line.split(" => ")
        given = ids_of(prompt)
        answered = ids_of(f" {answer}", add_special_tokens=False)
        labels = torch.tensor([[-100] * len(given) + answered])
        with torch.no_grad():
            loss = model()(torch.tensor([given + answered]), labels=labels).loss
        total, learned = total + float(loss) * len(answered), learned + len(answered)
    assert shown["Loss in rows of their own"] == pytest.approx(total / learned, abs=2e-5)
    assert shown["Loss of the packed row"] == pytest.approx(total / learned, abs=2e-5)
    assert abs(shown["Difference (nats per token)"]) < 1e-5


def test_the_mask_of_a_packed_row_leaks_only_when_forgotten():
    for forgotten in (False, True):
        drawn = figures(masks("packing", pack_no_block=str(forgotten).lower()))["masks_pack_mask"]
        cells = drawn["data"][0]["z"]
        assert bool((cells == 1).any()) == forgotten  # 1 is read from another conversation
        assert np.isnan(cells[np.triu_indices_from(cells, 1)]).all()
        assert len(drawn["layout"]["shapes"]) == 3


def test_learned_tokens_are_marked_where_they_have_a_loss():
    for forgotten in ("false", "true"):
        drawn = figures(masks("packing", pack_no_ignore=forgotten))
        learned = drawn["masks_pack_rows"]["data"][0]["text"][2]
        losses = drawn["masks_pack_losses"]["data"][1]["y"]
        assert [mark == "✓" for mark in learned] == np.isfinite(losses).tolist()
        assert learned[0] == "·"


def test_each_switch_costs_what_the_table_says():
    table = masks("packing").dataframe[0].value
    cases = ({}, {"pack_no_block": "true"}, {"pack_no_restart": "true"},
             {"pack_no_block": "true", "pack_no_restart": "true"}, {"pack_no_ignore": "true"},
             {"pack_average": "documents"})  # fmt: skip
    for row, query in zip(table.itertuples(index=False), cases, strict=True):
        assert metrics(masks("packing", **query))["Loss of the packed row"] == float(row[1])
    loss = table["Loss"].astype(float).tolist()
    assert loss[1] - loss[0] > 0.1
    assert loss[2] == pytest.approx(loss[0], abs=2e-5)  # rotary: where the count begins is all the same


# Streaming


def test_all_keys_kept_is_the_networks_own_loss():
    screen = masks("stream")
    text = passages()[0].text
    ids = ids_of(text)[:96]
    losses = cross_entropy(logits_of(ids)[:-1], torch.tensor(ids[1:]), reduction="none")
    # the cache is full with 8 + 4 keys: the means leave out the places before
    assert metrics(screen)["all keys kept"] == pytest.approx(float(losses[12:].mean()), abs=2e-3)
    whole = figures(screen)["masks_stream_losses"]["data"][0]
    np.testing.assert_allclose(whole["y"][63], losses[:64].mean(), atol=1e-4)


def test_decoded_points_lie_on_the_line():
    line, points = figures(masks("stream", stream_positions="cache"))["masks_stream_decoded"]["data"]
    assert list(points["x"]) == list(range(64, 96))
    full = dict(zip(line["x"], line["y"], strict=True))
    np.testing.assert_allclose(points["y"], [full[x] for x in points["x"]], atol=1e-4)


def test_without_sinks_both_windows_are_one_and_a_wide_window_keeps_everything():
    _all, window, both = figures(masks("stream", stream_sinks="0"))["masks_stream_losses"]["data"]
    np.testing.assert_array_equal(window["y"], both["y"])
    everything, window, both = figures(masks("stream", stream_window="512"))["masks_stream_losses"]["data"]
    np.testing.assert_allclose(window["y"], everything["y"], atol=1e-4)
    np.testing.assert_allclose(both["y"], everything["y"], atol=1e-4)


def test_the_picture_holds_the_window_and_the_sinks():
    cells = figures(masks("stream", stream_sinks="2"))["masks_stream_shape"]["data"][0]["z"]
    assert (~np.isnan(cells)).sum(1).max() == 8 + 2
    assert (cells == 1).any(0).sum() == 2


def test_the_typed_text_is_streamed_where_it_is_asked_for():
    typed = "Margery rowed out to the bell on the rock before the tide turned."
    screen = masks("stream", stream_source="text", text=typed)
    count = len(ids_of(typed))
    assert any(caption.value == f"The text has only {count} tokens." for caption in screen.caption)
    assert len(figures(screen)["masks_stream_losses"]["data"][0]["y"]) == count - 1


# What people type


@pytest.mark.parametrize(
    ("view", "typed", "sentence"),
    [
        ("padding", {"pad_second": " "}, "The text is empty; type at least one word."),
        ("packing", {"pack_text": "no border"}, "Line 1 is not of the form “prompt => answer”."),
        ("packing", {"pack_text": ""}, "There are 0 conversations; from 1 to 8 are accepted"),
        ("packing", {"pack_text": "a => " + "b " * 300}, "The conversations have"),
        ("stream", {"stream_source": "text", "text": "Bell"}, "The text has"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_gets_one_sentence_and_stays(view, typed, sentence):
    screen = masks(view, **typed)
    assert not screen.exception
    (shown,) = said(screen)
    assert shown.startswith(sentence)
    fields = [field.value for field in (*screen.text_input, *screen.text_area)]
    assert typed.get("pad_second", typed.get("pack_text", typed.get("text"))) in fields


def test_a_long_prompt_is_cut_and_the_page_says_so():
    screen = masks("padding", pad_first="lamp and rope " * 40)
    assert said(screen) == []
    assert any(caption.value.startswith("The first 48 of ") for caption in screen.caption)


@pytest.mark.parametrize("view", VIEWS)
def test_an_encoder_is_refused_by_name(view):
    (sentence,) = said(masks(view, network="all-MiniLM-L6-v2"))
    assert sentence.startswith("all-MiniLM-L6-v2 is an encoder")


@pytest.fixture
def gpt2(tmp_path) -> str:
    """A tiny random GPT-2 in a folder: learned positions, 64 of them, and no start token."""
    torch.manual_seed(0)
    GPT2LMHeadModel(gpt2_config()).save_pretrained(tmp_path)
    gpt2_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("view", VIEWS)
def test_a_network_with_learned_positions_is_shown_too(view, gpt2):
    texts = {"pack_text": "a => b\nthe bell => rang", "stream_tokens": "60", "stream_prefill": "40"}
    screen = masks(view, network="other", other=gpt2, **texts)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


def test_forgotten_position_ids_matter_to_learned_positions(gpt2):
    screen = masks("padding", network="other", other=gpt2, pad_no_positions="true")
    assert metrics(screen)["Largest change of a logit"] > 0.1


def test_positions_within_the_cache_are_refused_once_where_keys_cannot_be_turned(gpt2):
    screen = masks("stream", network="other", other=gpt2, stream_positions="cache", stream_tokens="40")
    (sentence,) = said(screen)
    assert "need rotary positions" in sentence


@pytest.mark.parametrize(
    "query",
    [
        {"view": "padding", "pad_side": "up", "pad_no_mask": "perhaps", "pad_prompt": "9"},
        {"view": "packing", "pack_average": "median", "pack_no_block": "1"},
        {"view": "stream", "stream_window": "nan", "stream_sinks": "-4", "stream_prefill": "1e9"},
        {"view": "stream", "stream_window": "0", "stream_tokens": "-5", "stream_positions": "here"},
    ],
)
def test_bad_values_in_the_address_open_a_page_that_works(query):
    screen = masks(**query)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[query["view"]]


def test_what_was_typed_and_switched_outlives_a_change_of_view():
    screen = masks("padding", pad_first="The tide turned.", pad_no_mask="true")
    for view in ("packing", "padding"):
        screen.session_state["masks_view"] = view
        screen.run()
    assert screen.text_input[0].value == "The tide turned."
    assert screen.toggle[0].value is True
