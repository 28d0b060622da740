"""What a mask does in a real network: rows that see nothing, one head, the loss, the tokens' vectors."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from models.networks.sdpa import torch_attention
from models.networks.tracing import LayerTrace, Trace
from models.numerics.comparison import largest_difference

MaskStage = Literal["scaled", "masked", "softmax"]
MASK_STAGES: tuple[MaskStage, ...] = get_args(MaskStage)


def empty_rows(visible: Bool[Tensor, "query key"]) -> Int[Tensor, " rows"]:
    """The queries that may read no key."""
    return torch.nonzero(~visible.any(dim=1))[:, 0]


def head_stage(trace: Trace, layer: int, head: int, stage: MaskStage) -> Float[Tensor, "query key"]:
    """One head's scores before the mask, after it, or as weights; NaN where the mask hides a pair.

    A query that may read no key reads all of them alike, as in transformers' eager attention: its row
    of weights is shown in full, because the network computes with it.
    """
    record = trace.layers[layer]
    if stage == "scaled":
        return record.scaled[head]
    visible = record.visible if record.visible.ndim == 2 else record.visible[head]
    if stage == "masked":
        return record.scaled[head].masked_fill(~visible, torch.nan)
    shown = visible | ~visible.any(dim=1, keepdim=True)
    return record.probabilities[head].masked_fill(~shown, torch.nan)


def moved(
    before: Float[Tensor, "query width"], after: Float[Tensor, "query width"]
) -> Float[Tensor, " query"]:
    """How far each token's vector has turned: 1 − cosine, 0 where it has not, at most 2.

    In float64, where squares of float32's numbers do not overflow; two vectors of zeros have not turned.
    """
    turned = 1 - cosine_similarity(before.double(), after.double(), dim=-1, eps=1e-300)
    turned = turned.masked_fill(~before.any(dim=-1) & ~after.any(dim=-1), 0.0)
    return turned.clamp(min=0.0).to(before.dtype)  # below 0 by rounding only


def difference_from_sdpa_where_seen(record: LayerTrace) -> float:
    """Largest difference between the heads' outputs and torch's scaled_dot_product_attention.

    Queries that may read no key are left out: torch gives them zero, eager attention the mean of all
    values. Zero where no query is left. Raises InputError for a layer with a soft cap.
    """
    seen = record.visible.any(dim=-1).expand(len(record.query), -1)
    return largest_difference(record.head_output[seen], torch_attention(record)[seen])
