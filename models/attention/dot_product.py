"""Scaled dot-product attention, one step after another.

    raw       s_ij = q_i · k_j
    scaled    s_ij · scale               (scale is 1/√d_k, unless a network or a reader sets another)
    masked    −∞ where query i must not see key j
    softmax   α_ij = exp(s_ij) / Σ_j exp(s_ij)         over the keys: each query's weights sum to 1
    output    o_i  = Σ_j α_ij v_j

Vaswani et al. 2017, "Attention Is All You Need", eq. 1. The scores and the mask are a matrix of
queries by keys, in self-attention and in cross-attention alike; only where the keys and values come
from differs. Letters: i query, j key, d_k width of a head's query and key, d_v width of its value.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.numerics.masked_softmax import masked_softmax


@dataclass(frozen=True, eq=False)
class AttentionSteps:
    """Every stage of attention, for all heads of one layer."""

    raw: Float[Tensor, "heads query key"]
    scaled: Float[Tensor, "heads query key"]
    masked: Float[Tensor, "heads query key"]  # −∞ where hidden
    probabilities: Float[Tensor, "heads query key"]
    output: Float[Tensor, "heads query d_v"]


@dataclass(frozen=True, eq=False)
class CellArithmetic:
    """How one weight comes about, and what it does: the numbers behind one cell of one head."""

    products: Float[Tensor, " d_k"]  # q_d · k_d, one per dimension
    dot: float  # their sum: the raw score
    scaled: float
    visible: bool
    row: Float[Tensor, " key"]  # the query's masked scores for all keys
    row_maximum: float  # −∞ if the query sees no key
    exponential: float  # exp(score − row maximum) of this cell
    sink: float  # exp(sink − row maximum) of the head's learned sink; 0 without one
    denominator: float  # exponentials summed over the row, and the sink's
    probability: float  # α
    share: Float[Tensor, " d_v"]  # α · v, this key's part of the head's output
    share_norm: float
    output_norm: float  # of the head's output Σ_j α_j v_j for this query
    share_cosine: float  # between share and output; NaN if either is zero
    share_of_output: float  # share · output / ‖output‖²: sums to 1 over the keys; NaN if output is zero


def repeat_key_heads(
    x: Float[Tensor, "key_heads key width"], key_of_head: Int[Tensor, " heads"]
) -> Float[Tensor, "heads key width"]:
    """Keys (or values) once for every query head that reads them."""
    return x[key_of_head]


def scaled_dot_product_attention_steps(
    query: Float[Tensor, "heads query d_k"],
    key: Float[Tensor, "heads key d_k"],
    value: Float[Tensor, "heads key d_v"],
    visible: Bool[Tensor, "query key"] | Bool[Tensor, "heads query key"],
    scale: float,
    softcap: float | None = None,
) -> AttentionSteps:
    """Attention with every intermediate result kept; ``key`` and ``value`` are repeated already.

    ``softcap`` c bounds the scaled scores by c·tanh(score / c), as Gemma 2 does; None leaves them.
    A query that sees no key has weights and an output of zero. So has it in torch's
    scaled_dot_product_attention (since 2.5), while a plain softmax of a row of −∞ is NaN, and
    transformers' eager attention, which adds the least finite number instead of −∞, spreads the
    weight over the hidden keys. As there, softmax is taken in float32 at least.
    """
    raw = query @ key.transpose(1, 2)
    scaled = soft_capped(raw * scale, softcap)
    masked = scaled.masked_fill(~visible, -torch.inf)
    probabilities = masked_softmax(masked).probabilities.to(query.dtype)
    return AttentionSteps(raw, scaled, masked, probabilities, probabilities @ value)


def soft_capped(scores: Float[Tensor, "*shape"], softcap: float | None) -> Float[Tensor, "*shape"]:
    """c·tanh(score / c), which stays between −c and c (Gemma 2); unchanged for None."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def explain_cell(
    query_vector: Float[Tensor, " d_k"],
    key_rows: Float[Tensor, "key d_k"],
    visible_row: Bool[Tensor, " key"],
    scale: float,
    key_index: int,
    value_rows: Float[Tensor, "key d_v"],
    softcap: float | None = None,
    sink: float | None = None,
) -> CellArithmetic:
    """The arithmetic of one cell, for one query of one head: the steps above, with their numbers.

    ``sink`` is the head's learned score beside its keys', in networks that have one (gpt-oss).
    Raises InputError when ``key_index`` is not a key.
    """
    if not 0 <= key_index < len(key_rows):
        raise InputError(
            "There is no key {index}; the keys are numbered 0 to {last}.",
            index=key_index,
            last=len(key_rows) - 1,
        )
    products = query_vector * key_rows[key_index]
    scaled = soft_capped(key_rows @ query_vector * scale, softcap)
    row = scaled.masked_fill(~visible_row, -torch.inf)
    softmax = masked_softmax(row, None if sink is None else torch.tensor([sink]))
    probabilities = softmax.probabilities.to(value_rows.dtype)
    share = probabilities[key_index] * value_rows[key_index]
    output = probabilities @ value_rows
    return CellArithmetic(
        products=products,
        dot=products.sum().item(),
        scaled=scaled[key_index].item(),
        visible=bool(visible_row[key_index]),
        row=row,
        row_maximum=softmax.row_maximum.item(),
        exponential=softmax.exponentials[key_index].item(),
        sink=softmax.denominator.item() - softmax.exponentials.sum().item() if sink is not None else 0.0,
        denominator=softmax.denominator.item(),
        probability=softmax.probabilities[key_index].item(),
        share=share,
        share_norm=share.norm().item(),
        output_norm=output.norm().item(),
        share_cosine=(share @ output / (share.norm() * output.norm())).item(),
        share_of_output=(share @ output / (output @ output)).item(),
    )


def contributions(
    probabilities: Float[Tensor, "heads query key"],
    value: Float[Tensor, "heads key d_v"],
    output_weight: Float[Tensor, "heads d_v width"],
) -> Float[Tensor, "heads query key"]:
    """‖α_ij · v_j W_O‖₂: the length of what key j adds to the residual stream at query i, per head.

    Kobayashi et al. 2020, "Attention is Not Only a Weight": a large weight on a short v_j W_O adds
    little. ``value`` includes the value bias; the output bias belongs to no key. As α ≥ 0 it leaves
    the norm, so that [heads, query, key, width] is never built.
    """
    lengths = (value @ output_weight).norm(dim=-1)
    return probabilities * lengths[:, None, :]


def hide_sink(
    probabilities: Float[Tensor, "*heads query key"], sinks: int = 1
) -> Float[Tensor, "*heads query key"]:
    """The weights without the first ``sinks`` keys, each row renormalised.

    The shape stays: the hidden keys' columns are zero, and so are rows that had nothing else. For
    looking only: a network that is really kept from its sink computes other weights in later layers.
    Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks".

    Raises InputError when there are not that many keys.
    """
    keys = probabilities.shape[-1]
    if not 0 <= sinks <= keys:
        raise InputError(
            "{sinks} keys cannot be hidden; between 0 and {keys} can be.", sinks=sinks, keys=keys
        )
    kept = probabilities.clone()
    kept[..., :sinks] = 0.0
    left = kept.sum(dim=-1, keepdim=True)
    return kept / left.masked_fill(left == 0, 1.0)
