"""Which mixture of experts reads which text, and its routes, kept for a few."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from components.page import Page
from components.panels.network.text import Choice, choose_network, choose_text
from components.words import _
from models.moe.evaluation import MixtureFigures, figures_of
from models.moe.routing import RoutedCorpus, RoutedText, Silenced, route_corpus, route_text, routers
from models.networks.catalogue import MIXTURES, Entry, available
from models.networks.domains import domain_samples
from models.networks.loading import load

EXCERPT = 320  # characters of a domain that the page begins with
KEPT = 12


@dataclass(frozen=True)
class DomainText:
    """The beginning of a domain's sample, as a text to choose."""

    name: str
    excerpt: str

    def title(self, _language: str) -> str:
        return domain_label(self.name)


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


def choose_source(page: Page) -> Choice:
    """Network and text. Raises InputError on a network that cannot be."""
    offered = [DomainText(name, _beginning(text)) for name, text in domain_samples().items()]
    return choose_text(page, mixtures(), offered)


def choose_mixture(page: Page) -> str:
    """The network alone, for views that read the samples of the domains."""
    with st.container(width=420):
        return choose_network(page, mixtures())


def mixtures() -> list[Entry]:
    return [entry for entry in available() if entry.name in MIXTURES]


def _beginning(text: str) -> str:
    part = text[:EXCERPT]
    return part[: max(part.rfind("\n"), part.rfind(" ")) + 1].rstrip()


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
    experts = len(routers(load(network))[0].get_parameter("weight"))
    return figures_of(corpora(network, silenced), experts)
