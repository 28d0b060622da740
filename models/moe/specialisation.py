"""Do experts specialise? Measures of who is chosen together, by which domain and by which token.

Each has a null: the same measure after the routes were dealt out anew among the tokens, so that
load stays as it is and only its relation to domain or token is lost. Small samples specialise by
chance, and the null says how much.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError


def coactivation(chosen: Int[Tensor, "tokens chosen"], experts: int) -> Float[Tensor, "experts experts"]:
    """How many tokens use both experts; the diagonal is the load. All K(K−1)/2 pairs are counted."""
    slots = chosen.shape[1]
    first, second = torch.triu_indices(slots, slots, offset=1)
    pairs = (chosen[:, first] * experts + chosen[:, second]).flatten()
    counts = torch.bincount(pairs, minlength=experts**2).view(experts, experts)
    both = (counts + counts.T).float()
    return both.diagonal_scatter(torch.bincount(chosen.flatten(), minlength=experts).float())


def coactivation_share(
    chosen: Int[Tensor, "tokens chosen"], experts: int
) -> Float[Tensor, "experts experts"]:
    """N_ab/N_a: of the tokens that use expert a, the share that uses b too; (K−1)/(N−1) by chance.

    Source: Muennighoff et al. 2024 (OLMoE, arXiv:2409.02060), section 5.2.
    """
    both = coactivation(chosen, experts)
    return both / both.diagonal()[:, None].clamp(min=1)


def route_counts(
    chosen: Int[Tensor, "tokens chosen"], labels: Int[Tensor, " tokens"], experts: int, kinds: int
) -> Int[Tensor, "kinds experts"]:
    """How often tokens with each label (a domain, or a token id) use each expert."""
    flat = (labels[:, None] * experts + chosen).flatten()
    return torch.bincount(flat, minlength=kinds * experts).view(kinds, experts)


def domain_share(
    chosen: Int[Tensor, "tokens chosen"], domains: Int[Tensor, " tokens"], experts: int, kinds: int
) -> Float[Tensor, "kinds experts"]:
    """Of the tokens of a domain, the share that uses each expert; K/N by chance. Rows sum to K.

    Source: Muennighoff et al. 2024 (OLMoE, arXiv:2409.02060), section 5.3.
    """
    counts = route_counts(chosen, domains, experts, kinds).float()
    tokens = torch.bincount(domains, minlength=kinds).float()
    return counts / tokens.clamp(min=1)[:, None]


def domain_specialisation(
    chosen: Int[Tensor, "tokens chosen"], domains: Int[Tensor, " tokens"], experts: int, kinds: int
) -> Float[Tensor, " experts"]:
    """Per expert, mutual information with the domain: D_KL(P(domain | expert) ‖ P(domain)), nats.

    0 where an expert sees the domains as they come, at most −ln of the smallest domain's share; 0 for
    an expert that is never used.
    """
    counts = route_counts(chosen, domains, experts, kinds).double()
    overall = torch.bincount(domains, minlength=kinds).double()
    overall = overall / overall.sum()
    given = counts / counts.sum(0).clamp(min=1)
    ratio = torch.where(given > 0, given / overall.clamp(min=1e-300)[:, None], torch.ones_like(given))
    return (given * ratio.log()).sum(0).float()


def token_specialisation(
    first_choice: Int[Tensor, " tokens"], token_ids: Int[Tensor, " tokens"], experts: int, least: int
) -> Float[Tensor, ""]:
    """Mean over token ids of the share of their occurrences that go to their favourite expert.

    Only ids that occur ``least`` times or more count: one that occurs once scores 1 whatever the
    router does. NaN where there are none. Source: vocabulary specialisation of Muennighoff et al.
    2024 (OLMoE, arXiv:2409.02060), section 5.4, where ``least`` is 1.
    Raises InputError where ``least`` is below 1.
    """
    if least < 1:
        raise InputError("A token must be seen at least once; {least} is not accepted.", least=least)
    _ids, places = token_ids.unique(return_inverse=True)
    counts = route_counts(first_choice[:, None], places, experts, len(_ids)).float()
    seen = counts.sum(1)
    return (counts.amax(1) / seen)[seen >= least].mean()


def null_distribution(
    measure: Callable[[Int[Tensor, "tokens chosen"]], Float[Tensor, "..."]],
    chosen: Int[Tensor, "tokens chosen"],
    draws: int,
    seed: int,
) -> Float[Tensor, "draws ..."]:
    """The measure on routes that were dealt out anew among the tokens, ``draws`` times over."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [measure(chosen[torch.randperm(len(chosen), generator=generator)]) for _ in range(draws)]
    )
