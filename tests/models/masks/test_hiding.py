"""models.masks.hiding and order: against torch's own softmax and attention, and on real networks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from models.masks.hiding import LIBRARIES, eager, flex, fully_masked_row, hide, sdpa
from models.masks.order import TRIALS, OrderTrial, last_token_states, order_distances
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace


def random_scores(rows: int, keys: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(rows, keys, generator=generator)
    visible = torch.rand(rows, keys, generator=generator) < 0.5
    visible[:, 0] = True
    return scores, visible


def random_attention(heads: int, n: int, width: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, heads, n, width, generator=generator)


# Ways to hide


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**31))
def test_infinity_is_what_torch_does_and_hides(rows, keys, seed):
    scores, visible = random_scores(rows, keys, seed)
    weights = hide(scores, visible, "infinity")
    assert_close(weights, scores.masked_fill(~visible, -torch.inf).softmax(-1))
    values = torch.eye(keys)[None]
    attended = F.scaled_dot_product_attention(scores[None], values, values, attn_mask=visible, scale=1.0)
    assert_close(weights, attended[0])
    assert (weights[~visible] == 0).all()


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**31))
def test_a_score_of_zero_hides_nothing(rows, keys, seed):
    scores, visible = random_scores(rows, keys, seed)
    weights = hide(scores, visible, "zero_score")
    assert_close(weights, (scores * visible).softmax(-1))
    assert (weights[~visible] > 0).all()
    assert_close(weights.sum(-1), torch.ones(rows))


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**31), st.floats(0, 100), st.floats(1, 300))
def test_a_finite_score_is_what_torch_does_with_it_and_hides_while_it_lies_far_below(
    rows, keys, seed, lowered, fill
):
    scores, visible = random_scores(rows, keys, seed)
    scores = scores.double() - lowered
    weights = hide(scores, visible, "finite", -fill)
    assert_close(weights, scores.masked_fill(~visible, -fill).softmax(-1))
    gap = scores.masked_fill(~visible, torch.inf).min(-1).values + fill  # visible scores above the fill
    on_hidden = (weights * ~visible).sum(-1)
    hidden = (~visible).sum(-1)
    assert (on_hidden <= hidden * torch.exp(-gap)).all()
    highest = scores.masked_fill(~visible, -torch.inf).max(-1).values + fill
    assert (on_hidden[(highest < -5) & (hidden > 0)] > 0.9).all()  # e⁻⁵ a key, twelve at most


def test_a_heads_scores_below_a_finite_score_give_the_weight_to_hidden_keys():
    """TransformerLens, issue 385: one head of Pythia-70M, the fill of its library at that time."""
    scores = torch.tensor([-110208.0547, -110189.8125, -110206.5234, -110208.4531, -110192.6016, 0, 0, 0])
    visible = torch.arange(8) < 5
    expected = torch.tensor([0, 0.942084, 0, 0, 0.057916, 0, 0, 0])
    assert_close(hide(scores, visible, "infinity"), expected, atol=1e-4, rtol=0)
    assert_close(hide(scores, visible, "finite", -1e5), torch.tensor([0.0] * 5 + [1 / 3] * 3))
    assert_close(hide(scores, visible, "finite", -1e9), expected, atol=1e-4, rtol=0)


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**31))
def test_zeroed_weights_no_longer_sum_to_one_and_depend_on_what_is_hidden(rows, keys, seed):
    scores, visible = random_scores(rows, keys, seed)
    scores = scores.double()  # what is hidden may weigh less than float32 tells from nothing
    weights = hide(scores, visible, "zero_weight")
    assert_close(weights, scores.softmax(-1) * visible)
    assert (weights.sum(-1)[~visible.all(-1)] < 1).all()
    louder = torch.where(visible, scores, scores + 5)  # what a hidden key says still shows
    assert (hide(louder, visible, "zero_weight")[visible] <= weights[visible]).all()
    assert_close(hide(louder, visible, "infinity"), hide(scores, visible, "infinity"))


# Fully masked rows


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_what_each_library_gives_for_a_row_that_sees_nothing(heads, n, seed):
    query, key, value = random_attention(heads, n, 8, seed)
    rows = {row.name: row for row in fully_masked_row(query, key, value, 0.3, row=n - 1)}
    assert {name for name, row in rows.items() if row.outcome == "nan"} == {
        "softmax(−∞)",
        "softmax(finfo.min + finfo.min)",
    }
    assert {name for name, row in rows.items() if row.outcome == "mean"} == {
        "softmax(finfo.min)",
        "torch SDPA, finfo.min",
        "transformers eager",
    }
    assert all(row.outcome == "zero" for name, row in rows.items() if name in ("FlexAttention",))
    assert all(rows[name].outcome == "zero" for name in rows if name.startswith("torch SDPA, bool"))
    assert set(rows) == set(LIBRARIES)


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**31))
def test_where_every_row_sees_something_all_libraries_agree(heads, n, seed):
    query, key, value = random_attention(heads, n, 8, seed)
    visible = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < 0.5
    visible[:, 0] = True
    expected = (query @ key.mT * 0.3).masked_fill(~visible, -torch.inf).softmax(-1) @ value
    for attend in (*LIBRARIES.values(), sdpa(), eager, flex):
        assert_close(attend(query[None], key[None], value[None], visible, 0.3)[0], expected)


# Public cases


@pytest.mark.parametrize("hidden", [-1e5, 0.0, 3.0, -110_189.0], ids=str)
def test_public_case_of_scores_that_lie_below_a_finite_fill(hidden):
    """TransformerLens#385, Pythia-70M, layer 5, head 0: −∞ is right whatever stands on hidden keys."""
    seen = [-110208.0547, -110189.8125, -110206.5234, -110208.4531, -110192.6016]
    scores = torch.tensor([*seen, hidden, hidden, hidden])
    visible = torch.arange(8) < 5
    weights = hide(scores, visible, "infinity")
    # so far from 0 the steps of float32 are 1/128, and the report's scores are rounded to them
    assert_close(weights[:5], torch.tensor([0.0, 0.942084, 0.0, 0.0, 0.057916]), atol=5e-6, rtol=0)
    assert not weights[5:].any()
    assert_close(weights, scores.masked_fill(~visible, -torch.inf).softmax(-1))
    filled = scores.masked_fill(~visible, -1e5).softmax(-1)  # as that library did
    assert_close(filled, torch.tensor([0.0] * 5 + [1 / 3] * 3))


@pytest.mark.parametrize("tokens", [3, 5])
def test_public_case_of_padding_hidden_along_the_wrong_axis(tokens):
    """lsdefine/attention-is-all-you-need-keras#16, pytorch_advanced#175: keys are hidden, not queries."""
    scores = torch.randn(tokens, tokens, generator=torch.Generator().manual_seed(tokens))
    real = torch.arange(tokens) < tokens - 1
    weights = hide(scores, real.expand(tokens, tokens), "infinity")
    assert not weights[:, -1].any()
    assert_close(weights.sum(-1), torch.ones(tokens))
    added = torch.where(real, 0.0, -1e9)[:, None]  # along the queries
    wrong = (scores + added).softmax(-1)
    assert_close(wrong[:-1], scores.softmax(-1)[:-1])
    assert_close(wrong[-1], torch.full((tokens,), 1 / tokens))


# Order without positions


@pytest.mark.parametrize("name", [DEFAULT, "all-MiniLM-L6-v2"])
def test_two_causal_layers_tell_the_order_and_one_does_not(name):
    network = load(name)
    ids = trace(network, passages()[0].excerpt).token_ids
    with_positions, causal, bidirectional = (order_distances(network, ids, 0, trial) for trial in TRIALS)
    assert (bidirectional < 1e-5).all()  # the same set of tokens, the same vector, at every depth
    assert causal[1] < 1e-5  # after one layer: an average over the same keys
    assert (causal[2:] > 1e-5).all()
    assert (with_positions[1:] > 1e-3).all()


def test_the_states_with_positions_are_those_of_the_network():
    network = load(DEFAULT)
    traced = trace(network, passages()[0].excerpt)
    states = last_token_states(network, traced.token_ids, OrderTrial(causal=True, positions=True))
    assert_close(states, traced.hidden[:, -1])
