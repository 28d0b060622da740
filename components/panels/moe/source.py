"""Which mixture of experts reads which text, and its routes, kept for a few."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from components.panels.network.reading import OTHER, YOURS, ReadsNetwork, network_label
from components.settings import View, number, one_of
from components.words import _, mark
from models.moe.evaluation import MixtureFigures, expert_count, figures_of
from models.moe.routing import RoutedCorpus, RoutedText, Silenced, route_corpus, route_text, routers
from models.networks.catalogue import MIXTURES, available, find
from models.networks.domains import domain_samples
from models.networks.loading import load

EXCERPT = 320  # characters of a domain that the page begins with
KEPT = 12


def domain_label(name: str) -> str:
    return {"prose": _("Prose"), "python": "Python", "arithmetic": _("Arithmetic")}.get(name, name)


def balancing_label(network: str) -> str:
    """What balanced one of the three networks; another network's own name."""
    labels = {
        "loupe-moe-none": _("no balancing"),
        "loupe-moe-loss": _("auxiliary loss"),
        "loupe-moe-bias": _("bias, no loss"),
    }
    return labels.get(network, network)


def mixtures(_view: object = None) -> list[str]:
    """Mixtures that ship with Loupe, and "another one"."""
    return [*(entry.name for entry in available() if entry.name in MIXTURES), OTHER]


def beginning(domain: str) -> str:
    """The first words of a domain's sample."""
    part = domain_samples()[domain][:EXCERPT]
    return part[: max(part.rfind("\n"), part.rfind(" ")) + 1].rstrip()


def domain_or_own(name: str) -> str:
    return _("your own text") if name == YOURS else domain_label(name)


@dataclass(frozen=True)
class ReadsMixture(ReadsNetwork):
    """A view on a mixture of experts that a person chooses."""

    network: str = one_of(
        mixtures, MIXTURES[0], label=mark("Network"), label_of=network_label, place="head", kept=True
    )

    @property
    def network_name(self) -> str:
        """The mixture that is read. Raises InputError on a typed one that cannot be."""
        if self.network != OTHER:
            return self.network
        return find(self.other).name if self.other else MIXTURES[0]


@dataclass(frozen=True)
class Seeds(View):
    """A view on something random."""

    seed: int = number(0, 9_999, 0, label=mark("Seed"), place="more")


@dataclass(frozen=True)
class OnLayer(ReadsMixture):
    """A layer of the mixture, which several views share."""

    layer: int = one_of(lambda view: range(view.routed_layers), 1, label=mark("Layer"), style="segments")

    @property
    def routed_layers(self) -> int:
        return len(routers(load(self.network_name)))

    @property
    def experts(self) -> int:
        return expert_count(load(self.network_name))


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def routed(network: str, text: str, silenced: Silenced = frozenset()) -> RoutedText:
    """The routes of a text; shared between sessions, so nothing may be changed in it."""
    return route_text(load(network), text, silenced)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def corpora(network: str, silenced: Silenced = frozenset()) -> Mapping[str, RoutedCorpus]:
    """The routes of each domain's whole sample."""
    found = load(network)
    return {name: route_corpus(found, text, silenced) for name, text in domain_samples().items()}


def figures(network: str, silenced: Silenced = frozenset()) -> MixtureFigures:
    """Loss and load on each domain's sample."""
    experts = expert_count(load(network))
    return figures_of(corpora(network, silenced), experts)
