"""What a configuration's own architecture does with rotary positions, asked of its classes.

The network is built without memory for its weights (torch's meta device) and run on three tokens. Angles
are marked as things to differentiate by, nothing else is: a layer whose queries depend on them rotates.
So is known what no field says: layers without rotation (Cohere 2, EXAONE 4, Llama 4, SmolLM 3), a network
that was switched to ALiBi or to no positions at all, the width of a head, and the scale of its scores.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from models.networks.recording import ATTENTION, Attend, attending

MOST_LAYERS = 128  # of a configuration that is built to be asked
TOKENS = 3


@dataclass(frozen=True)
class RotationFacts:
    """What a network of this configuration does."""

    rotates: tuple[bool, ...]  # by layer that attends, in order
    head_width: int  # of a query, rotated or not
    scale: float  # on q·k

    @property
    def times_root(self) -> float:
        """The scale beside the usual 1/√d: 1 in most networks."""
        return self.scale * self.head_width**0.5


def rotation_facts(config: PreTrainedConfig) -> RotationFacts | None:
    """None where the architecture attends in a way of its own, or cannot be run without weights."""
    if getattr(config, "num_hidden_layers", MOST_LAYERS + 1) > MOST_LAYERS:
        return None
    caught: list[tuple[bool, int, float]] = []

    def catch(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        *,
        scaling: float | None = None,
        **_options: Any,
    ) -> tuple[Tensor, None]:
        width = query.shape[-1]
        caught.append((query.requires_grad, width, width**-0.5 if scaling is None else float(scaling)))
        return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None

    try:
        with torch.device("meta"):
            model = AutoModel.from_config(
                config, dtype=torch.bfloat16, attn_implementation=ATTENTION, trust_remote_code=False
            )
            ids = torch.zeros(1, TOKENS, dtype=torch.long)
        model.eval().requires_grad_(False)
        for module in model.modules():
            if "rotary" in type(module).__name__.lower():
                module.register_forward_hook(_marked)
        _run(model, ids, catch, caught)
    except Exception:  # each architecture checks its configuration, and needs its inputs, in its own way
        return None
    if not caught:
        return None
    return RotationFacts(tuple(rotates for rotates, *_ in caught), caught[0][1], caught[0][2])


def _run(model: PreTrainedModel, ids: Tensor, catch: Attend, caught: list[tuple[bool, int, float]]) -> None:
    """A pass under a mask that the architecture can read without its numbers."""
    whole = torch.zeros(1, 1, TOKENS, TOKENS, dtype=torch.bfloat16, device="meta")
    for mask in (torch.ones_like(ids), whole):
        caught.clear()
        try:
            with attending(catch):
                model(ids, attention_mask=mask, use_cache=False)
            return
        except RuntimeError as error:  # a number of a mask was asked for
            refused = error
    raise refused


def _marked(module: nn.Module, args: Any, output: Any) -> Any:
    """What comes out of a rotary module, as something that gradients are asked for."""
    if isinstance(output, Tensor):
        return output.detach().requires_grad_()
    return tuple(_marked(module, args, part) if isinstance(part, Tensor) else part for part in output)
