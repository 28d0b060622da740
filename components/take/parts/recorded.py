"""One pass of a transformers network whose attention is written down, layer by layer, and changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

Rewrite = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Change:
    """What is done to the attention of every layer; the default does nothing.

    The scale 1/√d_k becomes d_k^−exponent, and the scores are divided by the temperature. ``visible``
    takes the place of the mask, in the layers ``visible_in`` or in all. The output of the ``silenced``
    heads, (layer, head), is zero.
    """

    exponent: float = 0.5
    temperature: float = 1.0
    silenced: frozenset[tuple[int, int]] = frozenset()
    visible: Tensor | None = None  # bool [query key]
    visible_in: frozenset[int] | None = None


@dataclass
class Layer:
    """What one layer's attention computed, of one text."""

    query: Tensor  # [heads query d_k] after rotary embedding, where there is one
    key: Tensor  # [heads key d_k], once for every head that reads it
    value: Tensor  # [heads key d_v], likewise
    scale: float
    visible: Tensor  # bool [heads query key]
    probabilities: Tensor  # [heads query key]
    output: Tensor  # [heads query d_v]


@dataclass
class Recorded:
    """One pass: every layer's attention, what each block was given, and the scores of the next token."""

    change: Change
    layers: list[Layer] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)  # [query width], and after the last block
    scores: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """The scores of the next token, [query vocabulary]. Raises ValueError where there are none."""
        if self.scores is None:
            raise ValueError("This network reads, and does not say what comes next.")
        return self.scores


def record(
    model: PreTrainedModel,
    token_ids: list[int],
    change: Change = Change(),
    rewrite: Rewrite | None = None,
    **inputs: Tensor,
) -> Recorded:
    """Run the network on one text; ``inputs`` are handed to it as they are.

    ``rewrite`` makes other queries and keys of those that each layer has rotated.
    """
    found = Recorded(change)

    def attend(module, query, key, value, attention_mask, scaling=None, softcap=None, **_options):
        if rewrite is not None:
            query, key = rewrite(query, key)
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        width = query.shape[-1]
        scale = width**-0.5 if scaling is None else scaling
        scale = scale * width ** (0.5 - change.exponent) / change.temperature
        scores = query @ key.transpose(2, 3) * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        mask = _mask(change, len(found.layers), scores, attention_mask)
        probabilities = (scores + mask).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        output = probabilities @ value
        for layer, head in change.silenced:
            if layer == len(found.layers):
                output[:, head] = 0
        visible = (mask > torch.finfo(mask.dtype).min / 2).expand_as(scores)
        found.layers.append(
            Layer(
                query[0].float(),
                key[0].float(),
                value[0].float(),
                scale,
                visible[0],
                probabilities[0].float(),
                output[0].float(),
            )
        )
        return output.transpose(1, 2), probabilities

    AttentionInterface.register("recorded", attend)
    AttentionMaskInterface.register("recorded", eager_mask)
    model.set_attn_implementation("recorded")
    hooks = [block.register_forward_hook(_keep(found), with_kwargs=True) for block in blocks_of(model)]
    with torch.no_grad():
        output = model(torch.tensor([token_ids]), use_cache=False, **inputs)
    for hook in hooks:
        hook.remove()
    found.scores = output.logits[0].float() if "logits" in output else None
    return found


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """The network's blocks, one a layer."""
    lists = (part for part in model.modules() if isinstance(part, nn.ModuleList))
    return next(part for part in lists if len(part) == model.config.num_hidden_layers)


def _keep(found: Recorded):
    """Keep what each block was given, and what the present one gives back: the last stays."""

    def hook(_block: nn.Module, args: tuple, kwargs: Mapping[str, Tensor], output) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        given, made = given[0], (output if isinstance(output, Tensor) else output[0])[0]
        found.hidden[len(found.hidden) - 1 :] = [given, made]

    return hook


def _mask(change: Change, layer: int, scores: Tensor, own: Tensor | None) -> Tensor:
    """What is added to the scores: 0, and the least finite number where a key is hidden."""
    if change.visible is not None and (change.visible_in is None or layer in change.visible_in):
        hidden = torch.finfo(scores.dtype).min
        return torch.where(change.visible, 0.0, hidden).to(scores.dtype)[None, None]
    return scores.new_zeros(1, 1, *scores.shape[-2:]) if own is None else own
