"""Ways to hide a pair, and what a query that may read nothing gets from each library."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import eager_attention_forward

from models.numerics.masked_softmax import masked_softmax
from models.numerics.math_attention import MathAttention

Way = Literal["infinity", "finite", "zero_score", "zero_weight"]
WAYS: tuple[Way, ...] = get_args(Way)
FILL = -10_000.0  # as transformers' GPT-2 once had it (masked_bias)


def hide(
    scores: Float[Tensor, "*rows key"], visible: Bool[Tensor, "*rows key"], way: Way, fill: float = FILL
) -> Float[Tensor, "*rows key"]:
    """Weights under one of four ways to hide keys; only the first is right for all scores.

    infinity: −∞ before softmax. Hidden keys get e^−∞ = 0, and the rest sums to 1.
    finite: the score ``fill``, which hides for as long as every visible score lies far above it.
    zero_score: a score of 0, which is as visible as any other: e^0 = 1.
    zero_weight: the weight is set to 0 after softmax. The row no longer sums to 1, and hidden keys
        still stand in the denominator, so that later tokens leak through it.
    """
    if way == "infinity":
        return masked_softmax(scores.masked_fill(~visible, -torch.inf)).probabilities
    if way in ("finite", "zero_score"):
        score = fill if way == "finite" else 0.0
        return masked_softmax(scores.masked_fill(~visible, score)).probabilities
    return masked_softmax(scores).probabilities * visible


# Rows that are hidden throughout -------------------------------------------------------------

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
Outcome = Literal["nan", "zero", "mean", "other"]


@dataclass(frozen=True, eq=False)
class EmptyRow:
    """What an implementation puts out for a query that may read no key."""

    name: str
    output: Float[Tensor, "heads d_v"]
    outcome: Outcome  # NaN, zero, or the mean of all values, hidden as they are


def _written_out(fill: float, twice: bool = False) -> Attend:
    """softmax(q·k·scale + mask) v, the mask being 0 and ``fill``."""

    def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
        mask = torch.zeros(visible.shape).masked_fill(~visible, fill)
        scores = query @ key.transpose(-1, -2) * scale + (mask + mask if twice else mask)
        return scores.softmax(dim=-1) @ value

    return attend


def sdpa(fill: float | None = None, math: bool = False) -> Attend:
    """Torch's scaled_dot_product_attention with a boolean mask, or an additive one of 0 and ``fill``.

    math: whether by the kernel that torch calls so, in single operations.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
        mask = visible if fill is None else torch.zeros(visible.shape).masked_fill(~visible, fill)
        with MathAttention() if math else nullcontext():
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)

    return attend


def eager(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Transformers' eager attention, with the mask that it makes of a boolean one."""
    least = torch.finfo(query.dtype).min
    mask = torch.zeros((), dtype=query.dtype).where(visible, least)[None, None]
    module = cast(nn.Module, SimpleNamespace(num_key_value_groups=1, training=False))
    output, _weights = eager_attention_forward(module, query, key, value, mask, scaling=scale)
    return output.transpose(1, 2)


def flex(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
    """FlexAttention, not compiled: the same arithmetic, written out by torch."""
    queries, keys = visible.shape
    blocks = create_block_mask(
        lambda batch, head, q_idx, kv_idx: visible[q_idx, kv_idx],
        None,
        None,
        queries,
        keys,
        device=str(query.device),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        return flex_attention(query, key, value, block_mask=blocks, scale=scale)


LIBRARIES: dict[str, Attend] = {
    "softmax(−∞)": _written_out(-torch.inf),
    "softmax(finfo.min)": _written_out(torch.finfo(torch.float32).min),
    "softmax(finfo.min + finfo.min)": _written_out(torch.finfo(torch.float32).min, twice=True),
    "torch SDPA, bool": sdpa(),
    "torch SDPA, bool, math": sdpa(math=True),
    "torch SDPA, −∞": sdpa(fill=-torch.inf),
    "torch SDPA, finfo.min": sdpa(fill=torch.finfo(torch.float32).min),
    "transformers eager": eager,
    "FlexAttention": flex,
}


def fully_masked_row(
    query: Float[Tensor, "heads query d_k"],
    key: Float[Tensor, "heads key d_k"],
    value: Float[Tensor, "heads key d_v"],
    scale: float,
    row: int,
) -> list[EmptyRow]:
    """One query is hidden from every key, and each implementation is asked for its output; in float32.

    torch gives zero since 2.5; FlexAttention does as well.
    """
    visible = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool)
    visible[row] = False
    found = []
    for name, attend in LIBRARIES.items():
        output = attend(query[None], key[None], value[None], visible, scale)[0, :, row]
        found.append(EmptyRow(name, output, _outcome(output, value)))
    return found


def _outcome(output: Float[Tensor, "heads d_v"], value: Float[Tensor, "heads key d_v"]) -> Outcome:
    if output.isnan().any():
        return "nan"
    if not output.any():
        return "zero"
    return "mean" if torch.allclose(output, value.mean(dim=1), atol=1e-5) else "other"
