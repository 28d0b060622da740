"""Specialisation: pairs against a product of one-hot matrices, nulls against their expectation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div, one_hot
from torch.testing import assert_close

from models.errors import InputError
from models.moe.specialisation import (
    coactivation,
    coactivation_share,
    domain_share,
    domain_specialisation,
    null_distribution,
    route_counts,
    token_specialisation,
)


def random_routes(tokens: int, experts: int, chosen: int, seed: int) -> torch.Tensor:
    scores = torch.rand(tokens, experts, generator=torch.Generator().manual_seed(seed))
    return scores.topk(chosen).indices


@given(st.integers(1, 50), st.integers(2, 10), st.integers(0, 999), st.data())
def test_coactivation_is_the_product_of_one_hot_rows(tokens, experts, seed, data):
    chosen = random_routes(tokens, experts, data.draw(st.integers(1, experts)), seed)
    rows = one_hot(chosen, experts).sum(1).float()
    both = coactivation(chosen, experts)
    assert_close(both, rows.T @ rows)
    assert_close(coactivation_share(chosen, experts), both / both.diagonal()[:, None].clamp(min=1))


def test_coactivation_by_chance_is_k_minus_one_over_n_minus_one():
    """64 experts, 8 chosen: 11.1 % of an expert's tokens use any one other; all 28 pairs are counted."""
    share = coactivation_share(random_routes(40_000, 64, 8, 0), 64)
    off_diagonal = share[~torch.eye(64, dtype=torch.bool)]
    assert float(off_diagonal.mean()) == pytest.approx(7 / 63, abs=1e-4)


@given(st.integers(2, 60), st.integers(0, 999))
def test_shares_of_domains(tokens, seed):
    chosen = random_routes(tokens, 6, 2, seed)
    domains = torch.arange(tokens) % 3
    counts = route_counts(chosen, domains, 6, 3)
    assert counts.sum() == 2 * tokens
    share = domain_share(chosen, domains, 6, 3)
    assert_close(share.sum(1), torch.where(torch.bincount(domains, minlength=3) > 0, 2.0, 0.0))
    overall = torch.bincount(domains, minlength=3).double() / tokens
    given_expert = counts.T.double() / counts.sum(0).clamp(min=1)[:, None]
    terms = kl_div(overall.log().expand(6, 3), given_expert, reduction="none")
    expected = terms.nan_to_num().sum(1).tolist()
    measured = domain_specialisation(chosen, domains, 6, 3).tolist()
    assert measured == pytest.approx(expected, abs=1e-5)


def test_an_expert_of_one_domain_is_as_special_as_can_be():
    domains = torch.tensor([0] * 10 + [1] * 30)
    chosen = domains[:, None]
    assert domain_specialisation(chosen, domains, 2, 2).tolist() == pytest.approx(
        [math.log(4), math.log(4 / 3)]
    )
    blind = torch.zeros(40, 1, dtype=torch.long)
    assert domain_specialisation(blind, domains, 2, 2).tolist() == [0, 0]


def test_tokens_seen_once_look_special():
    ids = torch.arange(500)
    routes = random_routes(500, 64, 1, 1)[:, 0]
    assert token_specialisation(routes, ids, 64, least=1) == 1
    assert token_specialisation(routes, ids, 64, least=2).isnan()
    repeated = torch.arange(5_000) % 5  # 1,000 of each: near 1/64 plus the luck of the favourite
    by_chance = token_specialisation(random_routes(5_000, 64, 1, 2)[:, 0], repeated, 64, least=10)
    assert 1 / 64 < by_chance < 0.05
    assert token_specialisation(repeated, repeated, 64, least=10) == 1


@given(st.integers(0, 99))
def test_the_null_keeps_the_load_and_loses_the_domain(seed):
    domains = torch.arange(600) % 3
    chosen = domains[:, None]

    def measure(routes: torch.Tensor) -> torch.Tensor:
        return domain_specialisation(routes, domains, 3, 3)

    null = null_distribution(measure, chosen, draws=4, seed=seed)
    assert null.shape == (4, 3)
    assert null.max() < 0.1 < measure(chosen).min()
    loads = null_distribution(lambda routes: torch.bincount(routes.flatten()).float(), chosen, 2, seed)
    assert (loads == 200).all()
    assert torch.equal(null, null_distribution(measure, chosen, draws=4, seed=seed))


def test_a_threshold_of_zero_is_refused():
    with pytest.raises(InputError):
        token_specialisation(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), 2, least=0)
