"""The embedded network as transformers builds it from a config: what scaled networks are compared with."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from models.context.long_context import Way, long_logits, rotary_module
from models.networks.building import building
from models.networks.loading import load
from models.numerics.comparison import largest_difference
from models.rotary.library import parameters_of
from models.rotary.scaling import RopeSettings, ntk_base, scaled_rope


def difference_from_transformers(network: str, way: Way, tokens: Int[Tensor, " token"]) -> float:
    """Largest difference between our logits and those of transformers' own network.

    Scaling is compared with a network whose config names it; a sliding window with Mistral's, which
    has the same layers. Sinks are in no network of transformers: there the comparison is made on as
    many tokens as the cache holds, where nothing is left out yet. Only for Llama networks.
    """
    cache = way.cache
    if cache.sinks and cache.window is not None:
        tokens = tokens[: cache.window + cache.sinks]
    built = _built(network, way.rope, None if cache.sinks else cache.window)
    with torch.no_grad():
        theirs = built(tokens[None].to(built.device)).logits
    return largest_difference(long_logits(network, way, tokens[None]), theirs.float().cpu())


@lru_cache(maxsize=4)
def _built(network: str, rope: RopeSettings, window: int | None) -> PreTrainedModel:
    """A fresh network over the same weights; transformers computes its rotary frequencies.

    Of the truncated basis, which transformers does not know, it is given the frequencies.
    """
    model = load(network).model
    own = model.config.to_dict()
    kept = {name: own[name] for name in own if name not in ("rope_parameters", "model_type")}
    kept |= {"max_position_embeddings": rope.longest, "rope_parameters": _written(rope)}
    kept["attn_implementation"] = "eager"
    built: Any
    with building():
        if window is None:
            built = LlamaForCausalLM(LlamaConfig(**kept))
        else:
            built = MistralForCausalLM(MistralConfig(**kept, sliding_window=window))
    built = built.to(model.device, model.dtype)
    built.load_state_dict(model.state_dict())
    if rope.rope_type == "truncated":
        rotary_module(built).inv_freq = nn.Buffer(scaled_rope(rope).inverse_frequencies, persistent=False)
    return built.eval()


def _written(rope: RopeSettings) -> dict[str, Any]:
    """rope_parameters; ntk as what it is, a larger base."""
    if rope.rope_type == "ntk":
        base = ntk_base(rope.rope_theta, rope.factor or 1.0, rope.width)
        return {"rope_type": "default", "rope_theta": base}
    if rope.rope_type in ("default", "truncated"):
        return {"rope_type": "default", "rope_theta": rope.rope_theta}
    return parameters_of(rope)
