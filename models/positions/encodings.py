"""One head's real queries and keys under every position encoding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError
from models.networks.rotary import Rotary
from models.networks.tracing import LayerTrace
from models.numerics.masked_softmax import masked_softmax
from models.positions.absolute import added_scores, scaled_like, sinusoidal
from models.positions.bias import alibi_bias, alibi_slopes, bucket_bias, fit_buckets
from models.positions.decay import mean_by_distance
from models.rotary.rope import rotate, rotation

Encoding = Literal["none", "sinusoidal", "learned", "t5", "alibi", "rope"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
BUCKETS, FARTHEST = 32, 128  # T5's own


@dataclass(frozen=True, eq=False)
class Head:
    """A head of a traced layer before any position was put in."""

    index: int
    heads: int
    query: Float[Tensor, "query d_k"]
    key: Float[Tensor, "key d_k"]
    visible: Bool[Tensor, "query key"]
    scale: float

    @property
    def is_causal(self) -> bool:
        return not self.visible.triu(1).any()


def head_of(record: LayerTrace, head: int) -> Head:
    """The head, its keys those that it reads; without rotary embedding its vectors stay as they are."""
    visible = record.visible if record.visible.ndim == 2 else record.visible[head]
    return Head(
        head,
        len(record.query),
        record.unrotated_query[head],
        record.unrotated_key[record.key_of_head[head]],
        visible,
        record.scale,
    )


@dataclass(frozen=True, eq=False)
class EncodedHead:
    """What one encoding makes of a head."""

    scores: Float[Tensor, "query key"]  # scaled, not masked
    probabilities: Float[Tensor, "query key"]
    profile: Float[Tensor, " distance"]  # what positions add to a scaled score, mean over visible pairs


@dataclass(frozen=True, eq=False)
class Settings:
    """What the encodings are computed with."""

    rotary: Rotary  # the network's own, for its layout and factor
    base: float  # of RoPE and of the sinusoidal encoding
    strength: float  # of the vectors that are added, against queries and keys
    table: Float[Tensor, "position d_k"] | None  # principal components of another network's learned one


def encode(head: Head, encoding: Encoding, settings: Settings) -> EncodedHead:
    """A head's scores and weights under one encoding.

    "none" leaves the content q·k. "sinusoidal" and "learned" add a vector for each position to q and
    to k; networks add it to the token before the projections, which is why a learned table of another
    width is brought to d_k dimensions first (models.positions.absolute.principal_components). "t5" adds the
    bias per bucket that comes nearest to what the network's own rotation adds, "alibi" the slope of
    this head's number, and "rope" rotates. Raises InputError for an odd width, a base that is not
    positive, and a table that is missing or too short.
    """
    content = head.query @ head.key.T * head.scale
    scores = content if encoding == "none" else _SCORES[encoding](head, content, settings)
    weights = masked_softmax(scores.masked_fill(~head.visible, -torch.inf)).probabilities
    return EncodedHead(scores, weights, mean_by_distance(scores - content, head.visible))


def _sinusoidal(head: Head, content: Tensor, settings: Settings) -> Tensor:
    tokens, width = head.query.shape
    return _added(head, sinusoidal(tokens, width, settings.base), settings.strength)


def _learned(head: Head, content: Tensor, settings: Settings) -> Tensor:
    if settings.table is None:
        raise InputError("No network with a learned table of positions is at hand.")
    return _added(head, settings.table, settings.strength)


def _added(head: Head, table: Float[Tensor, "position d_k"], strength: float) -> Tensor:
    scaled = scaled_like(table, torch.cat([head.query, head.key]), strength)
    return added_scores(head.query, head.key, scaled).total * head.scale


def _t5(head: Head, content: Tensor, settings: Settings) -> Tensor:
    queries, keys = content.shape
    return content + bucket_bias(
        fitted_buckets(head, settings), queries, keys, not head.is_causal, FARTHEST
    )


def fitted_buckets(head: Head, settings: Settings) -> Float[Tensor, " buckets"]:
    """T5's numbers for this head, fitted to what the network's own rotation adds to its scores."""
    content = head.query @ head.key.T * head.scale
    wanted = _rotated(head, settings.rotary, settings.rotary.base) - content
    return fit_buckets(wanted, head.visible, BUCKETS, not head.is_causal, FARTHEST)


def _alibi(head: Head, content: Tensor, settings: Settings) -> Tensor:
    """ALiBi is made for causal heads; where the future is visible, distance counts in both directions."""
    queries, keys = content.shape
    bias = alibi_bias(alibi_slopes(head.heads)[head.index : head.index + 1], queries, keys)[0]
    return content + (bias if head.is_causal else -bias.abs())


def _rope(head: Head, content: Tensor, settings: Settings) -> Tensor:
    return _rotated(head, settings.rotary, settings.base)


def _rotated(head: Head, rotary: Rotary, base: float) -> Tensor:
    frequency = rotary.frequency_at(base)
    turn = rotation(torch.arange(len(head.query)), frequency, rotary.layout, rotary.factor)
    return rotate(head.query, turn) @ rotate(head.key, turn).T * head.scale


_SCORES: dict[Encoding, Callable[[Head, Tensor, Settings], Tensor]] = {
    "sinusoidal": _sinusoidal,
    "learned": _learned,
    "t5": _t5,
    "alibi": _alibi,
    "rope": _rope,
}
