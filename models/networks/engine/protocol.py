"""What pages ask of networks: calls from a name and plain values to plain arrays, whoever answers them.

Pages cannot tell whether this process answers or a pool of others. What changes a network or trains one
(adapters, quantized weights, caches, packed rows) needs the network itself and stays in the process:
models.networks.loading.
"""

from typing import Protocol, runtime_checkable

from models.errors import InputError
from models.networks.facts import NetworkFacts
from models.networks.interventions import Intervention
from models.networks.sampling import Samples
from models.networks.scoring import AnswerScore
from models.networks.tracing import NO_INTERVENTION, OutputProjection, Trace, Unrotated


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
