"""What pages read of networks, from whichever engine the settings name; kept up to so many bytes."""

from components.server.watch import timed
from models.networks.engine.arrays import trace_bytes
from models.networks.engine.choice import engine
from models.networks.facts import NetworkFacts
from models.networks.interventions import Intervention
from models.networks.loading import NETWORKS_SHARE
from models.networks.tracing import NO_INTERVENTION, Trace
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short, relieve
from models.runtime.settings import settings


def _most_bytes() -> int:
    return int((1 - NETWORKS_SHARE) * settings().cache_megabytes * 1e6)


TRACES: Kept[tuple[str, str, Intervention], Trace] = Kept(_most_bytes, trace_bytes)
drop_when_short(TRACES.clear)


def traced(network_name: str, text: str) -> Trace:
    """The network's own forward pass; shared between sessions, so nothing may be changed in it."""
    return traced_with(network_name, text, NO_INTERVENTION)


def traced_with(network_name: str, text: str, intervention: Intervention) -> Trace:
    """A forward pass with a change; those used last are kept, as several panels show the same one."""

    def make() -> Trace:
        relieve()
        with timed("trace"):
            return engine().trace(network_name, text, intervention)

    return TRACES.get((network_name, text, intervention), make)


def facts(network_name: str) -> NetworkFacts:
    """The network's kind and sizes."""
    return engine().facts(network_name)


def token_labels(network_name: str, token_ids: list[int]) -> list[str]:
    """Tokens of the vocabulary, each readable on its own."""
    return list(engine().labels(network_name, tuple(token_ids)))
