"""A real network beyond its trained length: under any rotary scaling, over any reach.

The scaled network is a second set of modules over the same weights, so that the shared network is
never changed; a few of them are kept.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from models.context.long_attention import EVERYTHING, LONG_ATTENTION, LongPass, Reach, long_pass
from models.errors import InputError
from models.networks.loading import Network, load
from models.networks.texts import passages
from models.rotary.scaling import RopeSettings, ScaledRope, check_length, scaled_rope

LONGEST_TEXT = 2_048  # tokens; longer ones take minutes on a small machine
PASSAGES = tuple(passage.name for passage in passages() if passage.language == "en")


@dataclass(frozen=True)
class Way:
    """A way to read a long text: a network's rotary settings, and how far each query reads."""

    rope: RopeSettings
    reach: Reach = EVERYTHING


def rotary_module(model: nn.Module) -> Any:
    """The module that turns positions into cos and sin. Raises InputError where there is none."""
    for name, module in model.named_modules():
        if name.endswith("rotary_emb") and isinstance(getattr(module, "inv_freq", None), Tensor):
            return module
    raise InputError("This network has no rotary embedding that could be scaled.")


def rope_of(network: Network) -> RopeSettings:
    """The network's own rotary settings, from its config. Raises InputError where it has none."""
    rotary_module(network.model)
    parameters = network.model.config.rope_parameters
    return RopeSettings("default", network.head_width, parameters["rope_theta"], longest=network.context)


def scaled_network(network: Network, scaled: ScaledRope) -> PreTrainedModel:
    """The network with other frequencies: new modules around the same weights.

    Raises InputError where it has no rotary embedding, or one of another width.
    """
    rotary_module(network.model)
    tensors = {id(tensor): tensor for tensor in network.model.parameters()}
    model = copy.deepcopy(network.model, tensors)
    rotary = rotary_module(model)
    if rotary.inv_freq.shape != scaled.inverse_frequencies.shape:
        raise InputError(
            "The network turns {own} pairs, not {given}.",
            own=len(rotary.inv_freq),
            given=len(scaled.inverse_frequencies),
        )
    rotary.inv_freq = nn.Buffer(scaled.inverse_frequencies.to(network.device), persistent=False)
    rotary.attention_scaling = scaled.attention_factor
    model.set_attn_implementation(LONG_ATTENTION)
    return model


@lru_cache(maxsize=32)
def _scaled(name: str, rope: RopeSettings, length: int) -> tuple[PreTrainedModel, ScaledRope]:
    """The scaled network, kept; it is shared, and nothing may be changed on it."""
    scaled = scaled_rope(rope, length)
    return scaled_network(load(name), scaled), scaled


def long_logits(
    network: str,
    way: Way,
    tokens: Int[Tensor, "batch token"],
    at: Int[Tensor, " kept"] | None = None,
) -> Float[Tensor, "batch kept vocabulary"]:
    """Logits at every position, or at those in ``at``, in float32 on the CPU.

    One forward pass: dynamic NTK and LongRoPE take the frequencies of the whole length for all of
    its positions. Raises InputError on more tokens than ``LONGEST_TEXT``.
    """
    model, scaled = _model_for(network, way, tokens.shape[1])
    with long_pass(way.reach, scaled.inverse_frequencies), torch.no_grad():
        keep: Tensor | int = 0 if at is None else at
        output = model(tokens.to(model.device), use_cache=False, logits_to_keep=keep)
    return output.logits.to(device="cpu", dtype=torch.float32)


def long_attention_states(network: str, way: Way, tokens: Int[Tensor, " token"]) -> LongPass:
    """Rotated queries and keys of every layer, for one text."""
    model, scaled = _model_for(network, way, len(tokens))
    with long_pass(way.reach, scaled.inverse_frequencies, keep=True) as present, torch.no_grad():
        model.model(tokens[None].to(model.device), use_cache=False)
    return present


def _model_for(network: str, way: Way, length: int) -> tuple[PreTrainedModel, ScaledRope]:
    check_length(length)
    if length > LONGEST_TEXT:
        raise InputError(
            "A text of {count} tokens is longer than the {most} that are measured here.",
            count=length,
            most=LONGEST_TEXT,
        )
    return _scaled(network, way.rope, length)


@lru_cache(maxsize=16)
def passage_tokens(network: str, passage: str, length: int) -> Int[Tensor, " token"]:
    """The first tokens of a passage that the network was not trained on, start token included.

    Raises InputError where the passage is unknown, or shorter.
    """
    text = next((item.text for item in passages() if item.name == passage), None)
    if text is None:
        raise InputError("There is no passage called {name}.", name=repr(passage))
    encoding = load(network).tokenizer.backend_tokenizer.encode(text)
    if len(encoding.ids) < length:
        raise InputError(
            "The passage {name} has {count} tokens, fewer than {length}.",
            name=passage,
            count=len(encoding.ids),
            length=length,
        )
    return torch.tensor(encoding.ids[:length])


def loss_by_position(network: str, way: Way, tokens: Int[Tensor, " token"]) -> Float[Tensor, " predicted"]:
    """Cross-entropy of each next token in nats: entry t is the loss of predicting token t + 1."""
    logits = long_logits(network, way, tokens[None])[0]
    return cross_entropy(logits[:-1], tokens[1:], reduction="none")


def losses_of(network: str, way: Way, length: int) -> Iterator[Float[Tensor, " predicted"]]:
    """``loss_by_position`` of one passage after another, each as it is ready."""
    for passage in PASSAGES:
        yield loss_by_position(network, way, passage_tokens(network, passage, length))


@dataclass(frozen=True, eq=False)
class LossCurve:
    """Loss in bins of positions: the mean over all passages, and the least and largest passage."""

    position: Float[Tensor, " bin"]  # middle of the bin
    mean: Float[Tensor, " bin"]
    least: Float[Tensor, " bin"]
    largest: Float[Tensor, " bin"]


def loss_curve(losses: Float[Tensor, "passage predicted"], bins: int) -> LossCurve:
    """Average the losses in ``bins`` bins of equal width; the last takes what is left over.

    Raises InputError where there are fewer positions than bins.
    """
    count = losses.shape[1]
    if not 1 <= bins <= count:
        raise InputError("{count} positions cannot be put into {bins} bins.", count=count, bins=bins)
    edges = torch.linspace(0, count, bins + 1).round().long()
    binned = torch.stack([part.mean(1) for part in losses.tensor_split(edges[1:-1], dim=1)], 1)
    return LossCurve((edges[1:] + edges[:-1]).float() / 2, binned.mean(0), binned.amin(0), binned.amax(0))
