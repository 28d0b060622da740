"""What attends in a network's place: in one thread, for one block, and gone after it."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.networks.recording import ATTENTION, attending, eager_attention
from tests.models.networks.tiny_networks import gpt2_config, llama_config

IDS = torch.arange(1, 13)[None]


def widened(module, query, key, value, mask, *, scaling=None, **options):
    """Zeros behind each vector leave q·k as it is; the scale stays that of the network's width."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = (torch.cat([part, 0 * part], -1) for part in (query, key))
    return eager_attention(module)(module, query, key, value, mask, scaling=scale, **options)


def negated(module, query, key, value, mask, **options):
    return eager_attention(module)(module, -query, key, value, mask, **options)


@pytest.mark.parametrize("configuration", [llama_config, gpt2_config])
def test_wider_vectors_with_the_same_products_change_nothing(configuration):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configuration(), attn_implementation=ATTENTION).eval()
    before = model(IDS).logits
    with attending(widened):
        torch.testing.assert_close(model(IDS).logits, before)


def test_a_stand_in_is_felt_and_gone_after_its_block_even_after_an_error():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(llama_config(), attn_implementation=ATTENTION).eval()
    before = model(IDS).logits
    with attending(negated):
        assert (model(IDS).logits - before).abs().max() > 0.1
    with pytest.raises(RuntimeError, match="stop"), attending(negated):
        raise RuntimeError("stop")
    assert torch.equal(model(IDS).logits, before)
