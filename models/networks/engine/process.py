"""The engine that needs nothing else: networks run in this process."""

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
