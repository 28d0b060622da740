"""models.positions.shuffling on real networks: exactly equivariant where it should be, and nowhere else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.networks.loading import load
from models.networks.tracing import trace
from models.positions.shuffling import relative_change, shuffle, shuffled

TEXT = "The keeper lit the lamp, and the keeper slept until the bell rang."


@pytest.fixture(scope="module")
def network():
    return load("loupe-llama")


@pytest.mark.parametrize("seed", range(3))
def test_only_without_positions_and_without_a_causal_mask_are_the_vectors_the_same(network, seed):
    ids = trace(network, TEXT).token_ids
    for positions in (True, False):
        for causal in (True, False):
            found = shuffle(network, ids, seed, positions, causal)
            if positions or causal:
                assert found.change[1:].min() > 0.01
            else:
                assert found.change.max() < 1e-5
            assert found.change[0] == 0  # token embeddings alone know no order


def test_weights_put_back_belong_to_the_same_tokens(network):
    ids = trace(network, TEXT).token_ids
    found = shuffle(network, ids, 5, positions=False, causal=False)
    assert torch.equal(found.mixed.token_ids, ids[found.order])
    for before, after in zip(found.plain.layers, found.mixed.layers, strict=True):
        assert_close(found.put_back(after.probabilities[2]), before.probabilities[2], atol=1e-4, rtol=1e-3)


def test_the_plain_pass_with_positions_and_mask_is_the_networks_own(network):
    own = trace(network, TEXT)
    found = shuffle(network, own.token_ids, 0, positions=True, causal=True)
    assert torch.equal(found.plain.logits, own.logits)


@given(st.integers(1, 50), st.integers(0, 2**31))
def test_is_an_order_of_all_tokens_and_the_same_for_its_seed(tokens, seed):
    order = shuffled(tokens, seed)
    assert order.sort().values.tolist() == list(range(tokens))
    assert torch.equal(order, shuffled(tokens, seed))


def test_change_is_relative_to_what_was():
    before = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]]])
    after = torch.tensor([[[3.0, 4.0]], [[1.0, 0.5]]])
    assert_close(relative_change(before, after), torch.tensor([0.0, 0.5]))
