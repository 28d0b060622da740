"""models.attention.next_token against torch's topk, Categorical and kl_divergence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.distributions import kl_divergence as torch_kl_divergence
from torch.nn import functional as F
from torch.testing import assert_close
from transformers.loss.loss_utils import ForCausalLMLoss

from models.attention.next_token import (
    compare_next_token,
    kl_divergence,
    log_probabilities,
    ranks,
    text_losses,
    top_tokens,
)
from models.errors import InputError

seeds = st.integers(0, 2**31)


def random_logits(vocabulary, seed, sharpness=3.0):
    return sharpness * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed))


class TestTopTokens:
    @settings(deadline=None)
    @given(st.integers(1, 50), seeds, st.data())
    def test_are_those_of_the_whole_vocabulary(self, vocabulary, seed, data):
        logits = random_logits(vocabulary, seed)
        k = data.draw(st.integers(1, vocabulary))
        ids, probabilities = top_tokens(logits, k)
        assert ids.tolist() == logits.argsort(descending=True)[:k].tolist()
        assert_close(probabilities, logits.double().softmax(dim=-1)[ids])
        assert_close(ranks(logits, ids), torch.arange(1, k + 1))

    @pytest.mark.parametrize("k", [0, 4])
    def test_a_k_that_is_not_accepted(self, k):
        with pytest.raises(InputError, match="between 1 and 3"):
            top_tokens(torch.zeros(3), k)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_unusable_logits(self, bad):
        with pytest.raises(InputError, match="must be numbers"):
            top_tokens(torch.tensor([0.0, bad]), 1)
        with pytest.raises(InputError, match="largest of them finite"):
            top_tokens(torch.full((3,), -torch.inf), 1)

    def test_a_token_that_cannot_come(self):
        _, probabilities = top_tokens(torch.tensor([0.0, -torch.inf, 0.0]), 3)
        assert probabilities.tolist() == [0.5, 0.5, 0.0]


class TestCompare:
    @settings(deadline=None)
    @given(st.integers(1, 40), seeds, st.data())
    def test_ids_probabilities_ranks_and_divergence(self, vocabulary, seed, data):
        before, after = random_logits(vocabulary, seed), random_logits(vocabulary, seed + 1)
        k = data.draw(st.integers(1, vocabulary))
        change = compare_next_token(before, after, k)
        top_before, top_after = before.topk(k).indices.tolist(), after.topk(k).indices.tolist()
        assert change.ids.tolist() == list(dict.fromkeys(top_before + top_after))
        p, q = before.double().softmax(dim=-1), after.double().softmax(dim=-1)
        assert_close(change.before, p[change.ids])
        assert_close(change.after, q[change.ids])
        order_before, order_after = before.argsort(descending=True), after.argsort(descending=True)
        for n, token in enumerate(change.ids.tolist()):
            rank_before = order_before.tolist().index(token) + 1
            rank_after = order_after.tolist().index(token) + 1
            assert change.rank_before[n] == rank_before
            assert change.rank_after[n] == rank_after
            assert change.rank_change[n] == rank_before - rank_after
        assert math.isclose(change.kl, F.kl_div(q.log(), p, reduction="sum"), rel_tol=1e-9, abs_tol=1e-12)
        categorical = torch_kl_divergence(Categorical(probs=p), Categorical(probs=q)).item()
        # Categorical keeps logarithms of clamped probabilities
        assert math.isclose(change.kl, categorical, rel_tol=1e-6, abs_tol=1e-9)

    @settings(deadline=None)
    @given(st.integers(1, 40), seeds, st.floats(-100, 100))
    def test_a_shift_of_all_logits_changes_nothing(self, vocabulary, seed, shift):
        before = random_logits(vocabulary, seed).double()
        change = compare_next_token(before, before + shift, 1)
        assert change.kl < 1e-12
        assert_close(change.before, change.after)

    def test_tokens_that_cannot_come(self):
        both = torch.tensor([1.0, 2.0, -torch.inf], dtype=torch.float64)
        allowed = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
        assert compare_next_token(both, both, 3).kl == 0.0
        assert compare_next_token(allowed, both, 3).kl == math.inf
        expected = F.kl_div(allowed[:2].log_softmax(-1), both[:2].softmax(-1), reduction="sum")
        lost_mass = allowed.logsumexp(-1) - allowed[:2].logsumexp(-1)  # what the third token takes
        assert math.isclose(compare_next_token(both, allowed, 3).kl, expected + lost_mass, rel_tol=1e-9)

    def test_a_minute_change_is_not_lost(self):
        """KL ≈ ε²/2 · Var: far below what float32 log-probabilities resolve."""
        before = random_logits(1000, 0).double()
        direction = random_logits(1000, 1).double()
        p = before.softmax(dim=-1)
        variance = (p * (direction - (p * direction).sum()) ** 2).sum().item()
        change = compare_next_token(before, before + 1e-5 * direction, 5)
        assert math.isclose(change.kl, 0.5e-10 * variance, rel_tol=1e-3)

    def test_equal_logits_share_a_rank(self):
        assert ranks(torch.tensor([2.0, 5.0, 5.0, 1.0]), torch.arange(4)).tolist() == [3, 1, 1, 4]

    def test_two_vocabularies(self):
        with pytest.raises(InputError, match="must be the same"):
            compare_next_token(torch.zeros(3), torch.zeros(4), 1)

    @settings(deadline=None)
    @given(st.integers(1, 20), seeds)
    def test_divergence_is_never_negative(self, vocabulary, seed):
        log_p, log_q = (log_probabilities(random_logits(vocabulary, s)) for s in (seed, seed + 1))
        assert kl_divergence(log_p, log_q) >= 0
        assert kl_divergence(log_p, log_p) == 0


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 30), st.integers(0, 2**31))
def test_text_losses_average_to_what_transformers_returns(tokens, vocabulary, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, vocabulary, generator=generator)
    ids = torch.randint(0, vocabulary, (tokens,), generator=generator)
    theirs = ForCausalLMLoss(logits[None], ids[None], vocabulary)
    assert_close(text_losses(logits, ids).mean().float(), theirs)


def test_a_text_of_one_token_leaves_nothing_to_predict():
    with pytest.raises(InputError, match="at least two are needed"):
        text_losses(torch.zeros(1, 4), torch.tensor([1]))
