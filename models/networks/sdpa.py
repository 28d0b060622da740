"""torch's own attention on what a layer was given: what traces are compared with."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from models.errors import InputError
from models.networks.tracing import LayerTrace


def torch_attention(record: LayerTrace) -> Float[Tensor, "heads query d_v"]:
    """scaled_dot_product_attention of a layer's queries, keys and values under its mask.

    A learned sink stands as one more key, whose score it is and whose value is zero. Raises InputError
    for a layer with a soft cap, which torch's function has not.
    """
    if record.softcap is not None:
        raise InputError("torch's scaled_dot_product_attention has no soft cap to compare with.")
    key, value = record.key[record.key_of_head], record.value[record.key_of_head]
    mask = record.visible
    if record.sinks is not None:
        heads, queries = record.query.shape[:2]
        seen = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).expand(heads, queries, -1)
        mask = torch.cat([seen, record.sinks.expand(heads, queries, 1)], dim=-1)
        key, value = (pad(part, (0, 0, 0, 1)) for part in (key, value))
    return scaled_dot_product_attention(record.query, key, value, attn_mask=mask, scale=record.scale)
