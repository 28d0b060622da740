"""Packing: the loss of separate rows, by transformers' own labels, masks and gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from transformers.masking_utils import and_masks, causal_mask_function, packed_sequence_mask_function

from models.errors import InputError
from models.masks.packing import (
    Conversation,
    Forgotten,
    inferred_logits,
    library_loss,
    losses_of_row,
    masked_logits,
    mean_loss,
    pack,
    packed_logits,
    packed_pass,
    read_conversations,
    separate_rows,
    tokenize_conversations,
    visible_pairs,
)
from models.networks.loading import load
from models.networks.tokens import tokenize
from tests.models.networks.tiny_networks import gpt2_config, gpt2_tokenizer, llama_config

TOLERANCE = 1e-5  # what the page promises for the loss
TEXT = """What did the keeper say? => He said nothing at all.
Where is the boat? => It lies under the bridge, where the river turns.

"Who rang it?" asked the boy. → "Nobody," said Margery."""
TOKENS = st.lists(st.integers(1, 399), min_size=1, max_size=6).map(tuple)
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4)


@pytest.fixture(scope="module", params=[llama_config, gpt2_config])
def tiny(request):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(request.param(), attn_implementation="eager").eval()


def made(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[Conversation]:
    return [Conversation(prompt, answer) for prompt, answer in pairs]


def real_conversations() -> list[Conversation]:
    return tokenize_conversations(load("loupe-llama").tokenizer, read_conversations(TEXT), 256)


# The row


@given(pairs=PAIRS)
def test_a_row_holds_every_conversation_with_its_labels_and_positions(pairs):
    conversations = made(pairs)
    row = pack(conversations)
    for number, conversation in enumerate(conversations):
        mine = row.documents == number
        tokens, prompt = len(conversation.token_ids), len(conversation.prompt)
        assert tuple(row.input_ids[mine].tolist()) == conversation.token_ids
        assert row.position_ids[mine].tolist() == list(range(tokens))
        assert row.labels[mine].tolist() == [-100] * prompt + list(conversation.answer)
    wrong = pack(conversations, Forgotten(restart=True, labels=True))
    assert wrong.position_ids.tolist() == list(range(len(row.input_ids)))
    assert torch.equal(wrong.labels, wrong.input_ids)


@given(pairs=PAIRS)
def test_the_mask_is_that_of_transformers_and_block_diag(pairs):
    conversations = made(pairs)
    row = pack(conversations)
    ours = visible_pairs(row.documents)
    function = and_masks(causal_mask_function, packed_sequence_mask_function(row.documents[None]))
    place, zero = torch.arange(len(row.documents)), torch.tensor(0)
    assert torch.equal(ours, function(zero, zero, place[:, None], place[None, :]))
    lengths = [len(conversation.token_ids) for conversation in conversations]
    blocks = [torch.ones(length, length, dtype=torch.bool).tril() for length in lengths]
    assert torch.equal(ours, torch.block_diag(*blocks))
    assert torch.equal(visible_pairs(row.documents, Forgotten(block=True)), torch.ones_like(ours).tril())


# The loss, against transformers


@given(pairs=PAIRS)
@settings(max_examples=25)
def test_the_packed_loss_is_that_of_a_padded_batch(tiny, pairs):
    conversations = made(pairs)
    right = separate_rows(tiny, conversations)
    done = packed_pass(tiny, conversations, right)
    assert done.loss == pytest.approx(library_loss(tiny, conversations, 0), abs=TOLERANCE)
    assert abs(done.cost) < TOLERANCE
    assert done.largest < 1e-4
    torch.testing.assert_close(done.losses, right.losses, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_the_packed_loss_equals_separate_rows_on_real_weights():
    network = load("loupe-llama")
    conversations = real_conversations()
    right = separate_rows(network.model, conversations)
    done = packed_pass(network.model, conversations, right)
    assert abs(done.cost) < TOLERANCE
    assert done.loss == pytest.approx(library_loss(network.model, conversations, 0), abs=TOLERANCE)


@given(pairs=PAIRS)
@settings(max_examples=25)
def test_transformers_finds_the_conversations_where_positions_restart(tiny, pairs):
    conversations = made(pairs)
    row = pack(conversations)
    torch.testing.assert_close(packed_logits(tiny, row), inferred_logits(tiny, row), atol=1e-5, rtol=1e-5)


@given(pairs=PAIRS, learn_prompts=st.booleans())
@settings(max_examples=25)
def test_token_losses_average_to_the_loss_of_transformers(tiny, pairs, learn_prompts):
    conversations = made(pairs)
    forgotten = Forgotten(block=True, restart=True, labels=learn_prompts)
    row = pack(conversations, forgotten)
    with torch.no_grad():
        expected = tiny(row.input_ids[None], labels=row.labels[None], use_cache=False).loss
    losses = losses_of_row(packed_logits(tiny, row, forgotten), row.labels)
    assert mean_loss(losses, row.documents) == pytest.approx(float(expected), abs=TOLERANCE)
    learned = ~losses[1:].isnan()
    assert torch.equal(learned, row.labels[1:] != -100)
    assert losses[0].isnan()


def test_gradients_of_the_packed_row_are_those_of_separate_rows():
    """Equal loss and equal gradient: packing trains the same network."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(llama_config(), attn_implementation="eager")
    conversations = [Conversation((1, 2, 3), (4, 5)), Conversation((6,), (7, 8, 9, 10))]
    row = pack(conversations)
    gradients = []
    for packed in (True, False):
        model.zero_grad()
        if packed:
            mask = torch.zeros(1, 1, 10, 10).masked_fill(~visible_pairs(row.documents), -torch.inf)
            model(
                row.input_ids[None],
                attention_mask=mask,
                position_ids=row.position_ids[None],
                labels=row.labels[None],
            ).loss.backward()
        else:
            for one in map(pack, ([conversation] for conversation in conversations)):
                learned = int((one.labels != -100).sum())
                loss = model(one.input_ids[None], labels=one.labels[None]).loss
                (loss * learned / 6).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# What is forgotten


def test_what_is_forgotten_costs_what_the_architecture_says(tiny):
    conversations = [Conversation((5, 6, 7), (8, 9)), Conversation((1, 2), (3, 4, 5))]
    right = separate_rows(tiny, conversations)
    largest = {
        name: packed_pass(tiny, conversations, right, Forgotten(**{name: True})).largest
        for name in ("block", "restart", "labels")
    }
    rotary = tiny.config.model_type == "llama"
    assert largest["block"] > 0.1
    assert (largest["restart"] < 1e-4) == rotary  # rotary scores depend on distances alone
    assert largest["labels"] < 1e-4  # other labels leave the logits as they are


def test_the_mean_of_means_is_another_loss_where_lengths_differ():
    losses = torch.tensor([math.nan, 1.0, math.nan, 4.0, 4.0, 4.0])
    documents = torch.tensor([0, 0, 1, 1, 1, 1])
    assert mean_loss(losses, documents) == pytest.approx(13 / 4)
    assert mean_loss(losses, documents, "documents") == pytest.approx(5 / 2)
    equal = torch.tensor([0, 0, 0, 1, 1, 1])
    assert mean_loss(losses, equal, "documents") == pytest.approx((1 + 4) / 2)


# What people type


@pytest.mark.parametrize("lengths", [(3, 5), (2, 9, 4)])
def test_public_case_of_targets_across_a_border(tiny, lengths):
    """functionary#265, axolotl#1375, trl#1230: 3 and 5 tokens have 2 + 4 targets, not 7."""
    rows = [Conversation((10 * n,), tuple(range(1, length))) for n, length in enumerate(lengths, 1)]
    right = separate_rows(tiny, rows)
    packed = packed_pass(tiny, rows, right)
    learned = packed.losses.isfinite()
    assert int(learned.sum()) == sum(length - 1 for length in lengths)
    assert_close(packed.losses.nansum(), right.losses.nansum(), atol=1e-4, rtol=1e-5)
    crossing = losses_of_row(packed_logits(tiny, packed.row), pack(rows, Forgotten(labels=True)).labels)
    assert int(crossing.isfinite().sum()) == sum(lengths) - 1  # 7: one across each border
    naive = Forgotten(block=True, restart=True, labels=True)
    summed = losses_of_row(packed_logits(tiny, pack(rows, naive), naive), pack(rows, naive).labels)
    assert abs(float(summed.nansum() - right.losses.nansum())) > 0.1


def test_public_case_of_a_row_in_which_nothing_is_learned(tiny):
    """trl#6671, #6668, unsloth#1290, #2095, #2900: NaN in torch, a sentence here, and never 0.0."""
    row = pack([Conversation((1, 2, 3), ())])
    logits = packed_logits(tiny, row)
    assert torch.nn.functional.cross_entropy(logits[:-1], row.labels[1:]).isnan()
    with pytest.raises(InputError, match="No token is learned: every label is −100"):
        mean_loss(losses_of_row(logits, row.labels), row.documents)


def test_conversations_are_read_line_by_line():
    assert read_conversations("a=>b\n\n  c d → e => f \n") == [("a", "b"), ("c d → e", "f")]
    assert len(read_conversations(TEXT)) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There are 0 conversations"),
        ("a => b\n" * 9, "There are 9 conversations; from 1 to 8"),
        ("a => b\nno border", "Line 2 is not of the form"),
        ("=> b", "Line 1 is not of the form"),
        ("a =>  ", "Line 1 is not of the form"),
    ],
)
def test_other_texts_are_refused_by_line(text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_conversations(text)


def test_conversations_are_tokenized_apart_with_start_and_end():
    network = load("loupe-llama")
    (conversation,) = tokenize_conversations(network.tokenizer, [("The bell", "rang.")], 256)
    assert conversation.prompt == tokenize(network.tokenizer, "The bell", 256).token_ids
    assert network.tokenizer.decode(conversation.answer) == " rang."
    tokenizer = gpt2_tokenizer()
    (ended,) = tokenize_conversations(tokenizer, [("The bell", "rang.")], 256)
    assert ended.answer[-1] == tokenizer.eos_token_id


def test_too_many_tokens_and_no_learned_token_are_refused():
    with pytest.raises(InputError, match="one row takes 20"):
        tokenize_conversations(load("loupe-llama").tokenizer, read_conversations(TEXT), 20)
    with pytest.raises(InputError, match="No token is learned"):
        mean_loss(torch.full((3,), math.nan), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match="at least one conversation"):
        pack([])


def test_positions_beyond_the_learned_ones_are_refused():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(gpt2_config(n_positions=4), attn_implementation="eager").eval()
    ids = torch.arange(1, 6)
    with pytest.raises(InputError, match="has learned 4 positions"):
        masked_logits(model, ids, torch.arange(5), visible_pairs(torch.zeros(5, dtype=torch.long)))
    row = pack([Conversation((1, 2), (3, 4)), Conversation((1,), (2, 3))])
    assert packed_logits(model, row).isfinite().all()  # seven tokens, but no position beyond 3
