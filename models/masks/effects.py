"""What a mask does in a real network: rows that see nothing, one head, the loss, the tokens' vectors."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from models.errors import InputError
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


def loss_by_position(
    logits: Float[Tensor, "query vocabulary"], token_ids: Int[Tensor, " query"]
) -> Float[Tensor, " predicted"]:
    """−ln p(token t+1 | what token t may see), in nats, for each token t but the last.

    Raises InputError on a text of a single token, where nothing is predicted.
    """
    if len(token_ids) < 2:
        raise InputError("A text of one token predicts nothing that could be compared; type some more.")
    log_probabilities = logits[:-1].log_softmax(dim=-1)
    return -log_probabilities.gather(1, token_ids[1:, None])[:, 0]


def moved(
    before: Float[Tensor, "query width"], after: Float[Tensor, "query width"]
) -> Float[Tensor, " query"]:
    """How far each token's vector has turned: 1 − cosine, 0 where it has not, at most 2."""
    return (1 - cosine_similarity(before, after, dim=-1)).clamp(min=0.0)  # below 0 by rounding only


def difference_from_sdpa_where_seen(record: LayerTrace) -> float:
    """Largest difference between the heads' outputs and torch's scaled_dot_product_attention.

    Queries that may read no key are left out: torch gives them zero, eager attention the mean of all
    values. Zero where no query is left. Raises InputError for a layer with a soft cap.
    """
    if record.softcap is not None:
        raise InputError("torch's scaled_dot_product_attention has no soft cap to compare with.")
    keys = record.key_of_head
    expected = scaled_dot_product_attention(
        record.query, record.key[keys], record.value[keys], attn_mask=record.visible, scale=record.scale
    )
    seen = record.visible.any(dim=-1).expand(len(record.query), -1)
    return largest_difference(record.head_output[seen], expected[seen])
