"""Do experts specialise by domain, by token? Who works with whom? Each beside its null."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
import torch
from jaxtyping import Int
from torch import Tensor

from components.controls import choose, whole_number
from components.figures.moe import against_chance, names_of
from components.figures.moe_load import pair_matrix
from components.live.figure import live_figure
from components.page import Page, take_with_you
from components.panels import panel
from components.panels.moe.source import corpora, domain_label
from components.words import _
from models.moe.evaluation import expert_count
from models.moe.specialisation import (
    coactivation_share,
    domain_share,
    domain_specialisation,
    null_distribution,
    token_specialisation,
)
from models.networks.loading import load

DRAWS, SEED = 20, 0


@panel
def specialise(page: Page, network: str) -> None:
    parts = corpora(network)
    experts = expert_count(load(network))
    layers = len(next(iter(parts.values())).chosen)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = choose(
            _("Layer"), range(layers), f"{page.name}_layer", str, default=page.default("layer"),
            style="segments" if layers <= 8 else "select",
        )  # fmt: skip
        least = whole_number(
            _("Count tokens seen at least … times"), 1, 100, f"{page.name}_least", 10, width=260
        )
    chosen = torch.cat([corpus.chosen[layer] for corpus in parts.values()])
    ids = torch.cat([corpus.token_ids for corpus in parts.values()])
    domains = torch.cat([torch.full((len(c.token_ids),), i) for i, c in enumerate(parts.values())])
    left, right = st.columns([3, 2], gap="medium")
    with left:
        measure = partial(domain_specialisation, domains=domains, experts=experts, kinds=len(parts))
        values = measure(chosen)
        null = null_distribution(measure, chosen, DRAWS, SEED)
        figure = against_chance(
            values.numpy(),
            null.numpy(),
            names_of(experts),
            _("Expert"),
            _("Information on the domain (nats)"),
        )
        live_figure(figure, f"{page.name}_special", _("Domain specialisation of each expert beside chance"))
        page.note("specialise")
    with right:
        together = coactivation_share(chosen, experts).numpy()
        top = float(np.max(together * (1 - np.eye(experts))))
        pairs = pair_matrix(together, max(top, 0.01), _("Expert"), _("share of its tokens"))
        live_figure(
            pairs, f"{page.name}_pairs", _("Of the tokens of one expert, the share that uses another")
        )
        by_chance = (chosen.shape[1] - 1) / max(1, experts - 1)
        words = _("By chance, with even load: {share}.").format(share=f"{by_chance:.3f}")
        st.caption(words)
    tokens(chosen[:, 0], ids, experts, least)
    shares = share_table(chosen, domains, experts, list(parts))
    st.dataframe(shares, hide_index=True)
    take_with_you(f"{page.name}_specialise", lambda: shares, lambda: figure, snippet(network, layer))


def tokens(first: Int[Tensor, " tokens"], ids: Int[Tensor, " tokens"], experts: int, least: int) -> None:
    """Token specialisation with the threshold and without, each beside its null."""
    columns = st.columns(4)
    for pair, threshold in ((columns[:2], least), (columns[2:], 1)):

        def measure(routes: Int[Tensor, "tokens 1"], threshold: int = threshold) -> Tensor:
            return token_specialisation(routes[:, 0], ids, experts, threshold)

        value = float(measure(first[:, None]))
        null = float(null_distribution(measure, first[:, None], DRAWS, SEED).mean())
        words = _("Token's favourite expert (seen ≥ {least})").format(least=threshold)
        pair[0].metric(words, f"{value:.1%}")
        pair[1].metric(_("the same by chance"), f"{null:.1%}")


def share_table(
    chosen: Int[Tensor, "tokens slots"], domains: Int[Tensor, " tokens"], experts: int, names: list[str]
) -> pd.DataFrame:
    """Of a domain's tokens, the share that uses each expert; K/N by chance."""
    shares = domain_share(chosen, domains, experts, len(names)).numpy()
    rows = {_("Share of the domain's tokens"): [domain_label(name) for name in names]}
    written = {str(expert): [f"{share:.3f}" for share in shares[:, expert]] for expert in range(experts)}
    return pd.DataFrame(rows | written)


def snippet(network: str, layer: int) -> str:
    """Python that repeats the numbers of the bars."""
    return f"""import torch

from models.moe.specialisation import domain_specialisation
from models.networks.domains import domain_samples
from models.networks.loading import load
from models.moe.evaluation import expert_count
from models.moe.routing import route_corpus

network = load({network!r})
parts = [route_corpus(network, text) for text in domain_samples().values()]
chosen = torch.cat([part.chosen[{layer}] for part in parts])
domains = torch.cat([torch.full((len(part.token_ids),), index) for index, part in enumerate(parts)])
print(domain_specialisation(chosen, domains, expert_count(network), len(parts)))
"""
