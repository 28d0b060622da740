"""Scripts of the context page: texts longer than those that a network was trained on."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.take.parts.network import named
from components.take.script import Named, Script, script
from components.take.source import model_of
from models.context.distance import WeightByDistance, head_weights, weight_by_distance
from models.context.long_context import Way, long_attention_states, long_logits, loss_by_position
from models.context.needle import BATCH, Haystack, hide, score
from models.rotary.config import RopeOfLayers, read_config
from models.rotary.scaling import RopeSettings, scaled_rope

Metric = Literal["best_of_all", "best_of_values", "probability"]

# Loss by position ---------------------------------------------------------------------------------


def loss(
    network: str, way: Way, passages: Sequence[Tensor], edges: list[int], means: Mapping[str, float]
) -> Script:
    """``passages``: the tokens of each; ``means``: of the loss between two edges, by their name."""
    given: Named = {"model": model_of(network), "way": way, "passages": torch.stack(list(passages))}
    return script(loss_of_passages, dict(means), **given, edges=edges)


def loss_of_passages(model: PreTrainedModel, way: Way, passages: Tensor, edges: list[int]) -> Named:
    """A network beyond the length that it was trained on, its rotary frequencies scaled.

    Prints the mean loss of the next token in nats by ranges of positions, over all passages.
    """
    network = named("network", model)
    losses = torch.stack([loss_by_position(network, way, tokens) for tokens in passages])
    return {f"{low + 1}-{high}": losses[:, low:high].mean() for low, high in pairwise(edges)}


# Frequencies --------------------------------------------------------------------------------------


def frequencies(settings: RopeSettings, length: int) -> Script:
    scaled = scaled_rope(settings, length)
    prints = {"frequencies": scaled.inverse_frequencies, "attention factor": scaled.attention_factor}
    return script(scaled_frequencies, prints, settings=settings, length=length)


def scaled_frequencies(settings: RopeSettings, length: int) -> Named:
    """Rotary frequencies under a way to scale them.

    Prints them in radians per position, and the factor on queries and keys.
    """
    scaled = scaled_rope(settings, length)
    return {"frequencies": scaled.inverse_frequencies, "attention factor": scaled.attention_factor}


# One head, far away -------------------------------------------------------------------------------


def distance(
    network: str,
    way: Way,
    tokens: Tensor,
    head: tuple[int, int],
    first_query: int,
    found: WeightByDistance,
    sink: float,
) -> Script:
    prints = {"share by distance": found.share, "on the first token": sink}
    given: Named = {"model": model_of(network), "way": way, "tokens": tokens}
    chosen: Named = {"layer": head[0], "head": head[1], "first_query": first_query}
    return script(weight_far_away, prints, **given, **chosen)


def weight_far_away(
    model: PreTrainedModel, way: Way, tokens: Tensor, layer: int, head: int, first_query: int
) -> Named:
    """How far back one head of a network reads in a text longer than those that it was trained on.

    Prints the share of its weight at distances of 0, 1, 2 to 3, 4 to 7, …, and on the first token, over
    the queries from the first one beyond the trained length.
    """
    states = long_attention_states(named("network", model), way, tokens)
    weights = head_weights(states, layer, head)
    return {
        "share by distance": weight_by_distance(weights, first_query).share,
        "on the first token": weights[first_query:, 0].mean(),
    }


# Needle in a haystack -----------------------------------------------------------------------------


def needle(
    network: str,
    way: Way,
    haystacks: list[Haystack],
    vocabulary: range,
    start_token: int,
    metric: Metric,
    shares: Mapping[str, Tensor],
) -> Script:
    """``shares``: of needles found, by depth; by the length of the text."""
    given: Named = {"model": model_of(network), "way": way, "haystacks": haystacks}
    drawn: Named = {"vocabulary": (vocabulary.start, vocabulary.stop), "start_token": start_token}
    return script(needles_found, dict(shares), **given, **drawn, metric=metric)


def needles_found(
    model: PreTrainedModel,
    way: Way,
    haystacks: list[Haystack],
    vocabulary: tuple[int, int],
    start_token: int,
    metric: Metric,
) -> Named:
    """Needles in a haystack: keys and values of random tokens, which a network that copies can find.

    Prints for each length of the text what share is found, from the beginning of the text to its end.
    """
    network = named("network", model)
    shown = {}
    for haystack in haystacks:
        needles = hide(haystack, range(*vocabulary), start_token)
        parts = needles.tokens.split(BATCH)
        logits = torch.cat([long_logits(network, way, tokens, haystack.asked_at) for tokens in parts])
        shown[f"{haystack.length} tokens"] = getattr(score(logits, needles), metric)
    return shown


# A config -----------------------------------------------------------------------------------------


def config(text: str, part: str, ropes: Sequence[RopeOfLayers]) -> Script:
    prints: Named = {}
    for rope in ropes:
        scaled = scaled_rope(rope.settings, rope.settings.longest)
        prints[f"{rope.layer_type or 'all layers'}: frequencies"] = scaled.inverse_frequencies
        prints[f"{rope.layer_type or 'all layers'}: attention factor"] = scaled.attention_factor
    return script(frequencies_of_config, prints, config=text, part=part)


def frequencies_of_config(config: str, part: str) -> Named:
    """What a config.json says about rotary positions.

    Prints for each type of layer the frequencies at the longest text, in radians per position, and the
    factor on queries and keys.
    """
    shown: dict = {}
    for rope in read_config(config, part).ropes:
        name = rope.layer_type or "all layers"
        scaled = scaled_rope(rope.settings, rope.settings.longest)
        shown |= {
            f"{name}: frequencies": scaled.inverse_frequencies,
            f"{name}: attention factor": scaled.attention_factor,
        }
    return shown
