"""models.numerics.attention_costs against the parameters, caches and FLOPs of torch and transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, GPT2Config, LlamaConfig, LlamaModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention
from transformers.models.llama.modeling_llama import LlamaAttention, repeat_kv

from models.attention.dot_product import (
    repeat_key_heads,
)
from models.errors import InputError
from models.numerics.attention_costs import (
    attention_flops,
    attention_parameters,
    key_of_head,
    kv_cache_bytes_per_token,
)


class TestHeads:
    @pytest.mark.parametrize(("heads", "key_heads"), [(6, 6), (6, 2), (8, 4), (5, 1), (1, 1)])
    def test_query_heads_read_the_key_heads_that_transformers_repeats(self, heads, key_heads):
        key = torch.randn(key_heads, 3, 4, generator=torch.Generator().manual_seed(0))
        expected = repeat_kv(key[None], heads // key_heads)[0]
        assert_close(repeat_key_heads(key, key_of_head(heads, key_heads)), expected, rtol=0, atol=0)

    @pytest.mark.parametrize(("heads", "key_heads"), [(6, 4), (2, 4), (6, 0), (0, 1), (4, -2)])
    def test_heads_that_cannot_be_shared_out(self, heads, key_heads):
        with pytest.raises(InputError, match="must be a multiple"):
            key_of_head(heads, key_heads)


class TestCost:
    @pytest.mark.parametrize(("heads", "key_heads", "head_width"), [(6, 6, 4), (6, 2, 8), (4, 1, 3)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_parameters_are_those_of_llama(self, heads, key_heads, head_width, bias):
        config = LlamaConfig(
            hidden_size=24,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            head_dim=head_width,
            attention_bias=bias,
        )
        module = LlamaAttention(config, layer_idx=0)
        parameters = attention_parameters(24, heads, key_heads, head_width, bias)
        parts = [parameters.query, parameters.key, parameters.value, parameters.output]
        projections = [module.q_proj, module.k_proj, module.v_proj, module.o_proj]
        assert parts == [sum(p.numel() for p in projection.parameters()) for projection in projections]
        assert parameters.total == sum(p.numel() for p in module.parameters())

    def test_parameters_are_those_of_gpt2_and_of_torch_whatever_the_number_of_heads(self):
        gpt2 = GPT2Attention(GPT2Config(n_embd=24, n_head=4), layer_idx=0)
        torch_module = nn.MultiheadAttention(24, num_heads=2)
        counts = [sum(p.numel() for p in module.parameters()) for module in (gpt2, torch_module)]
        assert counts == [attention_parameters(24, 4, 4, 6, True).total] * 2
        assert counts[1] == attention_parameters(24, 2, 2, 12, True).total

    @pytest.mark.parametrize("key_heads", [4, 2, 1])
    def test_cache_is_that_of_transformers(self, key_heads):
        config = LlamaConfig(
            vocab_size=11,
            hidden_size=32,
            intermediate_size=8,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=key_heads,
        )
        cache = DynamicCache(config=config)
        LlamaModel(config)(torch.zeros(1, 5, dtype=torch.long), past_key_values=cache)
        stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        assert stored == 5 * kv_cache_bytes_per_token(3, key_heads, 8, bytes_per_number=4.0)

    @pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 9), (3, 7)])
    def test_flops_are_those_that_torch_counts(self, queries, keys):
        query, key, value = torch.randn(4, queries, 8), torch.randn(4, keys, 8), torch.randn(4, keys, 8)
        with FlopCounterMode(display=False) as counter:
            (query @ key.transpose(1, 2)).softmax(dim=-1) @ value
        assert attention_flops(4, 8, queries, keys, causal=False) == counter.get_total_flops()

    @settings(deadline=None)
    @given(st.integers(1, 30), st.integers(0, 30))
    def test_causal_flops_count_the_visible_pairs(self, queries, cached):
        visible = torch.ones(queries, queries + cached).tril(diagonal=cached)
        per_pair = 2 * 2 * 3 * 8
        flops = attention_flops(3, 8, queries, queries + cached, causal=True)
        assert flops == per_pair * visible.sum().item()

    def test_more_causal_queries_than_keys(self):
        with pytest.raises(InputError, match="a key for each query"):
            attention_flops(1, 1, 4, 3, causal=True)
