"""Torch's attention in single operations: for second derivatives, which its fused kernels do not have."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import multi_head_attention_forward, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class MathAttention(TorchFunctionMode):
    """In the block, this thread's scaled_dot_product_attention is torch's own "math" kernel, and its
    multi-head attention takes the way on which it could show its weights.

    ``torch.nn.attention.sdpa_kernel`` chooses kernels for the whole process: other threads compute with
    them meanwhile, and two that leave out of order leave the wrong ones behind.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is scaled_dot_product_attention:
            return _math(*args, **(kwargs or {}))
        if func is multi_head_attention_forward:  # the kernels that it calls are not seen from here
            return func(*args, **(dict(kwargs or {}) | {"need_weights": True}))
        return func(*args, **(kwargs or {}))


def _math(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # the public function's part
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
    output, _weights = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )
    return output
