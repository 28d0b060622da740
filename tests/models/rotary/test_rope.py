"""models.rotary.rope against transformers' own rotary embeddings, and by its properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import CohereConfig, GPTJConfig, GPTNeoXConfig, LlamaConfig
from transformers.models.cohere import modeling_cohere as cohere
from transformers.models.gpt_neox import modeling_gpt_neox as neox
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama

from models.errors import InputError
from models.rotary.rope import (
    LAYOUTS,
    curve,
    frequencies,
    from_pairs,
    pair_products,
    relayout,
    rotate,
    rotation,
    rotation_matrix,
    score_at_distances,
    scores_after_conversion,
    scores_by_pair,
    to_pairs,
    turns,
    wavelengths,
)

pairs = st.integers(1, 24)
tokens = st.integers(1, 12)
bases = st.floats(2, 1e6)
seeds = st.integers(0, 2**31)
layouts = st.sampled_from(LAYOUTS)


def random(*shape, seed, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_positions(count, seed):
    return torch.randint(0, 300, (count,), generator=torch.Generator().manual_seed(seed))


def llama_config(width, base):
    return LlamaConfig(
        hidden_size=4 * width,
        num_attention_heads=4,
        head_dim=width,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )


class TestFrequencies:
    @given(pairs, bases)
    def test_are_llamas(self, pairs, base):
        theirs, factor = llama.LlamaRotaryEmbedding.compute_default_rope_parameters(
            llama_config(2 * pairs, base)
        )
        assert factor == 1
        assert_close(frequencies(2 * pairs, base), theirs, atol=0, rtol=1e-6)

    @given(pairs, bases, st.integers(1, 5_000))
    def test_wavelengths_grow_and_turns_fall_from_pair_to_pair(self, pairs, base, length):
        frequency = frequencies(2 * pairs, base)
        assert frequency[0] == 1
        assert (wavelengths(frequency).diff() > 0).all()
        assert_close(turns(length, frequency) * wavelengths(frequency), torch.full((pairs,), length - 1.0))

    @pytest.mark.parametrize("width", [-2, 0, 1, 7])
    def test_dimensions_that_cannot_be_paired_are_refused(self, width):
        with pytest.raises(InputError, match=f"{width} dimensions cannot be paired"):
            frequencies(width, 10_000.0)

    @pytest.mark.parametrize("base", [0.0, -10.0, math.nan, math.inf])
    def test_a_base_that_is_not_positive_and_finite_is_refused(self, base):
        with pytest.raises(InputError, match="positive finite"):
            frequencies(8, base)


class TestRotation:
    @given(pairs, tokens, bases, seeds)
    def test_in_halves_is_llamas(self, pairs, tokens, base, seed):
        x, positions = random(1, 3, tokens, 2 * pairs, seed=seed), random_positions(tokens, seed)
        rotary = llama.LlamaRotaryEmbedding(llama_config(2 * pairs, base))
        theirs, _ = llama.apply_rotary_pos_emb(x, x, *rotary(x, positions[None]))
        ours = rotate(x[0], rotation(positions, frequencies(2 * pairs, base), "half"))
        assert_close(ours, theirs[0], atol=1e-5, rtol=1e-5)

    @given(st.integers(1, 4), st.sampled_from([0.25, 0.5, 1.0]), tokens, bases, seeds)
    def test_of_a_part_of_the_head_is_gpt_neoxs(self, quarter, part, tokens, base, seed):
        width = 8 * quarter
        config = GPTNeoXConfig(
            hidden_size=2 * width,
            num_attention_heads=2,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": base,
                "partial_rotary_factor": part,
            },
        )
        x, positions = random(1, 2, tokens, width, seed=seed), random_positions(tokens, seed)
        cos, sin = neox.GPTNeoXRotaryEmbedding(config)(x, positions[None])
        theirs, _ = neox.apply_rotary_pos_emb(x, x, cos, sin)
        rotary = int(width * part)
        ours = rotate(x[0], rotation(positions, frequencies(rotary, base), "half"))
        assert_close(ours, theirs[0], atol=1e-5, rtol=1e-5)
        assert_close(ours[..., rotary:], x[0, ..., rotary:], atol=0, rtol=0)

    @given(pairs, st.integers(0, 8), tokens, seeds)
    def test_interleaved_is_gpt_js(self, pairs, beyond, tokens, seed):
        rotary, width = 2 * pairs, 2 * pairs + beyond
        x, positions = random(2, tokens, width, seed=seed), random_positions(tokens, seed)
        sincos = gptj.create_sinusoidal_positions(300, rotary)[positions]
        sin, cos = sincos.chunk(2, dim=-1)
        rotated = gptj.apply_rotary_pos_emb(x.transpose(0, 1)[None, :, :, :rotary], sin[None], cos[None])
        ours = rotate(x, rotation(positions, frequencies(rotary, 10_000.0), "interleaved"))
        assert_close(ours[..., :rotary], rotated[0].transpose(0, 1), atol=1e-5, rtol=1e-5)
        assert_close(ours[..., rotary:], x[..., rotary:], atol=0, rtol=0)

    @given(pairs, tokens, bases, seeds)
    def test_interleaved_is_coheres(self, pairs, tokens, base, seed):
        config = CohereConfig(
            hidden_size=8 * pairs,
            num_attention_heads=4,
            rope_parameters={"rope_type": "default", "rope_theta": base},
        )
        x, positions = random(1, 4, tokens, 2 * pairs, seed=seed), random_positions(tokens, seed)
        cos, sin = cohere.CohereRotaryEmbedding(config)(x, positions[None])
        theirs, _ = cohere.apply_rotary_pos_emb(x, x, cos, sin)
        ours = rotate(x[0], rotation(positions, frequencies(2 * pairs, base), "interleaved"))
        assert_close(ours, theirs[0], atol=1e-5, rtol=1e-5)

    @given(pairs, tokens, bases, layouts, st.floats(0.5, 2), seeds)
    def test_lengths_stay_and_the_inverse_brings_everything_back(
        self, pairs, tokens, base, layout, factor, seed
    ):
        x = random(tokens, 2 * pairs, seed=seed)
        turn = rotation(random_positions(tokens, seed), frequencies(2 * pairs, base), layout, factor)
        turned = rotate(x, turn)
        assert_close(turned.norm(dim=-1), factor * x.norm(dim=-1))
        assert_close(rotate(turned, turn.inverse), x, atol=1e-5, rtol=1e-5)

    @given(pairs, layouts, seeds)
    def test_pairs_come_apart_and_together(self, pairs, layout, seed):
        x = random(3, 2 * pairs, seed=seed)
        assert_close(from_pairs(to_pairs(x, layout), layout), x, atol=0, rtol=0)

    def test_pairs_are_neighbours_or_half_a_head_apart(self):
        x = torch.arange(6.0)
        assert to_pairs(x, "interleaved").tolist() == [0 + 1j, 2 + 3j, 4 + 5j]
        assert to_pairs(x, "half").tolist() == [0 + 3j, 1 + 4j, 2 + 5j]

    def test_an_odd_number_of_dimensions_is_refused(self):
        with pytest.raises(InputError, match="5 dimensions cannot be paired"):
            to_pairs(torch.ones(5), "half")

    def test_vectors_that_are_too_short_are_refused(self):
        turn = rotation(torch.arange(2), frequencies(8, 10_000.0), "half")
        with pytest.raises(InputError, match="8 dimensions cannot be rotated in vectors of 6"):
            rotate(torch.ones(2, 6), turn)


class TestMatrix:
    @given(st.integers(1, 8), layouts, st.integers(0, 500), st.integers(0, 500), bases)
    def test_is_a_rotation_and_only_the_difference_is_left(self, pairs, layout, m, n, base):
        frequency = frequencies(2 * pairs, base).double()
        first, second = (rotation_matrix(position, frequency, layout) for position in (m, n))
        assert_close(torch.linalg.det(first), torch.ones((), dtype=torch.float64))
        assert_close(first.T @ second, rotation_matrix(n - m, frequency, layout))

    @given(st.integers(1, 8), layouts, st.integers(0, 500), seeds)
    def test_multiplies_as_rotate_turns(self, pairs, layout, position, seed):
        frequency, x = frequencies(2 * pairs, 10_000.0), random(1, 2 * pairs, seed=seed)
        turned = rotate(x, rotation(torch.tensor([position]), frequency, layout))
        assert_close(rotation_matrix(position, frequency, layout) @ x[0], turned[0])


class TestScores:
    @given(pairs, st.integers(0, 6), tokens, tokens, bases, layouts, st.floats(0.5, 2), seeds)
    def test_sum_to_the_dot_product_of_rotated_vectors(
        self, pairs, beyond, queries, keys, base, layout, factor, seed
    ):
        query = random(queries, 2 * pairs + beyond, seed=seed)
        key = random(keys, 2 * pairs + beyond, seed=seed + 1)
        at_query, at_key = random_positions(queries, seed), random_positions(keys, seed + 1)
        frequency = frequencies(2 * pairs, base)
        scores = scores_by_pair(query, key, at_query, at_key, frequency, layout, factor)
        turned = [
            rotate(x, rotation(at, frequency, layout, factor))
            for x, at in ((query, at_query), (key, at_key))
        ]
        # angles near 300 radians are known to about 3e-5 in float32
        assert_close(scores.total, turned[0] @ turned[1].T, atol=5e-3, rtol=1e-4)

    @given(pairs, bases, layouts, st.integers(0, 1_000), seeds)
    def test_stay_when_everything_moves(self, pairs, base, layout, offset, seed):
        query, key = random(4, 2 * pairs, seed=seed), random(4, 2 * pairs, seed=seed + 1)
        at, frequency = torch.arange(4), frequencies(2 * pairs, base)
        here = scores_by_pair(query, key, at, at, frequency, layout)
        there = scores_by_pair(query, key, at + offset, at + offset, frequency, layout)
        assert_close(here.pairs, there.pairs)

    @given(pairs, st.integers(0, 4), bases, layouts, seeds)
    def test_at_distances_are_those_of_queries_placed_there(self, pairs, beyond, base, layout, seed):
        query, key = (random(2 * pairs + beyond, seed=seed + index) for index in (0, 1))
        distances, frequency = random_positions(5, seed) - 150, frequencies(2 * pairs, base)
        curve_of = score_at_distances(query, key, distances, frequency, layout, 1.25)
        placed = scores_by_pair(
            query.expand(5, -1), key[None], distances, torch.zeros(1), frequency, layout, 1.25
        )
        assert_close(curve_of, placed.total[:, 0], atol=1e-4, rtol=1e-4)

    def test_of_one_pair_worked_out_by_hand(self):
        """A quarter turn a position; q = 2 at 90°, k = 3 at 0°: after one position they are opposite."""
        products = pair_products(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 0.0]), 1, "half")
        assert products.tolist() == [6j]
        quarter = torch.tensor([math.pi / 2])
        found = curve(products, torch.tensor([0, 1, 2, 3]), quarter)
        assert_close(found, torch.tensor([0.0, -6.0, 0.0, 6.0]), atol=1e-5, rtol=0)


class TestLayouts:
    @given(pairs, st.integers(0, 6), st.integers(2, 8), bases, layouts, seeds)
    def test_reordered_weights_give_the_same_scores_in_the_other_layout(
        self, pairs, beyond, tokens, base, layout, seed
    ):
        query, key = (random(tokens, 2 * pairs + beyond, seed=seed + index) for index in (0, 1))
        turn = rotation(torch.arange(tokens), frequencies(2 * pairs, base), layout)
        own = rotate(query, turn) @ rotate(key, turn).T
        assert_close(scores_after_conversion(query, key, turn), own, atol=1e-4, rtol=1e-4)

    def test_is_the_order_of_transformers_conversion_of_llama(self):
        """convert_llama_weights_to_hf: view(heads, d/2, 2, width).transpose(1, 2), of one head."""
        interleaved = torch.arange(8.0)
        converted = interleaved.view(1, 4, 2, 1).transpose(1, 2).reshape(8)
        assert_close(interleaved[relayout(8, 8, "half")], converted)
        assert_close(converted[relayout(8, 8, "interleaved")], interleaved)

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(InputError, match="3 dimensions cannot be paired"):
            relayout(8, 3, "half")
        with pytest.raises(InputError, match="10 dimensions cannot be rotated in vectors of 8"):
            relayout(8, 10, "half")


def test_gpt_js_configuration_rotates_a_part_of_the_head():
    """The layout that the tracer cannot show, as GPT-J's attention runs it, against two dot products."""
    config = GPTJConfig(n_embd=32, n_head=2, rotary_dim=8, n_layer=1, n_positions=64, vocab_size=50)
    torch.manual_seed(0)
    attention = gptj.GPTJAttention(config, layer_idx=0).eval()
    hidden, positions = torch.randn(1, 6, 32), torch.arange(6)[None]
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    mask = torch.zeros(6, 6).masked_fill(future, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        _, weights = attention(hidden, attention_mask=mask, position_ids=positions, output_attentions=True)
        query, key = (
            projection(hidden[0]).view(6, 2, 16).transpose(0, 1)
            for projection in (attention.q_proj, attention.k_proj)
        )
    turn = rotation(positions[0], frequencies(8, 10_000.0), "interleaved")
    scores = rotate(query, turn) @ rotate(key, turn).transpose(1, 2) / math.sqrt(16)
    own = scores.masked_fill(future, -torch.inf).softmax(-1)
    assert_close(own, weights[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("interleaved", [-1.272233, -1.838865, 2.878668, 4.088187]),
        ("half", [-1.413353, 1.879118, -2.828857, 4.058191]),
    ],
)
def test_one_vector_in_both_layouts(layout, expected):
    """rasbt/LLMs-from-scratch#838, transformers#25199, nanotron#427: (1, 2, 3, 4) at position 3."""
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    turned = rotate(x, rotation(torch.tensor([3]), frequencies(4, 10_000.0), layout))
    assert_close(turned[0], torch.tensor(expected), atol=1e-5, rtol=0.0)
    assert_close(turned.norm(), x.norm())
