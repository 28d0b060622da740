"""Padding: the batch that torch and transformers would make, and rows that stay what they are alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from models.errors import InputError
from models.masks.padding import (
    SIDES,
    Given,
    alone_logits,
    batch_logits,
    differences,
    largest_of,
    learned_positions_network,
    pad,
    pad_token_of,
    padding_costs,
    positions_seen,
)
from models.networks.loading import load
from models.networks.tokens import tokenize
from tests.models.networks.tiny_networks import (
    byte_level_tokenizer,
    gpt2_config,
    gpt2_tokenizer,
    llama_config,
    neox_config,
    word_piece_tokenizer,
)

ROUNDING = 1e-4  # of float32 logits of size 10, computed in batches of another shape
ROWS = st.lists(st.lists(st.integers(1, 399), min_size=1, max_size=9), min_size=1, max_size=4)
CONFIGURATIONS = {"llama": llama_config, "gpt2": gpt2_config, "neox": neox_config}
ROTARY = ("llama", "neox")
PROMPTS = ("The keeper lit the lamp, and the keeper slept.", "Who rang it?")


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def tiny(request):
    torch.manual_seed(0)
    config = CONFIGURATIONS[request.param]()
    return request.param, AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, 400, (length,), generator=generator).tolist() for length in (11, 4, 1)]


def real_rows() -> list[tuple[int, ...]]:
    network = load("loupe-llama")
    return [tokenize(network.tokenizer, prompt, 256).token_ids for prompt in PROMPTS]


@given(rows=ROWS, side=st.sampled_from(SIDES), pad_token=st.integers(0, 5))
def test_a_batch_is_what_torch_pads(rows, side, pad_token):
    batch = pad(rows, pad_token, side)
    tensors = [torch.tensor(row) for row in rows]
    expected = pad_sequence(tensors, batch_first=True, padding_value=pad_token, padding_side=side)
    ones = [torch.ones_like(row) for row in tensors]
    mask = pad_sequence(ones, batch_first=True, padding_value=0, padding_side=side)
    torch.testing.assert_close(batch.input_ids, expected)
    torch.testing.assert_close(batch.attention_mask, mask)
    torch.testing.assert_close(batch.real, mask == 1)
    for number, row in enumerate(rows):
        assert batch.input_ids[number, batch.columns(number)].tolist() == row


@given(rows=ROWS, side=st.sampled_from(SIDES))
@settings(max_examples=30)
def test_position_ids_are_those_that_generate_works_out(rows, side):
    model = load("loupe-llama").model
    batch = pad(rows, 0, side)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    expected = model._prepare_position_ids_for_generation(batch.input_ids, inputs)
    torch.testing.assert_close(batch.position_ids, expected)
    assert torch.equal(positions_seen(batch, Given()), batch.position_ids)
    columns = torch.arange(batch.input_ids.shape[1])
    assert (positions_seen(batch, Given(positions=False)) == columns).all()


@pytest.mark.parametrize("side", SIDES)
def test_real_tokens_get_the_logits_they_get_alone(tiny, rows, side):
    _name, model = tiny
    batch, alone = pad(rows, 0, side), alone_logits(model, rows)
    changes = differences(batch_logits(model, batch), batch, alone)
    assert [len(change) for change in changes] == [len(row) for row in rows]
    assert largest_of(changes) < ROUNDING
    with torch.no_grad():
        for row, logits in zip(rows, alone, strict=True):
            torch.testing.assert_close(model(torch.tensor([row])).logits[0], logits)


def test_what_is_forgotten_costs_what_the_architecture_says(tiny, rows):
    name, model = tiny
    costs = {(cost.side, cost.given): cost.largest for cost in padding_costs(model, rows, 7)}
    assert len(costs) == 8
    assert all(
        costs["right", forgotten] < ROUNDING for _side, forgotten in costs
    )  # a later token is unseen
    assert costs["left", Given()] < ROUNDING
    assert costs["left", Given(mask=False)] > 0.1
    assert (costs["left", Given(positions=False)] < ROUNDING) == (name in ROTARY)


@pytest.mark.parametrize("side", SIDES)
def test_on_real_weights_padding_changes_nothing_but_rounding(side):
    network = load("loupe-llama")
    rows = real_rows()
    batch = pad(rows, pad_token_of(network.tokenizer), side)
    changes = differences(batch_logits(network.model, batch), batch, alone_logits(network.model, rows))
    assert largest_of(changes) < ROUNDING


def test_the_last_logits_are_those_that_generate_reads():
    network = load("loupe-llama")
    batch = pad(real_rows(), pad_token_of(network.tokenizer), "left")
    settings = GenerationConfig(
        max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=0
    )
    output = network.model.generate(
        batch.input_ids, attention_mask=batch.attention_mask, generation_config=settings
    )
    torch.testing.assert_close(batch_logits(network.model, batch)[:, -1], output.logits[0])


@pytest.mark.parametrize(
    ("row", "width", "ids"),
    [((7, 8, 9), 5, [0, 0, 0, 1, 2]), ((11, 339, 561), 4, [0, 0, 1, 2]), ((5,), 3, [0, 0, 0])],
)
def test_public_case_of_position_ids_behind_left_padding(row, width, ids):
    """nnsight#672, #673, transformers#21080, #22161, unsloth#4078, lm-human-preference-details#6."""
    batch = pad([row, tuple(range(1, width + 1))], 23_073, "left")
    assert batch.position_ids[0].tolist() == ids
    assert batch.attention_mask[0].tolist() == [0] * (width - len(row)) + [1] * len(row)
    assert batch.position_ids[1].tolist() == list(range(width))


def test_without_any_mask_transformers_takes_left_padding_for_packed_sequences():
    """Why a forgotten mask is a mask of ones: none at all hides the padding by luck."""
    network = load("loupe-llama")
    rows = real_rows()
    batch = pad(rows, 0, "left")
    with torch.no_grad():
        logits = network.model(batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
    assert largest_of(differences(logits, batch, alone_logits(network.model, rows))) < ROUNDING


def test_the_token_to_pad_with():
    assert pad_token_of(word_piece_tokenizer()) == word_piece_tokenizer().pad_token_id
    assert pad_token_of(gpt2_tokenizer()) == gpt2_tokenizer().eos_token_id
    assert pad_token_of(byte_level_tokenizer()) == byte_level_tokenizer().bos_token_id
    bare = PreTrainedTokenizerFast(tokenizer_object=byte_level_tokenizer().backend_tokenizer)
    assert pad_token_of(bare) == 0


def test_a_network_with_learned_positions_follows_its_seed_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (learned_positions_network(50, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [model.transformer.wpe.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].shape == (16, 64)


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2], []]])
def test_no_prompt_and_an_empty_prompt_are_refused(rows):
    with pytest.raises(InputError, match="at least one token"):
        pad(rows, 0, "left")


def test_more_tokens_than_learned_positions_are_refused():
    model = learned_positions_network(50, 4, 0)
    with pytest.raises(InputError, match="5 tokens; this network has learned 4 positions"):
        alone_logits(model, [[1, 2, 3, 4, 5]])
    with pytest.raises(InputError, match="has learned 4 positions"):
        batch_logits(model, pad([[1] * 5, [2]], 0, "left"))
