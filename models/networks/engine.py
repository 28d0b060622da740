"""Where networks run: calls from a name and plain values to plain arrays, whoever answers them.

Pages read networks through ``engine()`` and cannot tell whether this process answers or a pool of
others. What changes a network or trains one (adapters, quantized weights, caches, packed rows) needs
the network itself and stays in the process: models.networks.loading.
"""

from functools import cache
from typing import Protocol, runtime_checkable

from models.errors import InputError
from models.networks.facts import NetworkFacts, facts_of
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.rotary import before_rotation
from models.networks.sampling import Samples, generate
from models.networks.scoring import AnswerScore, score
from models.networks.tokens import labels
from models.networks.tracing import (
    NO_INTERVENTION,
    OutputProjection,
    Trace,
    Unrotated,
    check_layer,
    check_tokens,
    output_projection,
    trace,
)
from models.settings import settings


@runtime_checkable
class Engine(Protocol):
    """What pages ask of networks. Every call raises InputError, with one sentence, where it refuses."""

    def facts(self, network: str) -> NetworkFacts:
        """The network's kind and sizes."""

    def labels(self, network: str, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        """Tokens of its vocabulary, each readable on its own."""

    def trace(self, network: str, text: str, intervention: Intervention = NO_INTERVENTION) -> Trace:
        """A forward pass, recorded (models.networks.tracing)."""

    def unrotated(
        self, network: str, text: str, intervention: Intervention, layer: int
    ) -> Unrotated | None:
        """A layer's queries and keys before rotary embedding; None where it is not known how."""

    def output_projection(self, network: str, layer: int) -> OutputProjection:
        """What joins a layer's heads."""

    def score(self, network: str, prompt: str, answers: tuple[str, ...]) -> tuple[AnswerScore, ...]:
        """How probable the answers are (models.networks.scoring)."""

    def generate(
        self, network: str, prompt: str, count: int, new_tokens: int, temperature: float, seed: int
    ) -> Samples:
        """Answers drawn from the network (models.networks.sampling)."""

    @property
    def trouble(self) -> InputError | None:
        """Why another engine stands in just now; None while all is well."""


class InProcessEngine:
    """The process itself answers."""

    @property
    def trouble(self) -> None:
        """Nothing can stand in for the process itself."""
        return None

    def facts(self, network: str) -> NetworkFacts:
        return facts_of(load(network))

    def labels(self, network: str, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        loaded = load(network)
        check_tokens(loaded, token_ids)
        return tuple(labels(loaded.tokenizer, (token,))[0] for token in token_ids)

    def trace(self, network: str, text: str, intervention: Intervention = NO_INTERVENTION) -> Trace:
        return trace(load(network), text, intervention)

    def unrotated(
        self, network: str, text: str, intervention: Intervention, layer: int
    ) -> Unrotated | None:
        loaded = load(network)
        check_layer(loaded, layer)
        return before_rotation(trace(loaded, text, intervention).layers[layer])

    def output_projection(self, network: str, layer: int) -> OutputProjection:
        return output_projection(load(network), layer)

    def score(self, network: str, prompt: str, answers: tuple[str, ...]) -> tuple[AnswerScore, ...]:
        return score(load(network), prompt, answers)

    def generate(
        self, network: str, prompt: str, count: int, new_tokens: int, temperature: float, seed: int
    ) -> Samples:
        return generate(load(network), prompt, count, new_tokens, temperature, seed)


@cache
def engine() -> Engine:
    """The engine that the settings name."""
    if settings().engine == "process":
        return InProcessEngine()
    from models.networks.ray_engine import RayServeEngine  # its client is needed nowhere else

    return RayServeEngine.from_settings(settings())
