"""A network beyond its trained length, against networks that transformers builds itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from models.context.distance import (
    head_weights,
    query_and_key,
    score_by_distance,
    small_map,
    weight_by_distance,
)
from models.context.long_attention import long_pass
from models.context.long_context import (
    LONGEST_TEXT,
    PASSAGES,
    Way,
    long_attention_states,
    long_logits,
    loss_by_position,
    loss_curve,
    losses_of,
    passage_tokens,
    rope_of,
    scaled_network,
)
from models.errors import InputError
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.interventions import Intervention, Visible
from models.networks.key_cache import KeyCache, moved
from models.networks.loading import load
from models.networks.recording import ATTENTION
from models.networks.tracing import trace_ids
from models.rotary.library import parameters_of
from models.rotary.scaling import RopeSettings, ScaledRope, scaled_rope

OWN = RopeSettings("default", 32, longest=256)
YARN = RopeSettings("yarn", 32, longest=2_048, trained=256, factor=8.0)
WAYS = {
    "default": OWN,
    "linear": RopeSettings("linear", 32, longest=2_048, factor=4.0),
    "dynamic": RopeSettings("dynamic", 32, longest=256, factor=2.0),
    "yarn": YARN,
    "llama3": RopeSettings(
        "llama3", 32, longest=2_048, trained=256, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0
    ),
    "longrope": RopeSettings(
        "longrope",
        32,
        longest=2_048,
        trained=256,
        factor=8.0,
        short_factor=(1.0,) * 16,
        long_factor=tuple(1 + 0.4 * i for i in range(16)),
    ),
}


def some_tokens(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 2_048, (count,), generator=torch.Generator().manual_seed(seed))


def of_transformers(rope: RopeSettings) -> LlamaForCausalLM:
    """The network as transformers builds it from a config with these rope_parameters."""
    parameters = parameters_of(rope)
    return AutoModelForCausalLM.from_pretrained(
        EMBEDDED / DEFAULT,
        attn_implementation="eager",
        rope_parameters=parameters,
        max_position_embeddings=rope.longest,
    ).eval()


@pytest.mark.parametrize("kind", WAYS)
def test_logits_are_those_of_transformers_with_such_a_config(kind):
    tokens = some_tokens(400)
    with torch.no_grad():
        expected = of_transformers(WAYS[kind])(tokens[None]).logits
    torch.testing.assert_close(
        long_logits(DEFAULT, Way(WAYS[kind]), tokens[None]), expected, atol=2e-4, rtol=0
    )


def test_the_shared_network_is_left_as_it_is_and_its_weights_are_not_copied():
    network = load(DEFAULT)
    before = network.model.model.rotary_emb.inv_freq.clone()
    scaled = scaled_network(network, scaled_rope(YARN))
    assert scaled is not network.model
    assert torch.equal(network.model.model.rotary_emb.inv_freq, before)
    assert not torch.equal(scaled.model.rotary_emb.inv_freq, before)
    for ours, theirs in zip(scaled.parameters(), network.model.parameters(), strict=True):
        assert ours is theirs


def test_within_the_trained_length_nothing_changes():
    tokens = some_tokens(200)
    expected = trace_ids(load(DEFAULT), tokens).logits
    torch.testing.assert_close(
        long_logits(DEFAULT, Way(rope_of(load(DEFAULT))), tokens[None])[0], expected, atol=2e-4, rtol=0
    )


def test_only_the_asked_positions_are_returned():
    tokens = some_tokens(90)[None]
    whole = long_logits(DEFAULT, Way(OWN), tokens)
    torch.testing.assert_close(
        long_logits(DEFAULT, Way(OWN), tokens, torch.tensor([3, 89])), whole[:, [3, 89]]
    )


def test_loss_by_position_is_the_cross_entropy_of_transformers():
    tokens = passage_tokens(DEFAULT, "ferry", 300)
    with torch.no_grad():
        logits = of_transformers(YARN)(tokens[None]).logits[0]
    expected = cross_entropy(logits[:-1], tokens[1:], reduction="none")
    torch.testing.assert_close(loss_by_position(DEFAULT, Way(YARN), tokens), expected, atol=1e-3, rtol=0)


def test_losses_come_passage_by_passage():
    losses = list(losses_of(DEFAULT, Way(OWN), 64))
    assert len(losses) == len(PASSAGES) == 4
    assert all(loss.shape == (63,) for loss in losses)


@given(st.integers(1, 6), st.integers(1, 40), st.data())
def test_a_curve_keeps_mean_and_extremes(texts, count, data):
    bins = data.draw(st.integers(1, count))
    losses = torch.rand(texts, count)
    curve = loss_curve(losses, bins)
    assert len(curve.position) == bins
    assert (curve.least <= curve.mean + 1e-6).all()
    assert (curve.mean <= curve.largest + 1e-6).all()
    if bins == count:
        torch.testing.assert_close(curve.mean, losses.mean(0))
    if bins == 1:
        torch.testing.assert_close(curve.mean[0], losses.mean())


# Which keys are kept


def tiny(kind, config, **options):
    torch.manual_seed(3)
    built = config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        **options,
    )
    return kind(built).eval()


@settings(max_examples=12)
@given(st.integers(1, 40), st.integers(2, 40))
def test_a_window_is_mistrals(window, tokens):
    mistral = tiny(
        MistralForCausalLM,
        MistralConfig,
        num_hidden_layers=2,
        sliding_window=window,
        attn_implementation="eager",
    )
    llama = tiny(LlamaForCausalLM, LlamaConfig, num_hidden_layers=2, attn_implementation=ATTENTION)
    llama.load_state_dict(mistral.state_dict())
    ids = torch.randint(0, 50, (1, tokens), generator=torch.Generator().manual_seed(tokens))
    with torch.no_grad(), long_pass(KeyCache(window), llama.model.rotary_emb.inv_freq):
        ours = llama(ids).logits
        theirs = mistral(ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@settings(max_examples=12)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(16, 40))
def test_sinks_by_cache_positions_are_a_fresh_pass_over_what_the_cache_holds(window, sinks, tokens):
    """With one layer, keys depend on nothing before them: the cache's tokens can be run anew."""
    llama = tiny(LlamaForCausalLM, LlamaConfig, num_hidden_layers=1, attn_implementation=ATTENTION)
    ids = torch.randint(0, 50, (1, tokens), generator=torch.Generator().manual_seed(tokens))
    with torch.no_grad(), long_pass(KeyCache(window, sinks, "cache"), llama.model.rotary_emb.inv_freq):
        ours = llama(ids).logits[0]
    for last in (tokens - 1, tokens // 2):
        first = max(sinks, last - window + 1)
        held = torch.cat([ids[:, :sinks], ids[:, first : last + 1]], 1)
        with torch.no_grad():
            theirs = llama(held).logits[0, -1]
        torch.testing.assert_close(ours[last], theirs, atol=1e-4, rtol=1e-4)


def test_sinks_at_their_own_distance_are_a_mask_and_no_more():
    tokens = some_tokens(120)
    cache = KeyCache(40, 3)
    masked = Intervention(visible=Visible.from_tensor(cache.visible(120)))
    expected = trace_ids(load(DEFAULT), tokens, masked).logits
    torch.testing.assert_close(
        long_logits(DEFAULT, Way(OWN, cache), tokens[None])[0], expected, atol=2e-4, rtol=0
    )


# One head


@pytest.mark.parametrize("cache", [KeyCache(), KeyCache(30), KeyCache(30, 4, "cache"), KeyCache(30, 4)])
def test_weights_of_a_head_give_what_the_network_computes(cache):
    tokens = some_tokens(150)
    present = long_attention_states(DEFAULT, Way(OWN, cache), tokens)
    weights = head_weights(present, 0, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(150), atol=1e-5, rtol=0)
    assert (weights[~cache.visible(150)] == 0).all()
    if cache.positions == "text":
        masked = Intervention(visible=Visible.from_tensor(cache.visible(150)))
        for layer, head in ((0, 3), (3, 1)):
            expected = trace_ids(load(DEFAULT), tokens, masked).layers[layer].probabilities[head]
            torch.testing.assert_close(head_weights(present, layer, head), expected, atol=1e-4, rtol=0)


def test_every_layer_and_head_of_a_scaled_network_is_that_of_transformers():
    tokens = some_tokens(280)
    present = long_attention_states(DEFAULT, Way(YARN), tokens)
    with torch.no_grad():
        expected = of_transformers(YARN)(tokens[None], output_attentions=True).attentions
    for layer in range(4):
        for head in range(6):
            torch.testing.assert_close(
                head_weights(present, layer, head), expected[layer][0, head], atol=1e-4, rtol=0
            )


def test_sinks_by_cache_positions_weigh_as_in_a_pass_over_the_cache():
    tokens = some_tokens(150)
    cache = KeyCache(30, 4, "cache")
    row = head_weights(long_attention_states(DEFAULT, Way(OWN, cache), tokens), 0, 2)[-1]
    held = torch.cat([tokens[:4], tokens[-30:]])
    expected = trace_ids(load(DEFAULT), held).layers[0].probabilities[2, -1]
    torch.testing.assert_close(torch.cat([row[:4], row[-30:]]), expected, atol=1e-4, rtol=0)


@given(st.integers(1, 70), st.integers(1, 20))
def test_a_small_map_keeps_the_largest_weight_of_each_square(tokens, size):
    weights = torch.rand(tokens, tokens).tril()
    small = small_map(weights, size)
    assert small.shape[0] <= size
    assert float(small.nan_to_num().max()) == float(weights.max())
    assert small.triu(1).nansum() == 0


@given(st.integers(2, 200), st.data())
def test_shares_by_distance_sum_to_one_and_stay_in_their_bins(tokens, data):
    first = data.draw(st.integers(0, tokens - 1))
    back = data.draw(st.integers(0, first))
    weights = torch.zeros(tokens, tokens)
    query = torch.arange(first, tokens)
    weights[query, query - back] = 1
    found = weight_by_distance(weights, first)
    assert float(found.share.sum()) == pytest.approx(1, abs=1e-5)
    bin_of = int(found.share.argmax())
    assert found.distance[bin_of] <= back
    assert bin_of + 1 == len(found.distance) or back < found.distance[bin_of + 1]


@given(st.integers(1, 16), st.integers(0, 500), st.floats(0.01, 2))
def test_a_score_by_distance_is_that_of_the_rotated_vectors(pairs, distance, scale):
    query, key = torch.randn(2, 2 * pairs)
    frequencies = torch.rand(pairs)
    place = torch.tensor([distance])
    turned = moved(query[None], place, frequencies)[0]
    found = score_by_distance(query, key, frequencies, place.float(), scale)
    torch.testing.assert_close(found[0], scale * (turned @ key), atol=1e-3, rtol=1e-3)


def test_the_score_at_the_own_distance_is_the_networks_own():
    tokens = some_tokens(100)
    present = long_attention_states(DEFAULT, Way(OWN), tokens)
    query, key = query_and_key(present, 1, 2)
    frequencies = present.inverse_frequencies
    plain_query = moved(query, -torch.arange(100), frequencies)
    plain_key = moved(key, -torch.arange(100), frequencies)
    found = score_by_distance(
        plain_query[90], plain_key[20], frequencies, torch.tensor([70.0]), present.scale
    )
    assert float(found) == pytest.approx(float(query[90] @ key[20] * present.scale), abs=1e-3)


# Bad input


def test_what_cannot_be_run_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="longer than"):
        long_logits(DEFAULT, Way(OWN), some_tokens(LONGEST_TEXT + 1)[None])
    with pytest.raises(InputError, match="no passage"):
        passage_tokens(DEFAULT, "nowhere", 10)
    with pytest.raises(InputError, match="fewer than"):
        passage_tokens(DEFAULT, "ferry", 100_000)
    with pytest.raises(InputError, match="window"):
        KeyCache(0)
    with pytest.raises(InputError, match="sinks"):
        KeyCache(4, -1)
    with pytest.raises(InputError, match="pairs"):
        scaled_network(load(DEFAULT), ScaledRope(torch.ones(3)))
    with pytest.raises(InputError, match="bins"):
        loss_curve(torch.rand(2, 5), 6)
    with pytest.raises(InputError, match="no head"):
        head_weights(long_attention_states(DEFAULT, Way(OWN), some_tokens(8)), 0, 6)
    with pytest.raises(InputError, match="first query"):
        weight_by_distance(torch.eye(4), 4)


def test_the_start_token_stands_before_the_first_token_that_is_scored():
    """lm-evaluation-harness#1586, #1588: what stands before the first token decides its loss."""
    network = load(DEFAULT)
    tokens = passage_tokens(DEFAULT, PASSAGES[0], 40)
    assert int(tokens[0]) == network.tokenizer.bos_token_id
    scored = loss_by_position(DEFAULT, Way(OWN), tokens)
    assert len(scored) == len(tokens) - 1
    other = tokens.clone()
    other[0] = tokens[5]
    changed = (loss_by_position(DEFAULT, Way(OWN), other) - scored).abs()
    assert float(changed[0]) > 0.1


@pytest.mark.parametrize("bins", [1, 3, 9])
def test_every_token_counts_alike_and_none_is_lost_between_bins(bins):
    """transformers#34138, #30975: 5 tokens of mean 3.0, twice 2 of 1.0: 19/9, not the windows' 1.667."""
    losses = torch.tensor([[3.0] * 5 + [1.0] * 4])
    curve = loss_curve(losses, bins)
    sizes = torch.tensor([len(part) for part in torch.arange(9).tensor_split(bins)], dtype=torch.float32)
    assert float(losses.mean()) == pytest.approx(19 / 9)
    assert float((curve.mean * sizes).sum() / 9) == pytest.approx(19 / 9)
