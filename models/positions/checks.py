"""The encodings once more, as transformers computes them: what the page's numbers are compared with."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama
from transformers.models.t5.modeling_t5 import T5Attention

from models.numerics.comparison import largest_difference
from models.positions.bias import alibi_slopes, distances, t5_bucket
from models.rotary.rope import Rotation


def sinusoidal_difference(table: Float[Tensor, "position width"], base: float) -> float:
    """Largest difference of an encoding in the paper's order from the sin and cos of Llama's module."""
    length, width = table.shape
    config = LlamaConfig(
        hidden_size=width,
        num_attention_heads=1,
        head_dim=width,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    cos, sin = llama.LlamaRotaryEmbedding(config)(table, torch.arange(length)[None])
    theirs = torch.stack([sin[0, :, : width // 2], cos[0, :, : width // 2]], dim=-1).flatten(1)
    return largest_difference(table, theirs)


def rotated_by_transformers(x: Float[Tensor, "token d_k"], turn: Rotation) -> Float[Tensor, "token d_k"]:
    """Vectors rotated by Llama's function in the "half" layout, by GPT-J's in the "interleaved" one."""
    rotary = 2 * turn.cos.shape[-1]
    first, rest = x[:, :rotary], x[:, rotary:]
    if turn.layout == "interleaved":
        # batch, token, head, width
        turned = gptj.apply_rotary_pos_emb(first[None, :, None], turn.sin[None], turn.cos[None])[0, :, 0]
    else:
        cos, sin = (torch.cat([part, part], dim=-1)[None] for part in (turn.cos, turn.sin))
        turned = llama.apply_rotary_pos_emb(first[None, None], first[None, None], cos, sin)[0][0, 0]
    return torch.cat([turned, rest], dim=-1)


def alibi_difference(heads: int) -> float:
    """Largest difference of the slopes from BLOOM's."""
    theirs = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    return largest_difference(alibi_slopes(heads), theirs)


def bucket_difference(tokens: int, bidirectional: bool, buckets: int, max_distance: int) -> float:
    """Largest difference of the buckets of all pairs of positions from T5's."""
    relative = -distances(tokens, tokens)
    theirs = T5Attention._relative_position_bucket(relative, bidirectional, buckets, max_distance)
    return largest_difference(
        t5_bucket(relative, bidirectional, buckets, max_distance).float(), theirs.float()
    )
