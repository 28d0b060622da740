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


@dataclass(frozen=True, eq=False)
class AttentionSteps:
    """Every stage of attention, for all heads of one layer."""

    raw: Float[Tensor, "heads query key"]
    scaled: Float[Tensor, "heads query key"]
    masked: Float[Tensor, "heads query key"]  # −∞ where hidden
    probabilities: Float[Tensor, "heads query key"]
    output: Float[Tensor, "heads query d_v"]


@dataclass(frozen=True, eq=False)
class MaskedSoftmax:
    """What softmax does to rows of scores; each part broadcasts against the scores."""

    row_maximum: Float[Tensor, "*rows 1"]  # −∞ in a row that is hidden throughout
    exponentials: Float[Tensor, "*rows key"]
    denominator: Float[Tensor, "*rows 1"]
    probabilities: Float[Tensor, "*rows key"]


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
    denominator: float  # the same, summed over the row
    probability: float  # α
    share: Float[Tensor, " d_v"]  # α · v, this key's part of the head's output
    share_norm: float
    output_norm: float  # of the head's output Σ_j α_j v_j for this query
    share_cosine: float  # between share and output; NaN if either is zero
    share_of_output: float  # share · output / ‖output‖²: sums to 1 over the keys; NaN if output is zero


def key_of_head(heads: int, key_heads: int) -> Int[Tensor, " heads"]:
    """The key head that each query head reads.

    Neighbouring query heads share a key head, as in transformers' ``repeat_kv``. Multi-head attention
    (Vaswani et al. 2017) has one key head per query head, multi-query attention (Shazeer 2019) a single
    one, grouped-query attention (Ainslie et al. 2023) a number between.

    Raises InputError where the query heads cannot be shared out evenly.
    """
    if key_heads < 1 or heads < 1 or heads % key_heads:
        raise InputError(
            "{heads} query heads cannot share {key_heads} key heads evenly; "
            "the number of query heads must be a multiple of the number of key heads.",
            heads=heads,
            key_heads=key_heads,
        )
    return torch.arange(heads) // (heads // key_heads)


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


def masked_softmax(scores: Float[Tensor, "*rows key"]) -> MaskedSoftmax:
    """Softmax over the keys, in float32 at least; rows of nothing but −∞ become zero."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    row_maximum = scores.amax(dim=-1, keepdim=True)
    # −∞ − (−∞) would be NaN; without a finite score there is nothing to subtract
    exponentials = (scores - row_maximum.masked_fill(row_maximum == -torch.inf, 0.0)).exp()
    denominator = exponentials.sum(dim=-1, keepdim=True)
    probabilities = exponentials / denominator.masked_fill(denominator == 0, 1.0)
    return MaskedSoftmax(row_maximum, exponentials, denominator, probabilities)


def explain_cell(
    query_vector: Float[Tensor, " d_k"],
    key_rows: Float[Tensor, "key d_k"],
    visible_row: Bool[Tensor, " key"],
    scale: float,
    key_index: int,
    value_rows: Float[Tensor, "key d_v"],
    softcap: float | None = None,
) -> CellArithmetic:
    """The arithmetic of one cell, for one query of one head: the steps above, with their numbers.

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
    softmax = masked_softmax(row)
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


def largest_difference(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> float:
    """The largest |a − b|, compared in float64; what "Checked against" shows.

    The same infinity in both counts as equal. Infinity (no agreement) where one is infinite and the
    other is not, where the signs differ, and where either is NaN. Zero for empty tensors.

    Raises InputError when the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError(
            "Shapes {first} and {second} cannot be compared; they must be the same.",
            first=tuple(a.shape),
            second=tuple(b.shape),
        )
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    difference = torch.where(a == b, 0.0, (a - b).abs())  # ∞ − ∞ is NaN, though they are equal
    return difference.nan_to_num(nan=torch.inf, posinf=torch.inf).amax().item() if a.numel() else 0.0


# What it costs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionParameters:
    """Numbers in one layer's projections, biases included."""

    query: int
    key: int
    value: int
    output: int

    @property
    def total(self) -> int:
        return self.query + self.key + self.value + self.output


def attention_parameters(
    width: int, heads: int, key_heads: int, head_width: int, bias: bool = False
) -> AttentionParameters:
    """Parameters of W_Q, W_K, W_V and W_O; ``bias`` gives each of them one, as in GPT-2 and BERT.

    With heads · head_width = width, the number of heads does not change them; the number of key heads
    does. Raises InputError where the query heads cannot be shared out evenly.
    """
    key_of_head(heads, key_heads)
    query = (width + bias) * heads * head_width
    key = (width + bias) * key_heads * head_width
    output = (heads * head_width + bias) * width
    return AttentionParameters(query, key, key, output)


def kv_cache_bytes_per_token(
    layers: int, key_heads: int, head_width: int, bytes_per_number: int | float
) -> int | float:
    """Bytes that one more token adds to the cache: a key and a value per layer and key head.

    ``bytes_per_number`` is 4 for float32, 2 for bfloat16, 0.5 for 4-bit numbers (without their scales).
    """
    return 2 * layers * key_heads * head_width * bytes_per_number


def attention_flops(heads: int, head_width: int, queries: int, keys: int, causal: bool) -> int:
    """Floating-point operations of the scores (q·k) and of the mix (α·v) in one layer, all heads.

    A multiply-add counts as 2, as in torch's FlopCounterMode; softmax and the projections are not
    counted. Dense kernels compute the whole queries × keys matrix (``causal=False``); with
    ``causal=True`` only visible pairs are counted, the queries being the last of the keys. The number
    of key heads does not matter: sharing keys saves memory traffic and no arithmetic here.

    Raises InputError when causal queries outnumber the keys.
    """
    if causal and queries > keys:
        raise InputError(
            "{queries} queries over {keys} keys cannot be causal; there must be a key for each query.",
            queries=queries,
            keys=keys,
        )
    hidden = queries * (queries - 1) // 2 if causal else 0
    return 2 * 2 * heads * head_width * (queries * keys - hidden)
