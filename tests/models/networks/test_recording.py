"""Rewritten queries and keys: what is asked for reaches attention, in one thread, for one block."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.networks.recording import ATTENTION, rewriting
from tests.models.networks.tiny_networks import gpt2_config, llama_config

IDS = torch.arange(1, 13)[None]


@pytest.mark.parametrize("configuration", [llama_config, gpt2_config])
def test_wider_vectors_with_the_same_products_change_nothing(configuration):
    """Zeros behind each vector leave q·k as it is, and the scale stays that of the network's width."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configuration(), attn_implementation=ATTENTION).eval()
    before = model(IDS).logits

    def widen(query, key):
        return torch.cat([query, 0 * query], -1), torch.cat([key, 0 * key], -1)

    with rewriting(widen):
        torch.testing.assert_close(model(IDS).logits, before)


def test_a_rewrite_is_felt_and_gone_after_its_block_even_after_an_error():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(llama_config(), attn_implementation=ATTENTION).eval()
    before = model(IDS).logits
    with rewriting(lambda query, key: (-query, key)):
        assert (model(IDS).logits - before).abs().max() > 0.1
    with pytest.raises(RuntimeError, match="stop"), rewriting(lambda query, key: (-query, key)):
        raise RuntimeError("stop")
    assert torch.equal(model(IDS).logits, before)
