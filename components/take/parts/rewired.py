"""A network without its skip connections, without its MLPs, or with neither."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from components.take.parts.recorded import Change, blocks_of, record


def hidden_states(
    model: PreTrainedModel, token_ids: list[int], residual: bool = True, mlp: bool = True
) -> list[Tensor]:
    """What each block is given, and what the last gives back, [query width] each.

    For blocks of the form x + attention(norm(x)), then + mlp(norm(·)), as in GPT-2 and Llama. Without
    ``residual`` neither sum is formed; without ``mlp`` the second part adds nothing.
    """
    hooks = [hook for block in blocks_of(model) for hook in _hooks(block, residual, mlp)]
    try:
        return record(model, token_ids, Change()).hidden
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(block: nn.Module, residual: bool, mlp: bool):
    """Take a block's parts as they come, and put its output together from those that are left."""
    is_gpt2 = hasattr(block, "attn")
    attention = block.get_submodule("attn" if is_gpt2 else "self_attn")
    norm = block.get_submodule("ln_2" if is_gpt2 else "post_attention_layernorm")
    made: dict[str, Tensor] = {}

    def after_attention(_module, _given, output):
        made["attention"] = output[0]

    def before_norm(_module, _given):
        return None if residual else (made["attention"],)

    def after_mlp(_module, _given, output):
        made["mlp"] = output

    def after_block(_module, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        total = (given if residual else torch.zeros_like(given)) + made["attention"] * (residual or not mlp)
        return total + made["mlp"] * mlp

    return (
        attention.register_forward_hook(after_attention),
        norm.register_forward_pre_hook(before_norm),
        block.get_submodule("mlp").register_forward_hook(after_mlp),
        block.register_forward_hook(after_block, with_kwargs=True),
    )
