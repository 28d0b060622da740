"""models.positions.absolute against transformers' sinusoidal encodings and NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from models.errors import InputError
from models.positions.absolute import (
    added_scores,
    cosines_with,
    nearly_constant,
    principal_components,
    rows,
    scaled_like,
    sinusoidal,
)
from models.positions.decay import in_phase
from models.rotary.rope import frequencies, turns

seeds = st.integers(0, 2**31)
lengths = st.integers(1, 300)
pairs = st.integers(1, 40)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestSinusoidal:
    @given(lengths, pairs)
    def test_alternating_is_distilberts(self, length, pairs):
        theirs = torch.empty(length, 2 * pairs)
        create_sinusoidal_embeddings(length, 2 * pairs, theirs)
        assert_close(
            sinusoidal(length, 2 * pairs), theirs, atol=5e-5, rtol=0
        )  # angles up to 300 in float32

    @given(lengths, pairs)
    def test_in_halves_is_marians(self, length, pairs):
        theirs = MarianSinusoidalPositionalEmbedding(length, 2 * pairs).create_weight()
        assert_close(sinusoidal(length, 2 * pairs, layout="half"), theirs, atol=5e-5, rtol=0)

    @given(st.integers(2, 200), pairs, st.floats(10, 1e6), st.data())
    def test_inner_products_depend_on_the_distance_alone_and_are_symmetric(self, length, pairs, base, data):
        position = data.draw(st.integers(0, length - 1))
        cosines = cosines_with(sinusoidal(length, 2 * pairs, base), position)
        distance = (torch.arange(length) - position).abs()
        assert_close(cosines, in_phase(distance, frequencies(2 * pairs, base)), atol=1e-4, rtol=0)

    @given(st.integers(2, 400), pairs)
    def test_nearly_constant_dimensions_are_nearly_0_and_1(self, length, pairs):
        frequency = frequencies(2 * pairs, 10_000.0)
        still = nearly_constant(turns(length, frequency))
        table = sinusoidal(length, 2 * pairs, layout="half")
        assert (table[:, :pairs][:, still].abs() < 0.39).all()  # sin of a sixteenth of a turn
        assert (table[:, pairs:][:, still] > 0.92).all()
        assert (still.int().diff() >= 0).all()  # high dimensions, never low ones

    @pytest.mark.parametrize("length", [-1, 0, 65_537])
    def test_other_lengths_are_refused(self, length):
        with pytest.raises(InputError, match=f"{length} positions are not accepted"):
            sinusoidal(length, 8)

    def test_an_odd_width_is_refused(self):
        with pytest.raises(InputError, match="7 dimensions cannot be paired"):
            sinusoidal(8, 7)


class TestTables:
    @given(st.integers(1, 20), st.integers(1, 20), seeds, st.data())
    def test_cosines_are_torchs(self, length, width, seed, data):
        table, position = random(length, width, seed=seed), data.draw(st.integers(0, length - 1))
        expected = cosine_similarity(table, table[position][None])
        assert_close(cosines_with(table, position), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("position", [-1, 4])
    def test_positions_outside_are_refused(self, position):
        with pytest.raises(InputError, match=f"no position {position}; the table ends at 3"):
            cosines_with(torch.ones(4, 2), position)

    def test_a_table_has_an_end(self):
        table = random(5, 3, seed=0)
        assert torch.equal(rows(table, 3), table[:3])
        for length in (0, 6):
            with pytest.raises(InputError, match=f"{length} positions are not in a learned table of 5"):
                rows(table, length)

    @given(st.integers(1, 12), st.integers(1, 12), seeds, st.data())
    def test_principal_components_keep_inner_products_as_numpys_best_matrix(
        self, length, width, seed, data
    ):
        table = random(length, width, seed=seed)
        kept = data.draw(st.integers(1, min(length, width)))
        components = principal_components(table, kept)
        centred = (table - table.mean(0)).double().numpy()
        u, s, vh = np.linalg.svd(centred, full_matrices=False)
        nearest = (u[:, :kept] * s[:kept]) @ vh[:kept]
        ours = (components @ components.T).numpy()
        np.testing.assert_allclose(ours, nearest @ nearest.T, atol=1e-3)

    @pytest.mark.parametrize("width", [0, 4])
    def test_other_numbers_of_components_are_refused(self, width):
        with pytest.raises(InputError, match="components are not accepted; 1 to 3 are"):
            principal_components(torch.ones(5, 3), width)

    @given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 4), seeds)
    def test_strength_is_a_ratio_of_lengths(self, length, width, strength, seed):
        vectors = 3 * random(length, width, seed=seed)
        scaled = scaled_like(random(9, width, seed=seed + 1), vectors, strength)
        wanted = strength * vectors.square().sum(-1).mean().sqrt()
        assert_close(scaled.square().sum(-1).mean().sqrt(), wanted, atol=1e-4, rtol=1e-4)

    def test_a_negative_strength_is_refused(self):
        with pytest.raises(InputError, match="strength of -1"):
            scaled_like(torch.ones(2, 2), torch.ones(2, 2), -1.0)

    @given(st.integers(1, 9), st.integers(1, 9), seeds)
    def test_added_parts_sum_to_the_score_of_the_sums(self, tokens, width, seed):
        query, key, table = (random(tokens + (index == 2), width, seed=seed + index) for index in range(3))
        scores = added_scores(query, key, table)
        expected = (query + table[:tokens]) @ (key + table[:tokens]).T
        assert_close(scores.total, expected, atol=1e-4, rtol=1e-4)
        assert_close(scores.content, query @ key.T)


def test_position_1_in_four_dimensions():
    """SamLynnEvans/Transformer#25, DeepCTR#379: with "2i" in steps of two .841471, .999950, .000100, 1."""
    expected = torch.tensor([0.841471, 0.540302, 0.010000, 0.999950])
    assert_close(sinusoidal(2, 4)[1], expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("width", [2, 10, 64])
def test_both_orders_have_the_same_inner_products(width):
    """multidim-positional-encoding#20, allennlp#2993, tensorflow#37191: only columns change places."""
    paper, halves = sinusoidal(50, width), sinusoidal(50, width, layout="half")
    assert_close(paper @ paper.T, halves @ halves.T, atol=1e-4, rtol=1e-5)
    assert paper[0].tolist() == [0.0, 1.0] * (width // 2)
    assert halves[0].tolist() == [0.0] * (width // 2) + [1.0] * (width // 2)
    assert (width == 2) == torch.equal(paper[7], halves[7])
