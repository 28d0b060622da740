"""Attention whose queries and keys are rewritten for a pass, and nothing else about it."""

from typing import Any

from torch import Tensor, nn

from models.networks.recording import _rewrite, eager_attention


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The architecture's own eager attention; its scale stays that of the width of one head."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if (rewrite := _rewrite.get()) is not None:
        query, key = rewrite(query, key)
    return eager_attention(module)(
        module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **options
    )
