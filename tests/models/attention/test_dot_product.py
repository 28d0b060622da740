"""models.attention.dot_product against torch's and transformers' own attention."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2_attention
from transformers.models.llama.modeling_llama import eager_attention_forward as llama_attention

from models.attention.dot_product import (
    contributions,
    explain_cell,
    hide_sink,
    repeat_key_heads,
    scaled_dot_product_attention_steps,
    soft_capped,
)
from models.errors import InputError
from models.numerics.attention_costs import (
    key_of_head,
)
from models.numerics.masked_softmax import masked_softmax

# heads, queries, keys, d_k, d_v
SIZES = [(1, 1, 1, 1, 1), (3, 5, 5, 8, 8), (4, 2, 7, 16, 3), (2, 9, 4, 5, 6)]


def random_inputs(heads, queries, keys, d_k, d_v, dtype=torch.float64, seed=0):
    """Query, key, value, and a mask in which every query sees its first key at least."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (heads, queries, d_k), (heads, keys, d_k), (heads, keys, d_v)
    vectors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    visible = torch.rand(heads, queries, keys, generator=generator) < 0.6
    visible[..., 0] = True
    return *vectors, visible


@st.composite
def weights(draw):
    """Rows of attention weights, [heads, query, key], from scores of any sharpness."""
    heads, queries, keys = (draw(st.integers(1, 6)) for _ in range(3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scores = torch.randn(heads, queries, keys, generator=generator, dtype=torch.float64)
    return (draw(st.floats(0, 100)) * scores).softmax(dim=-1)


class TestSteps:
    @pytest.mark.parametrize("sizes", SIZES)
    @pytest.mark.parametrize("per_head", [True, False])
    def test_output_is_that_of_torch(self, sizes, per_head):
        query, key, value, visible = random_inputs(*sizes)
        visible = visible if per_head else visible[0]
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=0.3)
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=0.3)
        assert_close(steps.output, expected)

    def test_scale_of_one_over_root_d_k_is_the_default_of_torch(self):
        query, key, value, _ = random_inputs(3, 6, 6, 10, 4)
        visible = torch.ones(6, 6, dtype=torch.bool).tril()
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=10**-0.5)
        assert_close(steps.output, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    @pytest.mark.parametrize("key_heads", [1, 2, 3, 6])
    def test_weights_and_output_are_those_of_eager_llama(self, key_heads):
        query, _, _, visible = random_inputs(6, 5, 5, 8, 8, torch.float32)
        _, key, value, _ = random_inputs(key_heads, 5, 5, 8, 8, torch.float32, seed=1)
        heads = key_of_head(6, key_heads)
        steps = scaled_dot_product_attention_steps(
            query, repeat_key_heads(key, heads), repeat_key_heads(value, heads), visible, scale=0.25
        )
        mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
        module = SimpleNamespace(num_key_value_groups=6 // key_heads, training=False)
        output, probabilities = llama_attention(
            module, query[None], key[None], value[None], mask[None], scaling=0.25
        )
        assert_close(steps.probabilities, probabilities[0])
        assert_close(steps.output, output[0].transpose(0, 1))

    def test_softcap_is_that_of_eager_gemma2(self):
        query, key, value, visible = random_inputs(3, 6, 6, 8, 8, torch.float32)
        query = 20 * query  # scores far beyond the cap
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=0.5, softcap=5.0)
        mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
        module = SimpleNamespace(num_key_value_groups=1, training=False, head_dim=8)
        output, probabilities = gemma2_attention(
            module, query[None], key[None], value[None], mask[None], scaling=0.5, softcap=5.0
        )
        assert_close(steps.probabilities, probabilities[0])
        assert_close(steps.output, output[0].transpose(0, 1))
        assert steps.scaled.abs().max() <= 5.0 < (0.5 * steps.raw).abs().max()
        assert_close(soft_capped(steps.raw, None), steps.raw)

    def test_bfloat16_takes_softmax_in_float32_as_eager_attention_does(self):
        query, key, value, visible = random_inputs(2, 8, 8, 16, 16, torch.bfloat16)
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=0.25)
        assert steps.probabilities.dtype == torch.bfloat16
        expected = steps.masked.softmax(dim=-1, dtype=torch.float32).to(torch.bfloat16)
        assert_close(steps.probabilities, expected, rtol=0, atol=0)

    def test_stages_follow_from_one_another(self):
        query, key, value, visible = random_inputs(2, 4, 6, 5, 3)
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=0.7)
        assert_close(steps.raw, torch.einsum("hqd,hkd->hqk", query, key))
        assert_close(steps.scaled, steps.raw * 0.7)
        assert (steps.masked[~visible] == -torch.inf).all()
        assert_close(steps.masked[visible], steps.scaled[visible])

    def test_a_query_that_sees_nothing_gets_zero_as_in_torch(self):
        query, key, value, visible = random_inputs(2, 4, 5, 3, 3)
        visible[:, 2] = False
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=1.0)
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=1.0)
        assert_close(steps.output, expected)
        assert (steps.probabilities[:, 2] == 0).all()
        assert (expected[:, 2] == 0).all()

    @settings(deadline=None)
    @given(st.integers(0, 2**31), st.floats(0, 1e4), st.floats(-1e3, 1e3))
    def test_rows_sum_to_one_and_ignore_a_common_shift(self, seed, sharpness, shift):
        query, key, value, visible = random_inputs(2, 3, 4, 5, 2, seed=seed)
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=sharpness)
        assert_close(steps.probabilities.sum(-1), torch.ones(2, 3, dtype=torch.float64))
        assert (steps.probabilities[~visible] == 0).all()
        shifted = masked_softmax(steps.masked + shift)
        # a shift of 1e3 costs scores of 1e4 three decimal digits of sixteen
        assert_close(shifted.probabilities, steps.probabilities, atol=1e-9, rtol=1e-9)


class TestCell:
    @pytest.mark.parametrize("softcap", [None, 2.0])
    @pytest.mark.parametrize("sizes", SIZES)
    def test_every_number_is_that_of_the_whole_computation(self, sizes, softcap):
        query, key, value, visible = random_inputs(*sizes)
        steps = scaled_dot_product_attention_steps(query, key, value, visible, 0.4, softcap)
        heads, queries, keys = visible.shape
        expected_output = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=0.4)
        for h, i, j in [(0, 0, 0), (heads - 1, queries - 1, keys - 1), (heads - 1, 0, keys // 2)]:
            cell = explain_cell(query[h, i], key[h], visible[h, i], 0.4, j, value[h], softcap)
            output = steps.output[h, i]
            assert_close(cell.products.sum().item(), cell.dot)
            assert_close(cell.dot, torch.dot(query[h, i], key[h, j]).item())
            assert_close(cell.scaled, steps.scaled[h, i, j].item())
            assert cell.visible == visible[h, i, j].item()
            assert_close(cell.row, steps.masked[h, i])
            assert_close(cell.row_maximum, steps.masked[h, i].max().item())
            assert_close(cell.exponential / cell.denominator, cell.probability)
            assert_close(cell.probability, steps.probabilities[h, i, j].item())
            assert_close(cell.share, steps.probabilities[h, i, j] * value[h, j])
            assert_close(cell.share_norm, torch.linalg.vector_norm(cell.share).item())
            assert_close(cell.output_norm, torch.linalg.vector_norm(output).item())
            if cell.visible:
                cosine = F.cosine_similarity(cell.share, output, dim=0, eps=0).item()
                assert_close(cell.share_cosine, cosine)
            else:
                assert math.isnan(cell.share_cosine)
            if softcap is None:
                assert_close(output, expected_output[h, i])

    def test_shares_add_up_to_the_output(self):
        query, key, value, visible = random_inputs(1, 1, 9, 4, 5)
        cells = [explain_cell(query[0, 0], key[0], visible[0, 0], 0.5, j, value[0]) for j in range(9)]
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=0.5)[0, 0]
        assert_close(sum(cell.share for cell in cells), expected)
        assert math.isclose(sum(cell.share_of_output for cell in cells), 1)
        assert math.isclose(sum(cell.probability for cell in cells), 1)

    def test_a_query_that_sees_nothing(self):
        query, key, value, _ = random_inputs(1, 1, 3, 4, 4)
        cell = explain_cell(query[0, 0], key[0], torch.zeros(3, dtype=torch.bool), 1.0, 1, value[0])
        assert (cell.probability, cell.denominator, cell.row_maximum) == (0.0, 0.0, -math.inf)
        assert cell.share_norm == cell.output_norm == 0.0

    @pytest.mark.parametrize("index", [-1, 3])
    def test_a_key_that_is_not_there(self, index):
        query, key, value, visible = random_inputs(1, 1, 3, 4, 4)
        with pytest.raises(InputError, match="numbered 0 to 2"):
            explain_cell(query[0, 0], key[0], visible[0, 0], 1.0, index, value[0])


class TestContributions:
    @pytest.mark.parametrize("sizes", SIZES)
    def test_they_are_the_norms_of_the_added_vectors(self, sizes):
        query, key, value, visible = random_inputs(*sizes)
        steps = scaled_dot_product_attention_steps(query, key, value, visible, scale=0.5)
        weight = torch.randn(sizes[0], sizes[4], 7, generator=torch.Generator().manual_seed(1)).double()
        added = torch.einsum("hqk,hkd,hdw->hqkw", steps.probabilities, value, weight)
        expected = torch.linalg.vector_norm(added, dim=-1)
        assert_close(contributions(steps.probabilities, value, weight), expected)

    @settings(deadline=None)
    @given(weights(), st.integers(0, 2**31))
    def test_together_they_are_no_shorter_than_what_the_layer_adds(self, probabilities, seed):
        generator = torch.Generator().manual_seed(seed)
        heads, _, keys = probabilities.shape
        value = torch.randn(heads, keys, 3, generator=generator, dtype=torch.float64)
        weight = torch.randn(heads, 3, 5, generator=generator, dtype=torch.float64)
        added = torch.einsum("hqk,hkd,hdw->qw", probabilities, value, weight)
        total = contributions(probabilities, value, weight).sum(dim=(0, 2))
        assert (total >= torch.linalg.vector_norm(added, dim=-1) - 1e-9).all()


class TestHideSink:
    @settings(deadline=None)
    @given(weights(), st.data())
    def test_rows_are_those_of_a_softmax_without_the_keys(self, probabilities, data):
        keys = probabilities.shape[-1]
        sinks = data.draw(st.integers(0, keys))
        hidden = hide_sink(probabilities, sinks)
        assert hidden.shape == probabilities.shape
        assert (hidden[..., :sinks] == 0).all()
        if sinks < keys:  # F.normalize divides by the sum of magnitudes, and leaves zero rows
            rest = F.normalize(probabilities[..., sinks:], p=1, dim=-1, eps=1e-300)
            assert_close(hidden[..., sinks:], rest)

    def test_the_first_row_of_a_causal_matrix_becomes_zero(self):
        causal = torch.ones(2, 1, 3, 3).tril()
        probabilities = causal / causal.sum(dim=-1, keepdim=True)
        assert_close(hide_sink(probabilities)[0, 0], torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]))
        assert_close(probabilities[0, 0, 2], torch.full((3,), 1 / 3))  # the argument is not changed

    @pytest.mark.parametrize("sinks", [-1, 4])
    def test_more_sinks_than_keys(self, sinks):
        with pytest.raises(InputError, match="between 0 and 3"):
            hide_sink(torch.ones(1, 3, 3), sinks)
