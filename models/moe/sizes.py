"""Parameters and FLOPs of published mixtures of experts: in all, and those that one token uses.

Each network is built by transformers on the meta device, from its published configuration: every
shape is there and no weight is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
)

from models.errors import InputError
from models.moe.routers import check_counts

QWEN3 = {"num_hidden_layers": 48, "num_key_value_heads": 4, "head_dim": 128}
PUBLISHED: dict[str, Callable[[], PreTrainedConfig]] = {  # what differs from the class's defaults
    "Mixtral-8x7B": MixtralConfig,
    "OLMoE-1B-7B": lambda: OlmoeConfig(intermediate_size=1_024),
    "Qwen3-30B-A3B": lambda: Qwen3MoeConfig.from_dict(QWEN3),
    "DeepSeek-V3": DeepseekV3Config,
}


@dataclass(frozen=True)
class MixtureSize:
    """Counts of one network. ``active`` are the parameters that one token's forward pass uses."""

    layers: int
    mixture_layers: int  # the others have a dense MLP
    experts: int
    chosen: int
    shared: int
    expert_parameters: int  # of one routed expert in one layer
    total: int
    embedding: int  # the input embedding: looked up, not multiplied; 0 where the output is tied to it
    routed: int  # of all routed experts in all layers

    @property
    def active(self) -> int:
        """All but the routed experts that a token does not choose."""
        return self.total - self.routed + self.mixture_layers * self.chosen * self.expert_parameters

    @property
    def flops(self) -> int:
        """Of one token's forward pass: 2 for each active parameter that multiplies.

        The scores of attention, which grow with the length of the text, are left out, as in the usual
        2·N rule (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
        """
        return 2 * (self.active - self.embedding)


def published_size(name: str) -> MixtureSize:
    """Counts of a published network. Raises InputError on a name that is not in PUBLISHED."""
    if name not in PUBLISHED:
        raise InputError(
            "{name} is not among the published configurations: {names}.",
            name=repr(name[:80]),
            names=", ".join(PUBLISHED),
        )
    return _published_size(name)


@lru_cache(maxsize=len(PUBLISHED))
def _published_size(name: str) -> MixtureSize:
    return mixture_size(PUBLISHED[name]())


def mixture_size(config: PreTrainedConfig) -> MixtureSize:
    """Build the network without memory for its weights, and count.

    Raises InputError where it has no routed experts.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    mixtures = [module for module in model.modules() if _is_mixture(module)]
    if not mixtures:
        raise InputError("A network of type {kind} has no routed experts.", kind=config.model_type)
    experts = int(config.num_local_experts)
    routed = sum(_count(module.get_submodule("experts")) for module in mixtures)
    is_tied = bool(config.tie_word_embeddings)
    return MixtureSize(
        layers=config.num_hidden_layers,
        mixture_layers=len(mixtures),
        experts=experts,
        chosen=config.num_experts_per_tok,
        shared=int(getattr(config, "n_shared_experts", 0) or 0),
        expert_parameters=routed // len(mixtures) // experts,
        total=model.num_parameters(),
        embedding=0 if is_tied else _count(model.get_input_embeddings()),
        routed=routed,
    )


def with_chosen(size: MixtureSize, chosen: int) -> MixtureSize:
    """The same network with another K. Raises InputError as ``check_counts`` does."""
    check_counts(size.experts, chosen)
    return replace(size, chosen=chosen)


def _is_mixture(module: nn.Module) -> bool:
    children = dict(module.named_children())
    return "experts" in children and ("gate" in children or "router" in children)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
