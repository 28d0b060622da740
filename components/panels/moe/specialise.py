"""Do experts specialise by domain, by token? Who works with whom? Each beside its null."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Int
from torch import Tensor

from components.figures.moe import against_chance, names_of
from components.figures.moe_load import pair_matrix
from components.lesson_parts import note
from components.panels.moe.source import OnLayer, corpora, domain_label
from components.settings import number
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
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


@dataclass(frozen=True)
class Routed:
    """All domains' samples as one: routes of a layer, token ids, and the domain of each token."""

    names: tuple[str, ...]
    chosen: Int[Tensor, "tokens slots"]
    ids: Int[Tensor, " tokens"]
    domains: Int[Tensor, " tokens"]


def routed_samples(network: str, layer: int) -> Routed:
    parts = corpora(network)
    return Routed(
        tuple(parts),
        torch.cat([corpus.chosen[layer] for corpus in parts.values()]),
        torch.cat([corpus.token_ids for corpus in parts.values()]),
        torch.cat([torch.full((len(c.token_ids),), i) for i, c in enumerate(parts.values())]),
    )


@lru_cache(maxsize=32)
def beside_chance(network: str, layer: int) -> tuple[Tensor, Tensor]:
    """Domain specialisation of each expert, and the same of shuffled routes."""
    found, experts = routed_samples(network, layer), expert_count(load(network))
    measure = partial(domain_specialisation, domains=found.domains, experts=experts, kinds=len(found.names))
    return measure(found.chosen), null_distribution(measure, found.chosen, DRAWS, SEED)


@dataclass(frozen=True)
class Specialists(OnLayer):
    """Do experts specialise by domain, by token? Who works with whom? Each beside its null."""

    page, name = "moe", "specialise"
    least: int = number(1, 100, 10, label=mark("Count tokens seen at least … times"))

    def special_figure(self) -> go.Figure:
        values, null = beside_chance(self.network_name, self.layer)
        title = _("Information on the domain (nats)")
        return against_chance(values.numpy(), null.numpy(), names_of(self.experts), _("Expert"), title)

    def stage(self) -> Stage:
        chosen, experts = routed_samples(self.network_name, self.layer).chosen, self.experts
        together = coactivation_share(chosen, experts).numpy()
        top = float(np.max(together * (1 - np.eye(experts))))
        pairs = pair_matrix(together, max(top, 0.01), _("Expert"), _("share of its tokens"))
        said = _("Domain specialisation of each expert beside chance")
        return Stage(
            [
                Plot("special", self.special_figure(), said, width=1.4),
                Plot("pairs", pairs, _("Of the tokens of one expert, the share that uses another")),
            ]
        )

    def below(self) -> None:
        note(self, "specialise")
        samples, experts = routed_samples(self.network_name, self.layer), self.experts
        by_chance = (samples.chosen.shape[1] - 1) / max(1, experts - 1)
        words = _(
            "Right: of the tokens that use the row's expert, the share that also uses the column's; "
            "by chance, with even load: {share}."
        )
        st.markdown(words.format(share=f"{by_chance:.3f}"))
        tokens(samples.chosen[:, 0], samples.ids, experts, self.least)
        shares = share_table(samples.chosen, samples.domains, experts, list(samples.names))
        st.dataframe(shares, hide_index=True)
        take_with_you(self, lambda: shares, self.special_figure, snippet(self.network_name, self.layer))


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
