"""What the masks lesson asserts of padding, packing and streaming, at its links and elsewhere."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from components.panels.masks.packing import PackingARow
from components.panels.masks.padding import PaddingABatch
from models.masks.packing import Conversation, Forgotten, mean_loss, pack, packed_pass, separate_rows
from models.masks.padding import Given, batch_logits, learned_positions_network, pad, padding_costs
from models.masks.streaming import decode, stream_logits
from models.networks.key_cache import KeyCache
from models.networks.loading import Network, load
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.numerics.token_losses import token_losses
from tests.models.networks.test_families import config_of
from tests.models.networks.tiny_networks import gpt2_config, llama_config

PROMPTS = {
    "page": PaddingABatch().rows,
    "one token": ((5,), tuple(range(10, 30))),
    "alike": (tuple(range(40, 52)), tuple(range(60, 72))),
}
LEFT, RIGHT = "left", "right"
MASK, POSITIONS, BOTH = Given(mask=False), Given(positions=False), Given(False, False)


@pytest.fixture(scope="module")
def network() -> Network:
    return load("loupe-llama")


@pytest.fixture(scope="module")
def learned() -> torch.nn.Module:
    return learned_positions_network(2_048, 48, 0)


# Padding


@pytest.mark.parametrize("name", PROMPTS)
def test_what_forgetting_costs_on_either_side(network, learned, name):
    """#padding-side, #padding-changes, #forgotten-positions and the note: rotary and learned positions."""
    rows, is_padded = PROMPTS[name], len(set(map(len, PROMPTS[name]))) > 1
    for model, rotary in ((network.model, True), (learned, False)):
        costs = {(cost.side, cost.given): cost.largest for cost in padding_costs(model, rows, 7)}
        for side in (LEFT, RIGHT):
            assert costs[side, Given()] < 1e-4
        assert max(costs[RIGHT, given] for given in (MASK, POSITIONS, BOTH)) < 1e-4
        assert (costs[LEFT, MASK] > 0.1) == is_padded
        assert (costs[LEFT, POSITIONS] > 0.1) == (is_padded and not rotary)


def test_an_encoder_has_no_safe_side():
    """#padding-side: it reads in both directions."""
    network = load("all-MiniLM-L6-v2")
    ids = torch.tensor([[101, 2054, 2003, 102]])
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    with torch.no_grad():
        alone, masked, bare = (
            network.model(tokens, attention_mask=mask).last_hidden_state[0, :4]
            for tokens, mask in (
                (ids, torch.ones_like(ids)),
                (padded, (torch.arange(9) < 4).long()[None]),
                (padded, torch.ones_like(padded)),
            )
        )
    assert float((masked - alone).abs().max()) < 1e-4
    assert float((bare - alone).abs().max()) > 0.05


@pytest.mark.parametrize("name", ["page", "one token"])
def test_the_last_column_continues_a_prompt_only_where_it_ends_there(network, name):
    """#generate-left, #padding-changes."""
    rows = PROMPTS[name]
    short = min((0, 1), key=lambda row: len(rows[row]))
    alone = batch_logits(network.model, pad([rows[short]], 7, LEFT))[0, -1]
    for side, right in ((LEFT, True), (RIGHT, False)):
        logits = batch_logits(network.model, pad(rows, 7, side))[short, -1]
        assert (float((logits - alone).abs().max()) < 1e-4) == right


@pytest.mark.parametrize(("end", "guessed"), [(None, True), (3, True), (7, False)])
def test_what_generate_guesses_without_a_mask(network, end, guessed):
    """#generate-left: a mask from the pad token, unless that is the end token as well."""
    batch = pad(PROMPTS["page"], 7, LEFT)
    settings = GenerationConfig(
        max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=7
    )
    settings.eos_token_id = end
    first = network.model.generate(batch.input_ids, generation_config=settings).logits[0]
    right = batch_logits(network.model, batch)[:, -1]
    assert (float((first - right).abs().max()) < 1e-4) == guessed


@pytest.mark.parametrize(("family", "counts_mask"), [("llama", False), ("gpt2", False), ("opt", True)])
def test_which_forward_passes_count_the_mask(family, counts_mask):
    """#generate-left: a plain pass counts columns; OPT's counts real tokens. A layer's learned position
    or rotation then differs from that of position ids given.
    """
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(family)).eval()
    seen = []
    name = {"llama": "rotary_emb", "gpt2": "wpe", "opt": "embed_positions"}[family]
    module = next(part for path, part in model.named_modules() if path.endswith(name))
    module.register_forward_pre_hook(lambda _m, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    with torch.no_grad():
        model(torch.tensor([[1, 1, 5, 6, 7]]), attention_mask=mask)
    args, kwargs = seen[0]
    positions = kwargs.get("position_ids", args[-1])
    real = positions[0, 2:].tolist()
    assert real == ([0, 1, 2] if counts_mask else [2, 3, 4])


# Packing


TALKS = {
    "three": [
        Conversation((0, 5, 6, 7), (8, 9)),
        Conversation((0, 10), (11,)),
        Conversation((0, 3, 4), (5, 6, 7)),
    ],
    "equal": [Conversation((1, 2), (3, 4)), Conversation((5, 6), (7, 8))],
    "one": [Conversation((1, 2, 3), (4, 5))],
}


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("config", [llama_config, gpt2_config], ids=["rotary", "learned"])
def test_what_each_mistake_costs_while_packing(name, config):
    """#packing-loss, #restart-positions, #mean-of-means and the note."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(), attn_implementation="eager").eval()
    talks, several = TALKS[name], len(TALKS[name]) > 1
    right = separate_rows(model, talks)
    assert abs(packed_pass(model, talks, right).cost) < 1e-5
    going_on = packed_pass(model, talks, right, Forgotten(restart=True))
    assert (going_on.largest > 1e-3) == (several and config is gpt2_config)
    assert (packed_pass(model, talks, right, Forgotten(block=True)).largest > 1e-2) == several
    overlaid = packed_pass(model, talks, right, Forgotten(block=True)).loss
    one_text = packed_pass(model, talks, right, Forgotten(block=True, restart=True)).loss
    assert (abs(overlaid - one_text) > 1e-3) == several
    learned = packed_pass(model, talks, right, Forgotten(labels=True))
    assert learned.largest < 1e-4  # the same logits, another task's loss
    assert abs(learned.cost) > 1e-3
    means = mean_loss(right.losses, right.documents, "documents")
    equal = len({len(talk.answer) for talk in talks}) == 1
    assert (abs(means - right_loss(right)) < 1e-6) == equal


def right_loss(right) -> float:
    return mean_loss(right.losses, right.documents)


def test_means_agree_also_where_each_conversations_mean_is_the_same():
    """#mean-of-means: with one and with three learned tokens."""
    losses, documents = (
        torch.tensor([torch.nan, 2.0, torch.nan, 1.0, 2.0, 3.0]),
        torch.tensor([0, 0, 1, 1, 1, 1]),
    )
    assert mean_loss(losses, documents, "documents") == mean_loss(losses, documents) == 2.0
    losses[1] = 5.0  # a token of the short answer counts for more
    assert mean_loss(losses, documents, "documents") == 3.5 > mean_loss(losses, documents) == 2.75


def test_the_first_token_of_a_conversation_is_not_learned_as_a_continuation():
    """#packing-loss: −100 on prompts keeps it out."""
    row = pack(TALKS["three"])
    starts = [0, 6, 9]
    assert row.labels[starts].tolist() == [-100] * 3
    assert row.position_ids[starts].tolist() == [0] * 3
    assert PackingARow().forgotten == Forgotten()


# Streaming


@pytest.fixture(scope="module")
def streams(network):
    """Mean losses from the place on where the cache is full, on 512 tokens of two passages."""
    held = {}

    def of(passage: int, cache: KeyCache, begin: int) -> float:
        if (key := (passage, cache)) not in held:
            ids = torch.tensor(tokenize(network.tokenizer, passages()[passage].text, 512).token_ids)
            held[key] = token_losses(stream_logits(network, ids, cache), ids)
        return float(held[key][begin:].mean())

    return of


@pytest.mark.parametrize("passage", [0, 3])
def test_what_sinks_are_worth_by_window(streams, passage):
    """#sinks-go, #sinks-fall-apart and the note: much at a narrow window, little at a wide one."""
    gaps = [
        streams(passage, KeyCache(window), window + 4) - streams(passage, KeyCache(window, 4), window + 4)
        for window in (4, 16, 128)
    ]
    assert gaps[0] > 0.3 > gaps[1] > gaps[2]
    assert abs(gaps[2]) < 0.03


@pytest.mark.parametrize("passage", [0, 3])
def test_positions_within_the_cache_and_a_cache_that_keeps_everything(streams, passage):
    """#cache-positions at a narrow window; #sinks-fall-apart beyond the 256 tokens of training."""
    text, cache = (streams(passage, KeyCache(8, 4, positions), 12) for positions in ("text", "cache"))
    assert cache < text - 0.05
    assert streams(passage, KeyCache(), 320) > streams(passage, KeyCache(64), 320) + 0.1


@pytest.mark.parametrize(
    ("cache", "prefill"),
    [(KeyCache(512), 40), (KeyCache(16, 4), 40), (KeyCache(8, 4, "cache"), 20)],
    ids=str,
)
def test_decoding_agrees_and_starting_over_does_not(network, cache, prefill):
    """#prefill-decode: the cache against one pass under its mask, and against the text's last tokens."""
    ids = torch.tensor(tokenize(network.tokenizer, passages()[0].text, 70).token_ids)
    full = token_losses(stream_logits(network, ids, cache), ids)
    steps = list(decode(network, ids, prefill, cache))
    found = torch.tensor([step.loss for step in steps])
    torch.testing.assert_close(found, full[prefill - 1 :], atol=1e-4, rtol=1e-4)
    assert max(step.keys for step in steps[1:]) == min(len(ids) - 1, cache.size)
    if cache == KeyCache(16, 4):
        over = stream_logits(network, ids[-18:], KeyCache())[-2]
        kept = stream_logits(network, ids, KeyCache(16))[-2]
        assert float((over - kept).abs().max()) > 0.1
