"""What attention costs: parameters, bytes of cache and operations, and who shares a key head."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from models.errors import InputError


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
