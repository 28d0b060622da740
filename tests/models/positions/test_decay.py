"""models.positions.decay against scores that are computed pair by pair."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from models.positions.decay import (
    in_phase,
    mean_by_distance,
    mean_cosine_at_distances,
    roformer_bound,
    unit,
)
from models.rotary.rope import LAYOUTS, frequencies, rotate, rotation

pairs = st.integers(1, 16)
bases = st.floats(10, 1e6)
seeds = st.integers(0, 2**31)
DISTANCES = torch.arange(40)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(pairs, bases, st.sampled_from(LAYOUTS))
def test_in_phase_is_the_cosine_of_a_vector_of_ones_with_itself_turned(pairs, base, layout):
    frequency, ones = frequencies(2 * pairs, base), torch.ones(40, 2 * pairs)
    turned = rotate(ones, rotation(DISTANCES, frequency, layout))
    assert_close(in_phase(DISTANCES, frequency), cosine_similarity(turned, ones), atol=1e-5, rtol=1e-5)


@given(pairs, bases)
def test_the_bound_is_roformers_sum_in_numpy_and_holds(pairs, base):
    frequency = frequencies(2 * pairs, base)
    sums = np.abs(np.cumsum(np.exp(1j * np.outer(np.arange(40), frequency.double().numpy())), axis=1))
    expected = sums.mean(axis=1) / sums[0].mean()
    bound = roformer_bound(DISTANCES, frequency)
    np.testing.assert_allclose(bound.numpy(), expected, atol=1e-5)
    assert bound.max() <= 1 + 1e-6


@given(st.integers(2, 9), pairs, st.integers(0, 5), bases, st.sampled_from(LAYOUTS), seeds)
def test_the_mean_at_a_distance_is_that_of_all_visible_pairs_placed_there(
    tokens, pairs, beyond, base, layout, seed
):
    query, key = (random(tokens, 2 * pairs + beyond, seed=seed + index) for index in (0, 1))
    visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    frequency = frequencies(2 * pairs, base)
    found = mean_cosine_at_distances(query, key, visible, DISTANCES, frequency, layout)
    for distance in (0, 1, 17, 39):
        far = rotate(query, rotation(torch.full((tokens,), distance), frequency, layout))
        cosines = cosine_similarity(far[:, None], key[None], dim=-1)
        assert_close(found[distance], cosines[visible].mean(), atol=1e-4, rtol=1e-4)


@given(st.integers(1, 12), st.integers(1, 12), seeds)
def test_means_by_distance_are_means_of_diagonals(queries, keys, seed):
    scores = random(queries, keys, seed=seed)
    visible = random(queries, keys, seed=seed + 1) > -0.5
    found = mean_by_distance(scores, visible)
    for distance in range(queries):
        seen = np.diagonal(visible.numpy(), -distance)
        diagonal = np.diagonal(scores.numpy(), -distance)[seen]
        if len(diagonal):
            np.testing.assert_allclose(found[distance], diagonal.mean(), atol=1e-5)
        else:
            assert found[distance].isnan()


def test_unit_vectors_have_length_one_and_zeros_stay():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert_close(unit(x), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
