"""models.lora.placement against peft's own counts on networks built without memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from models.errors import InputError
from models.lora.placement import (
    TARGETS,
    Shape,
    adapter_count,
    lora_count,
    p_tuning_count,
    prefix_count,
    prompt_count,
)

shapes = st.builds(
    lambda key_heads, group, head_width, layers, mlp: Shape(
        width=key_heads * group * head_width,
        layers=layers,
        heads=key_heads * group,
        key_heads=key_heads,
        head_width=head_width,
        mlp_width=mlp,
        vocabulary=50,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([4, 8]),
    st.integers(1, 3),
    st.integers(8, 40),
)


def network(shape):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_heads,
            head_dim=shape.head_width,
            intermediate_size=shape.mlp_width,
            tie_word_embeddings=True,
        )
    )


def trained(shape, config):
    return get_peft_model(network(shape), config).get_nb_trainable_parameters()[0]


@given(shapes, st.sets(st.sampled_from(TARGETS), min_size=1), st.integers(1, 4), st.booleans())
@settings(max_examples=10)
def test_lora_is_counted_as_by_peft(shape, targets, rank, dora):
    targets = tuple(sorted(targets))
    config = LoraConfig(r=rank, target_modules=list(targets), use_dora=dora)
    assert lora_count(shape, targets, rank, dora) == trained(shape, config)


@given(shapes, st.integers(1, 9))
@settings(max_examples=8)
def test_virtual_tokens_are_counted_as_by_peft(shape, tokens):
    common = {"task_type": "CAUSAL_LM", "num_virtual_tokens": tokens}
    assert prefix_count(shape, tokens) == trained(shape, PrefixTuningConfig(**common))
    assert prompt_count(shape, tokens) == trained(shape, PromptTuningConfig(**common))
    config = PromptEncoderConfig(**common, encoder_hidden_size=shape.width)
    assert p_tuning_count(shape, tokens) == trained(shape, config)


@given(shapes, st.integers(1, 9))
@settings(max_examples=8)
def test_the_network_and_its_bottlenecks_are_counted_as_by_torch(shape, bottleneck):
    assert shape.parameters == network(shape).num_parameters()
    one = nn.Sequential(nn.Linear(shape.width, bottleneck), nn.Linear(bottleneck, shape.width))
    expected = 2 * shape.layers * sum(p.numel() for p in one.parameters())
    assert adapter_count(shape, bottleneck) == expected


def test_impossible_sizes_are_refused():
    shape = Shape(16, 1, 2, 1, 8, 24, 50)
    with pytest.raises(InputError, match="No matrix"):
        lora_count(shape, (), 2)
    with pytest.raises(InputError, match="Rank"):
        lora_count(shape, ("k_proj",), 9)
    with pytest.raises(InputError, match="no matrix called"):
        lora_count(shape, ("nobody",), 2)
    for count in (adapter_count, prefix_count, prompt_count, p_tuning_count):
        with pytest.raises(InputError, match="at least one"):
            count(shape, 0)
    assert torch.empty(shape.matrix("k_proj")).shape == (8, 16)
