"""One head's numbers at each stage, against the trace and torch's own attention."""

from dataclasses import replace

import pytest
import torch

from models.attention.head_finder import score_repeats, score_text
from models.attention.head_view import (
    STAGES,
    difference_from_module,
    difference_from_sdpa,
    head_view,
    rounding_of_attention,
    strongest_cell,
)
from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import trace, trace_ids
from models.networks.windows import repeated_tokens

TEXT = "Captain Pell gave the lamp to Margery Ashdown, and Margery Ashdown set it down."


@pytest.fixture(scope="module")
def traced():
    return trace(load(DEFAULT), TEXT)


@pytest.mark.parametrize("layer", range(4))
def test_stages_follow_from_one_another(traced, layer):
    """Oracle: torch's softmax, and a causal mask built by torch.tril."""
    causal = torch.ones(traced.tokens_shown, traced.tokens_shown).tril().bool()
    scale = traced.layers[layer].query.shape[-1] ** -0.5
    for head in range(6):
        views = {stage: head_view(traced, layer, head, stage).values for stage in STAGES}
        torch.testing.assert_close(views["scaled"], views["raw"] * scale)
        assert torch.equal(views["masked"].isnan(), ~causal)
        expected = views["scaled"].masked_fill(~causal, -torch.inf).softmax(-1)
        torch.testing.assert_close(views["softmax"].nan_to_num(), expected, rtol=1e-4, atol=1e-6)
        assert (views["contribution"][causal] >= 0).all()


def test_hiding_the_sink_takes_out_the_first_key_and_renormalises(traced):
    whole = head_view(traced, 1, 2, "softmax").values.nan_to_num()
    without = head_view(traced, 1, 2, "softmax", without_sink=True).values
    assert without[:, 0].isnan().all()
    rows = without.nan_to_num()[1:]
    expected = whole[1:, 1:] / whole[1:, 1:].sum(-1, keepdim=True)
    torch.testing.assert_close(rows[:, 1:], expected)


@pytest.mark.parametrize(
    "change",
    [Intervention(), Intervention(temperature=3.0), Intervention(silenced=frozenset({(0, 1), (2, 5)}))],
)
def test_checks_hold_under_interventions(change):
    traced = trace(load(DEFAULT), TEXT, change)
    for index, record in enumerate(traced.layers):
        silenced = frozenset(head for layer, head in change.silenced if layer == index)
        assert difference_from_sdpa(record, silenced) < 1e-5
        assert difference_from_module(record) < 1e-5


def test_a_silenced_head_that_is_not_declared_shows_as_a_difference():
    traced = trace(load(DEFAULT), TEXT, Intervention(silenced=frozenset({(0, 1)})))
    assert difference_from_sdpa(traced.layers[0]) > 1e-3


def test_soft_caps_have_no_counterpart_in_sdpa(traced):
    with pytest.raises(InputError, match="soft cap"):
        difference_from_sdpa(replace(traced.layers[0], softcap=50.0))


def test_strongest_cell_is_in_the_last_row(traced):
    query, key = strongest_cell(traced, 3, 1)
    row = traced.layers[3].probabilities[1, -1]
    assert query == traced.tokens_shown - 1
    assert row[key] == row.max()


def test_score_repeats_equals_a_loop_over_the_copies():
    """Oracle: the definition, written as loops."""
    network = load(DEFAULT)
    period, copies, seed = 10, 3, 5
    special = network.tokenizer.all_special_ids
    vocabulary = [token for token in range(network.vocabulary) if token not in special]
    start = network.tokenizer.bos_token_id
    tokens = repeated_tokens(vocabulary, period, copies, start, seed)
    layers = trace_ids(network, torch.tensor(tokens)).layers
    found = score_repeats(network, period, copies, seed)
    for layer, record in enumerate(layers):
        for head in range(network.heads):
            weights = record.probabilities[head]
            targets = [weights[i, i - period + 1] for i in range(1 + period, len(tokens))]
            assert found.induction[layer, head] == pytest.approx(
                float(torch.stack(targets).mean()), abs=1e-5
            )


def test_score_text_scores_this_text(traced):
    found = score_text(traced)
    weights = traced.layers[1].probabilities
    expected = weights.diagonal(-1, 1, 2).mean(-1)
    torch.testing.assert_close(found.scores.previous_token[1], expected)
    assert torch.equal(found.induction, found.scores.induction)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0, 20.0])
def test_rounding_covers_the_distance_from_float64(temperature):
    """Oracle: torch's attention in float64, on the same queries, keys and values."""
    traced = trace(load(DEFAULT), TEXT, Intervention(temperature=temperature))
    for record in traced.layers:
        keys = record.key_of_head
        exact = torch.nn.functional.scaled_dot_product_attention(
            record.query.double(),
            record.key[keys].double(),
            record.value[keys].double(),
            attn_mask=record.visible,
            scale=record.scale,
        )
        allowed = rounding_of_attention(record)
        assert (record.head_output - exact).abs().max() <= allowed
        assert difference_from_sdpa(record) <= allowed
        assert allowed < 1e-3
