"""The context page: what it shows is what transformers computes, and long work comes step by step."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from components.catalogue import lesson
from components.words import LANGUAGES
from models.context.long_context import PASSAGES, passage_tokens
from models.networks.catalogue import DEFAULT, EMBEDDED
from tests.pages.context_screen import VIEWS, context, settled, stopped
from tests.pages.screen import CHECK, figures, live, said

YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 8.0, "original_max_position_embeddings": 256}


def checks_hold(screen) -> int:
    found = [match for caption in screen.caption if (match := CHECK.match(caption.value))]
    assert all(float(match.group(1)) <= float(match.group(2)) for match in found)
    return len(found)


def data_of(screen, key: str) -> dict[str, dict]:
    return {trace["name"]: trace for trace in figures(screen)[key]["data"]}


# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = stopped(context(view=view, length="512", lang=language))
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    assert screen.radio[0].options == [item.title for item in lesson("context", "en").questions]


# Frequencies


def test_the_wavelengths_are_those_of_transformers():
    drawn = data_of(context(view="frequencies"), "context_wavelengths")
    config = LlamaConfig(head_dim=32, max_position_embeddings=2_048, rope_parameters=dict(YARN))
    expected, _factor = ROPE_INIT_FUNCTIONS["yarn"](config, torch.device("cpu"))
    np.testing.assert_allclose(drawn["YaRN"]["y"], (2 * np.pi / expected).numpy(), rtol=1e-5)
    own = 2 * np.pi * 10_000 ** (np.arange(16) / 16)
    np.testing.assert_allclose(drawn["unscaled"]["y"], own, rtol=1e-4)
    open_markers = [symbol.endswith("open") for symbol in drawn["unscaled"]["marker"]["symbol"]]
    assert open_markers == (own > 255).tolist()


def test_every_method_is_drawn_and_checked():
    screen = context(view="frequencies", method="ntk", factor="4", base="500000", width="64")
    curves = data_of(screen, "context_ratios")
    assert len(curves) == 8
    assert (curves["PI (linear)"]["y"] == 0.25).all()
    assert curves["NTK-aware"]["y"][-1] == pytest.approx(0.25, rel=1e-4)
    assert checks_hold(screen) == 1


@pytest.mark.parametrize("method", ["linear", "ntk", "dynamic", "yarn", "llama3", "longrope", "truncated"])
def test_the_arithmetic_ends_in_the_drawn_wavelength(method):
    screen = context(view="frequencies", method=method, pair="5")
    drawn = figures(screen)["context_wavelengths"]["data"][1]["customdata"][5]
    shown = re.findall(r"2\\pi/\\theta'&=\\text\{([\d.,]+)\}", screen.latex[0].value)
    assert float(shown[0].replace(",", "")) == pytest.approx(float(drawn), abs=0.06)
    compared = method in ("dynamic", "yarn", "llama3", "longrope")
    assert any("Paper" in frame.value.columns for frame in screen.dataframe) == compared


def test_paper_and_library_of_dynamic_ntk_show_both_numbers():
    screen = context(view="frequencies", method="dynamic")
    row = screen.dataframe[0].value.iloc[0]
    assert (row["Paper"], row["transformers"]) == ("8", "57")


def test_the_factor_moves_the_curves():
    screen = context(view="frequencies")
    before = data_of(screen, "context_wavelengths")["YaRN"]["y"]
    screen.session_state["context_factor"] = 2.0
    screen.run()
    after = data_of(screen, "context_wavelengths")["YaRN"]["y"]
    assert (after <= before + 1e-3).all()
    assert after[-1] == pytest.approx(before[-1] / 4, rel=1e-4)


# Loss


def test_losses_are_those_of_the_network_that_transformers_builds():
    screen = settled(context(view="loss", length="512"))
    assert said(screen) == []
    drawn = data_of(screen, "context_losses")
    model = AutoModelForCausalLM.from_pretrained(
        EMBEDDED / DEFAULT, rope_parameters=dict(YARN), max_position_embeddings=2_048
    ).eval()
    losses = []
    for name in PASSAGES:
        tokens = passage_tokens(DEFAULT, name, 512)
        with torch.no_grad():
            logits = model(tokens[None]).logits[0]
        losses.append(cross_entropy(logits[:-1], tokens[1:], reduction="none"))
    expected = torch.stack(losses)
    edges = np.linspace(0, 511, 17).round().astype(int)
    curve = [expected[:, low:high].mean().item() for low, high in pairwise(edges)]
    np.testing.assert_allclose(drawn["YaRN"]["y"], curve, atol=2e-3)
    assert len(drawn) == 8 + 1  # and the band of the chosen method
    rows = screen.dataframe[0].value.set_index("method")
    assert rows.loc["YaRN", "257–512"] == pytest.approx(float(expected[:, 256:].mean()), abs=2e-3)
    assert checks_hold(screen) == 1


def test_windows_are_compared_with_each_other():
    screen = settled(context(view="loss", length="512", family="reach", method="window", window="64"))
    assert said(screen) == []
    assert len(screen.dataframe[0].value) == 5
    assert checks_hold(screen) == 1


def test_long_work_shows_its_progress_and_stops_when_a_control_moves():
    screen = context(view="loss", length="2048", factor="7.31")
    job = screen.session_state["context_loss_job"]
    assert not job.finished
    assert [button.label for button in screen.button if button.label == "Stop"]
    screen.session_state["context_factor"] = 1.23
    screen.run()
    assert job.stopped
    other = screen.session_state["context_loss_job"]
    assert other is not job
    stopped(screen)
    assert job.wait(60)
    assert other.wait(60)
    assert len(other.results) < other.total
    screen.run()
    assert "Stopped." in screen.info[0].value
    assert not screen.exception


def test_a_job_that_fails_says_so_on_the_page(monkeypatch):
    def fails(*_arguments):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("components.panels.context.loss.loss_by_position", fails)
    screen = settled(context(view="loss", length="512", factor="5.55"))
    assert screen.exception


# One head


def test_the_map_and_the_shares_are_those_of_eager_attention():
    screen = context(view="distance", length="512", layer="1", head="3", passage="ferry")
    model = AutoModelForCausalLM.from_pretrained(
        EMBEDDED / DEFAULT, attn_implementation="eager", rope_parameters=dict(YARN),
        max_position_embeddings=2_048,
    ).eval()  # fmt: skip
    tokens = passage_tokens(DEFAULT, "ferry", 512)
    with torch.no_grad():
        weights = model(tokens[None], output_attentions=True).attentions[1][0, 3].numpy()
    drawn = figures(screen)["context_map"]["data"][0]["z"]
    squares = weights.reshape(128, 4, 128, 4).max((1, 3))
    lower = np.tril_indices(128)
    np.testing.assert_allclose(drawn[lower], np.log10(np.maximum(squares, 1e-4))[lower], atol=1e-2)
    share = data_of(screen, "context_shares")["YaRN"]["y"]
    assert share.sum() == pytest.approx(1, abs=1e-4)
    own = np.mean([weights[query, query] for query in range(256, 512)])
    assert share[0] == pytest.approx(own, abs=1e-4)
    assert checks_hold(screen) == 1


def test_the_score_of_one_pair_follows_the_factor():
    screen = context(view="distance", length="512")
    before = data_of(screen, "context_score")
    screen.session_state["context_factor"] = 2.0
    screen.run()
    after = data_of(screen, "context_score")
    np.testing.assert_array_equal(before["unscaled"]["y"], after["unscaled"]["y"])
    assert np.abs(before["YaRN"]["y"] - after["YaRN"]["y"]).max() > 0.1


# Needles


def test_needles_are_found_near_and_luck_is_measured():
    screen = settled(context(view="needle", length="512", trials="8"))
    assert said(screen) == []
    own, scaled = (figures(screen)[f"context_needles_{name}"]["data"][0]["z"] for name in ("own", "scaled"))
    assert own.shape == scaled.shape == (5, 3)
    assert scaled[:, 2].mean() > own[:, 2].mean() + 0.3
    rows = screen.dataframe[0].value
    assert list(rows["Length"]) == ["128", "256", "512"]
    assert all(text.startswith("0.0") for text in rows["measured without needles"])
    assert checks_hold(screen) == 1


def test_the_metric_changes_the_picture_and_measures_nothing_anew():
    screen = settled(context(view="needle", length="512", trials="8"))
    job = screen.session_state["context_needle_job"]
    screen.session_state["context_metric"] = "best_of_values"
    screen.run()
    assert screen.session_state["context_needle_job"] is job
    assert list(screen.dataframe[0].value["pure chance"]) == ["0.2000"] * 3


# Pasted configs


def paste(screen, config: object) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    screen.text_area[0].set_value(text).run()


def test_a_pasted_config_is_read_field_by_field():
    screen = context(view="config")
    paste(screen, {
        "model_type": "llama", "hidden_size": 64, "num_attention_heads": 2,
        "rope_scaling": {"type": "linear", "factor": 4.0, "beta_fast": 3, "fector": 1},
    })  # fmt: skip
    rows = screen.dataframe[0].value.set_index("Field")
    assert rows.loc["rope_scaling.factor", "Read"] == "yes"
    assert rows.loc["rope_scaling.beta_fast", "Read"] == "no"
    assert rows.loc["rope_scaling.fector", "Read"] == "unknown"
    assert any("rope_scaling.fector" in info.value for info in screen.info)
    assert checks_hold(screen) == 1
    scaled = figures(screen)["context_config_wavelengths"]["data"][1]["y"]
    assert scaled[0] == pytest.approx(8 * np.pi, rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "no json", "[]", " ", '{"model_type": "bert"}', '{"model_type": "gpt2"}', "{",
        '{"model_type": "llama", "rope_theta": -1}',
        '{"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 0.5}}',
        '{"model_type": "llama", "max_position_embeddings": 99999999999}',
        '{"model_type": "llama", "head_dim": 31}',
        '{"model_type": "llama", "hidden_size": 5, "num_attention_heads": 5}',
    ],
)  # fmt: skip
def test_what_is_no_rotary_config_gets_one_sentence_and_stays(text):
    screen = context(view="config")
    paste(screen, text)
    assert not screen.exception
    (sentence,) = said(screen)
    assert sentence.endswith(".")
    assert screen.text_area[0].value.strip() == text.strip()
    paste(screen, {"model_type": "llama"})
    assert said(screen) == []


def test_a_multimodal_config_offers_its_text_part():
    screen = context(view="config", example="multimodal")
    (sentence,) = said(screen)
    assert "text_config" in sentence
    screen.session_state["context_part"] = "text_config"
    screen.run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["config"]


@pytest.mark.parametrize("example", ["llama-3.1", "qwen2.5-yarn", "deepseek-v3", "gemma-3", "pythia"])
def test_every_example_is_read_and_checked(example):
    screen = context(view="config", example=example)
    assert not screen.exception
    assert all("Unknown" not in sentence for sentence in said(screen))
    assert checks_hold(screen) == 1


# Addresses with values that cannot be


@pytest.mark.parametrize(
    "query",
    [
        {"view": "nowhere", "length": "abc"},
        {"view": "frequencies", "width": "31", "base": "-5", "factor": "0"},
        {"view": "frequencies", "width": "3", "trained": "0", "pair": "999"},
        {"view": "frequencies", "base": "nan", "factor": "inf", "method": "mystery"},
        {"view": "distance", "layer": "99", "head": "-1", "length": "7", "passage": "teahouse"},
        {"view": "needle", "trials": "100000", "seed": "-5", "length": "1e9", "metric": "luck"},
        {"view": "config", "example": "nobody", "part": "text_config", "layers": "x"},
    ],
)
def test_bad_values_in_the_address_open_a_page_that_works(query):
    screen = stopped(context(**query))
    assert not screen.exception
    assert len(said(screen)) <= 1
