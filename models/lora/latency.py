"""What an adapter costs at inference: two branches, one merged matrix, or bottlenecks in series."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.lora.fine_tuning import FineTuning, adapted_model, check, texts
from models.lora.initialisations import Initialisation
from models.networks.catalogue import DEFAULT
from models.networks.loading import fresh_copy

VARIANTS = ("base", "unmerged", "merged", "bottleneck")


@dataclass(frozen=True, eq=False)
class Latency:
    """Median milliseconds of a forward pass, and how far merging moved the logits."""

    milliseconds: dict[str, float]
    merge_difference: float  # largest |Δ logit|, merged against unmerged
    adapter_difference: float  # the same, adapter against base: what the adapter does at all
    tokens: int


class Bottleneck(nn.Module):
    """h + W_up·relu(W_down·h): behind a sub-layer, in series (Houlsby et al. 2019)."""

    def __init__(self, width: int, bottleneck: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return hidden + self.up(self.down(hidden).relu())


def measure(targets: tuple[str, ...], rank: int, bottleneck: int, repeats: int = 9) -> Latency:
    """Time the default network on one window of prose: as it is, with LoRA, merged, with bottlenecks.

    Both factors are random, so that the adapter does something. Raises InputError on impossible settings.
    """
    random: Initialisation = "random"
    run = FineTuning(targets=targets, rank=rank, initialisation=random)
    check(run)
    window = texts("prose").held_out[:1]
    base = fresh_copy(DEFAULT)
    logits, taken = {"base": _logits(base, window)}, {"base": _time(base, window, repeats)}
    adapted = adapted_model(run, fresh_copy(DEFAULT)).eval()
    logits["unmerged"], taken["unmerged"] = _logits(adapted, window), _time(adapted, window, repeats)
    merged = adapted.merge_and_unload()
    logits["merged"], taken["merged"] = _logits(merged, window), _time(merged, window, repeats)
    taken["bottleneck"] = _time(with_bottlenecks(base, bottleneck), window, repeats)
    return Latency(
        taken,
        _gap(logits["merged"], logits["unmerged"]),
        _gap(logits["unmerged"], logits["base"]),
        window.shape[1],
    )


def with_bottlenecks(model: nn.Module, bottleneck: int) -> nn.Module:
    """Put one behind the attention and one behind the MLP of every layer; changes ``model``."""
    width = next(p.shape[1] for name, p in model.named_parameters() if "embed" in name)

    def behind(adapter: Bottleneck) -> Callable[..., Tensor | tuple]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple) -> Tensor | tuple:
            if isinstance(output, tuple):
                return (adapter(output[0]), *output[1:])
            return adapter(output)

        return hook

    for name, module in model.named_modules():
        if name.endswith((".self_attn", ".mlp")):
            module.register_forward_hook(behind(Bottleneck(width, bottleneck)))
    return model


def _logits(model: nn.Module, window: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(window, use_cache=False).logits


def _time(model: nn.Module, window: Tensor, repeats: int) -> float:
    _logits(model, window)  # the first pass allocates
    taken = []
    for _repeat in range(repeats):
        begun = time.perf_counter()
        _logits(model, window)
        taken.append(1000 * (time.perf_counter() - begun))
    return median(taken)


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
