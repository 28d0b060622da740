"""models.attention.head_scores against their definitions, written out in loops, and a real network."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.testing import assert_close
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from models.attention.head_scores import head_scores, induction_targets, repeated_token_induction
from models.errors import InputError


def causal_weights(layers, heads, tokens, seed=0, sharpness=3.0):
    """Random causal attention, by torch's softmax."""
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, heads, tokens, tokens)
    scores = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1)


def pointing(tokens, target):
    """One layer, one head: query i gives all its weight to key target(i)."""
    weights = torch.zeros(1, 1, tokens, tokens)
    for i in range(tokens):
        weights[0, 0, i, target(i)] = 1.0
    return weights


def looped_induction(weights, ids):
    """The definition of induction, one query and one earlier occurrence at a time."""
    rows = []
    for i, token in enumerate(ids):
        earlier = [j for j in range(i) if ids[j] == token]
        if earlier:
            rows.append(sum(weights[i, j + 1].item() for j in earlier))
    return sum(rows) / len(rows) if rows else math.nan


token_lists = st.lists(st.integers(0, 4), min_size=1, max_size=12)


class TestHeadScores:
    @settings(deadline=None)
    @given(token_lists, st.integers(0, 2**31))
    def test_every_score_is_its_definition(self, ids, seed):
        n = len(ids)
        weights = causal_weights(2, 3, n, seed)
        scores = head_scores(weights, torch.tensor(ids))
        for layer in range(2):
            for head in range(3):
                w = weights[layer, head]
                entropy = Categorical(probs=w).entropy()
                expected = {
                    "previous_token": [w[i, i - 1] for i in range(1, n)],
                    "first_token": [w[i, 0] for i in range(1, n)],
                    "diagonal": [w[i, i] for i in range(n)],
                    "entropy": list(entropy),
                    "normalised_entropy": [entropy[i] / math.log(i + 1) for i in range(1, n)],
                }
                for name, values in expected.items():
                    mean = sum(map(float, values)) / len(values) if values else math.nan
                    self.check(getattr(scores, name)[layer, head], mean)
                self.check(scores.induction[layer, head], looped_induction(w, ids))

    def check(self, score, expected):
        """head_scores works in float32."""
        assert_close(score.item(), expected, rtol=1e-5, atol=1e-6, equal_nan=True)

    @pytest.mark.parametrize(
        ("name", "target"),
        [
            ("previous_token", lambda i: max(i - 1, 0)),
            ("first_token", lambda i: 0),
            ("diagonal", lambda i: i),
        ],
    )
    def test_a_pure_head_scores_one(self, name, target):
        scores = head_scores(pointing(7, target), torch.arange(7))
        assert getattr(scores, name).item() == 1.0
        assert scores.entropy.item() == 0.0

    def test_a_pure_induction_head_scores_one(self):
        ids = torch.tensor([9, 1, 2, 3, 1, 2, 3, 1])
        weights = pointing(8, lambda i: i - 2 if i >= 4 else 0)
        assert head_scores(weights, ids).induction.item() == 1.0
        assert repeated_token_induction(weights, period=3, start=1).item() == 1.0

    def test_even_attention_has_a_normalised_entropy_of_one(self):
        scores = head_scores(causal_weights(1, 2, 9, sharpness=0.0), torch.arange(9))
        assert_close(scores.normalised_entropy, torch.ones(1, 2))
        full = torch.full((1, 2, 9, 9), 1 / 9)
        assert_close(head_scores(full, torch.arange(9)).normalised_entropy, torch.ones(1, 2))

    def test_visible_keys_may_be_given(self):
        causal = torch.ones(6, 6, dtype=torch.bool).tril()
        first_only = pointing(6, lambda i: 0)
        for visible in (causal, [causal], None):
            assert head_scores(first_only, torch.arange(6), visible).normalised_entropy.item() == 0.0
        weights = causal_weights(2, 3, 6)
        inferred, given_mask = (head_scores(weights, torch.arange(6), v) for v in (None, causal))
        assert_close(inferred.normalised_entropy, given_mask.normalised_entropy)

    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize("tokens", [2, 3, 9])
    def test_weights_of_exactly_zero_are_keys_all_the_same(self, causal, tokens):
        """Half on either end of what is visible, whatever else is exactly 0: ln 2 / ln n in each row."""
        weights = torch.zeros(1, 1, tokens, tokens)
        for i in range(tokens):
            weights[0, 0, i, 0] += 0.5
            weights[0, 0, i, i if causal else tokens - 1] += 0.5
        counts = [i + 1 for i in range(1, tokens)] if causal else [tokens] * tokens
        expected = sum(math.log(2) / math.log(n) for n in counts) / len(counts)
        self.check(head_scores(weights, torch.arange(tokens)).normalised_entropy, expected)

    @pytest.mark.parametrize("target", [lambda i: i, lambda i: 0, lambda i: max(i - 1, 0)])
    def test_heads_with_all_weight_on_one_key_have_a_normalised_entropy_of_zero(self, target):
        assert head_scores(pointing(5, target), torch.arange(5)).normalised_entropy.item() == 0.0

    def test_each_layer_may_have_a_mask_of_its_own(self):
        causal = torch.ones(6, 6, dtype=torch.bool).tril()
        window = causal.triu(-1)
        even = torch.stack([mask / mask.sum(-1, keepdim=True) for mask in (causal, window)])[
            :, None
        ].float()
        both = head_scores(even, torch.arange(6), [causal, window]).normalised_entropy
        assert_close(both, torch.ones(2, 1))
        with pytest.raises(InputError, match="1 masks do not fit 2 layers"):
            head_scores(even, torch.arange(6), [causal])

    @pytest.mark.parametrize("causal", [True, False])
    def test_on_a_network_of_transformers(self, causal):
        """On the tuples of layers that transformers returns, of a decoder and of an encoder."""
        torch.manual_seed(0)
        ids = torch.tensor([3, 5, 7, 5, 7, 9])
        if causal:
            config = GPT2Config(vocab_size=10, n_embd=16, n_head=4, n_layer=2, attn_implementation="eager")
            network = GPT2Model(config).eval()
        else:
            config = BertConfig(
                vocab_size=10,
                hidden_size=16,
                num_attention_heads=4,
                num_hidden_layers=2,
                intermediate_size=8,
                attn_implementation="eager",
            )
            network = BertModel(config).eval()
        with torch.no_grad():
            attentions = network(ids[None], output_attentions=True).attentions
        weights = [layer[0] for layer in attentions]
        scores = head_scores(weights, ids)
        stacked = torch.stack(weights)
        assert scores.induction.shape == (2, 4)
        assert_close(scores.entropy, Categorical(probs=stacked).entropy().mean(dim=-1))
        expected = [[looped_induction(head, ids.tolist()) for head in layer] for layer in stacked]
        assert_close(scores.induction, torch.tensor(expected))
        assert ((scores.normalised_entropy > 0.9) & (scores.normalised_entropy <= 1.0)).all()  # untrained

    def test_no_tokens_and_no_layers(self):
        with pytest.raises(InputError, match="nothing to score"):
            head_scores([], torch.arange(5))
        with pytest.raises(InputError, match="nothing to score"):
            head_scores(torch.zeros(1, 1, 0, 0), torch.zeros(0, dtype=torch.long))


class TestInductionTargets:
    @settings(deadline=None)
    @given(token_lists)
    def test_they_are_the_tokens_after_earlier_occurrences(self, ids):
        targets = induction_targets(torch.tensor(ids))
        n = len(ids)
        expected = [[j > 0 and j - 1 < i and ids[j - 1] == ids[i] for j in range(n)] for i in range(n)]
        assert targets.tolist() == expected


class TestRepeatedTokens:
    @settings(deadline=None)
    @given(
        st.integers(1, 6), st.integers(0, 3), st.integers(2, 4), st.integers(0, 2**31), st.integers(0, 5)
    )
    def test_it_is_the_mean_over_the_later_copies(self, period, start, copies, seed, cut):
        tokens = start + period * copies - min(cut, period - 1)  # the last copy may be cut short
        weights = causal_weights(2, 2, tokens, seed)
        score = repeated_token_induction(list(weights), period, start)
        rows = [weights[..., i, i - period + 1] for i in range(start + period, tokens)]
        assert_close(score, torch.stack(rows).mean(dim=0).float())

    def test_two_copies_agree_with_the_general_score(self):
        ids = torch.tensor([0, 4, 6, 5, 8, 4, 6, 5, 8])
        weights = causal_weights(2, 3, len(ids))
        expected = head_scores(weights, ids).induction
        assert_close(repeated_token_induction(weights, period=4, start=1), expected)

    @pytest.mark.parametrize(("period", "start"), [(5, 1), (0, 1), (2, -1), (6, 0)])
    def test_no_second_copy(self, period, start):
        with pytest.raises(InputError, match="no second copy"):
            repeated_token_induction(causal_weights(1, 1, 6), period, start)
