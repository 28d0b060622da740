"""What a mixture of experts is worth, and how evenly it works: by domain, and over all domains."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.moe.balance import expert_load, max_violation
from models.moe.routing import RoutedCorpus, Silenced, route_corpus, routers
from models.networks.loading import Network


@dataclass(frozen=True, eq=False)
class MixtureFigures:
    """Loss and load on several texts, whose names stand in ``domains``."""

    domains: tuple[str, ...]
    loss: Float[Tensor, " domains"]  # nats per character
    load: Float[Tensor, "domains layers experts"]

    @property
    def total_load(self) -> Float[Tensor, "layers experts"]:
        """Over all domains, each weighed alike whatever its number of tokens."""
        return (self.load / self.load.sum(-1, keepdim=True)).mean(0)

    @property
    def violation(self) -> Float[Tensor, "domains layers"]:
        """MaxVio of each layer within each domain."""
        return max_violation(self.load)

    @property
    def total_violation(self) -> Float[Tensor, " layers"]:
        """MaxVio_global of each layer: all domains together. Its mean over layers is the usual figure."""
        return max_violation(self.total_load)

    def as_record(self) -> dict[str, object]:
        """The figures as they stand in measurements.json."""
        return {
            "nats_per_character": _named(self.domains, self.loss),
            "mean_nats_per_character": round(float(self.loss.mean()), 4),
            "max_violation_by_layer": {
                name: [round(float(value), 4) for value in row]
                for name, row in zip(self.domains, self.violation, strict=True)
            },
            "max_violation_global_by_layer": [round(float(value), 4) for value in self.total_violation],
            "max_violation_global": round(float(self.total_violation.mean()), 4),
        }


def _named(names: tuple[str, ...], values: Float[Tensor, " names"]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}


def figures_of(corpora: Mapping[str, RoutedCorpus], experts: int) -> MixtureFigures:
    """Loss and load of texts that were routed."""
    return MixtureFigures(
        tuple(corpora),
        torch.tensor([corpus.nats_per_character for corpus in corpora.values()]),
        torch.stack(
            [
                torch.stack([expert_load(layer, experts) for layer in corpus.chosen])
                for corpus in corpora.values()
            ]
        ),
    )


def mixture_figures(
    network: Network, texts: Mapping[str, str], silenced: Silenced = frozenset()
) -> MixtureFigures:
    """Route texts, and measure. Raises as ``route_corpus``."""
    corpora = {name: route_corpus(network, text, silenced) for name, text in texts.items()}
    return figures_of(corpora, expert_count(network))


def expert_count(network: Network) -> int:
    """N of the first router: as it says, or the rows of its weight."""
    gate = routers(network)[0]
    stated = getattr(gate, "num_experts", None)
    return int(stated) if stated is not None else len(next(gate.parameters()))
