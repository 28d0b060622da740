"""models.positions.bias against transformers' BLOOM, MPT and T5."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from models.errors import InputError
from models.positions.bias import alibi_bias, alibi_slopes, bucket_bias, distances, fit_buckets, t5_bucket

seeds = st.integers(0, 2**31)


class TestAlibi:
    @pytest.mark.parametrize("heads", [*range(1, 40), 64, 71, 112, 128])
    def test_slopes_are_blooms_and_mpts_for_every_head_count(self, heads):
        bloom = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
        mpt = -build_mpt_alibi_tensor(heads, 2)[:, 0, 0]
        assert_close(alibi_slopes(heads), bloom)
        assert_close(alibi_slopes(heads), mpt)

    def test_slopes_of_eight_heads_are_the_papers(self):
        """aprender#2143: an off-by-one gives 1.0 … .0078125."""
        assert alibi_slopes(8).tolist() == [2.0**-power for power in range(1, 9)]

    @given(st.integers(1, 20), st.integers(1, 20))
    def test_bias_of_the_last_query_is_mpts(self, heads, tokens):
        bias = alibi_bias(alibi_slopes(heads), tokens, tokens)
        assert_close(bias[:, -1], build_mpt_alibi_tensor(heads, tokens)[:, 0])
        assert not bias.diagonal(dim1=1, dim2=2).any()

    @given(st.integers(1, 12), st.integers(2, 12), seeds)
    def test_softmax_of_a_row_is_that_with_blooms_bias(self, heads, tokens, seed):
        """BLOOM adds slope · key position: another number on the whole row, which softmax ignores."""
        scores = torch.randn(heads, tokens, tokens, generator=torch.Generator().manual_seed(seed))
        bloom = build_alibi_tensor(torch.ones(1, tokens), heads, torch.float32)
        ours = (scores + alibi_bias(alibi_slopes(heads), tokens, tokens)).softmax(-1)
        assert_close(ours, (scores + bloom).softmax(-1))

    @pytest.mark.parametrize("heads", [-1, 0, 1_025])
    def test_other_head_counts_are_refused(self, heads):
        with pytest.raises(InputError, match=f"{heads} heads are not accepted"):
            alibi_slopes(heads)


class TestBuckets:
    @given(
        st.booleans(), st.sampled_from([4, 8, 16, 32, 64]), st.integers(40, 400), st.integers(1, 500), seeds
    )
    def test_are_t5s(self, bidirectional, buckets, max_distance, tokens, seed):
        relative = torch.randint(-600, 600, (tokens,), generator=torch.Generator().manual_seed(seed))
        theirs = T5Attention._relative_position_bucket(relative, bidirectional, buckets, max_distance)
        ours = t5_bucket(relative, bidirectional, buckets, max_distance)
        assert torch.equal(ours, theirs)
        assert 0 <= ours.min() <= ours.max() < buckets

    @pytest.mark.parametrize("is_decoder", [True, False])
    def test_bias_is_that_of_t5s_attention(self, is_decoder):
        config = T5Config(
            d_model=16, num_heads=2, d_kv=8, is_decoder=is_decoder, relative_attention_num_buckets=16
        )
        torch.manual_seed(0)
        attention = T5Attention(config, has_relative_attention_bias=True)
        attention.relative_attention_bias.weight.data.normal_()
        theirs = attention.compute_bias(40, 40)[0]
        for head, table in enumerate(attention.relative_attention_bias.weight.detach().T):
            ours = bucket_bias(table, 40, 40, not is_decoder)
            assert_close(ours, theirs[head].detach(), atol=0, rtol=0)

    @pytest.mark.parametrize(("buckets", "distance"), [(0, 128), (1, 128), (32, 16), (-4, 10)])
    def test_too_few_buckets_are_refused(self, buckets, distance):
        with pytest.raises(InputError, match="buckets up to a distance"):
            t5_bucket(torch.arange(3), False, buckets, distance)

    @given(st.integers(2, 30), st.booleans(), seeds)
    def test_fitted_numbers_are_the_least_squares_solution(self, tokens, bidirectional, seed):
        wanted = torch.randn(tokens, tokens, generator=torch.Generator().manual_seed(seed)).double()
        visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        table = fit_buckets(wanted, visible, 16, bidirectional, 20)
        one_hot = torch.nn.functional.one_hot(
            t5_bucket(-distances(tokens, tokens), bidirectional, 16, 20), 16
        )
        solution = torch.linalg.lstsq(one_hot[visible].double(), wanted[visible], driver="gelsd").solution
        assert_close(table, solution)  # gelsd gives columns without any pair the number 0
