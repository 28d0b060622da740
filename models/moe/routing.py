"""Where a real mixture of experts sends the tokens of a text, and what silencing an expert does.

A router of transformers returns logits, weights and chosen experts. Hooks on the routers read them,
and zero the weights of silenced experts; outside a routed pass of their own thread they do nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.errors import InputError
from models.moe.routers import Grouping, Routing, sigmoid_routing, softmax_routing
from models.networks.loading import Network
from models.networks.tokens import labels, tokenize
from models.runtime.settings import settings

ROUTER_NAMES = ("gate", "router")  # what transformers calls the module beside the experts
WINDOWS_AT_ONCE = 16

Silenced = frozenset[tuple[int, int]]  # (router, expert) pairs; routers are counted from 0


@dataclass(frozen=True, eq=False)
class LayerRouting:
    """What one router did, in float32 on the CPU; chosen experts by falling weight."""

    logits: Float[Tensor, "tokens experts"]
    chosen: Int[Tensor, "tokens chosen"]
    weights: Float[Tensor, "tokens chosen"]  # as the router gave them, before any silencing

    @property
    def experts(self) -> int:
        return self.logits.shape[1]


@dataclass(frozen=True, eq=False)
class RoutedText:
    """A text, its routes layer by layer, and how well the network predicts it."""

    token_ids: Int[Tensor, " tokens"]
    labels: tuple[str, ...]
    text_shown: str
    tokens_total: int
    layers: tuple[LayerRouting, ...]
    loss: float  # nats a token; NaN for a single token

    @property
    def tokens_shown(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, eq=False)
class RoutedCorpus:
    """A text of any length in windows of the network's context, side by side."""

    token_ids: Int[Tensor, " tokens"]
    chosen: Int[Tensor, "layers tokens slots"]
    weights: Float[Tensor, "layers tokens slots"]
    nats_per_character: float  # comparable between networks whatever their vocabularies


@dataclass
class _Recorder:
    """What one pass leaves behind; layers by the router that they belong to."""

    silenced: Silenced
    outputs: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


_recorder: ContextVar[_Recorder | None] = ContextVar("routing", default=None)
_hooked: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()
_lock = Lock()


def routers(network: Network) -> list[nn.Module]:
    """The routers of a network, first layer first, with hooks on them.

    Raises InputError where it has none that Loupe can read.
    """
    with _lock:
        if network.model not in _hooked:
            found = [
                module
                for path, module in network.model.named_modules()
                if path.rpartition(".")[2] in ROUTER_NAMES and _stands_beside_experts(network.model, path)
            ]
            for index, module in enumerate(found):
                module.register_forward_hook(_after_router(index))
            _hooked[network.model] = found
    if not _hooked[network.model]:
        raise InputError(
            "{name} has no router that Loupe can read; choose a mixture of experts such as loupe-moe, "
            "OLMoE or Qwen3-MoE.",
            name=network.entry.name,
        )
    return _hooked[network.model]


def _stands_beside_experts(model: nn.Module, path: str) -> bool:
    parent = model.get_submodule(path.rpartition(".")[0])
    return hasattr(parent, "experts") and isinstance(parent.experts, nn.Module)


def _after_router(index: int):
    def hook(module: nn.Module, args: object, output: object) -> tuple[Tensor, Tensor, Tensor] | None:
        recorder = _recorder.get()
        if recorder is None:
            return None
        logits, weights, chosen = _parts(module, output)
        recorder.outputs[index] = (logits, weights, chosen)
        silent = [expert for router, expert in recorder.silenced if router == index]
        if not silent:
            return None
        is_silent = torch.isin(chosen, torch.tensor(silent, device=chosen.device))
        return logits, weights.masked_fill(is_silent, 0), chosen

    return hook


def _parts(module: nn.Module, output: object) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, weights and indices; raises InputError on a router that returns something else."""
    match output:
        case (Tensor() as logits, Tensor() as weights, Tensor() as chosen):
            if chosen.ndim == 2 and weights.shape == chosen.shape and not chosen.is_floating_point():
                return logits, weights, chosen
    raise InputError(
        "Loupe cannot read the router {router}: it does not give logits, weights and experts.",
        router=type(module).__name__,
    )


@contextmanager
def _routing(silenced: Silenced) -> Iterator[_Recorder]:
    recorder = _Recorder(silenced)
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def _forward(
    network: Network, windows: Int[Tensor, "windows tokens"], silenced: Silenced
) -> tuple[list[LayerRouting], Float[Tensor, "windows tokens vocabulary"]]:
    found = routers(network)
    with _routing(silenced) as recorder, torch.inference_mode():
        logits = network.model(windows.to(network.device), use_cache=False).logits.float().cpu()
    layers = [_layer(*recorder.outputs[index]) for index in range(len(found))]
    for router, expert in sorted(silenced):
        if router >= len(found) or expert >= layers[router].experts:
            raise InputError(
                "There is no expert {expert} in router {router}; there are {routers} routers.",
                expert=expert,
                router=router,
                routers=len(found),
            )
    return layers, logits


def _layer(logits: Tensor, weights: Tensor, chosen: Tensor) -> LayerRouting:
    """By falling weight: some routers give their experts in no order."""
    order = weights.argsort(dim=-1, descending=True, stable=True)
    return LayerRouting(
        logits.detach().float().cpu().clone(),
        chosen.gather(1, order).detach().long().cpu().clone(),
        weights.gather(1, order).detach().float().cpu().clone(),
    )


def route_text(network: Network, text: str, silenced: Silenced = frozenset()) -> RoutedText:
    """Route a text in one pass; what does not fit the context or the settings is cut off.

    A silenced expert puts out zero for its tokens; the weights of the others stay as they were and
    are not brought to a sum of 1 again. Raises InputError on a network without routers, an expert
    that is not there, and a text that cannot be read.
    """
    tokenized = tokenize(network.tokenizer, text, min(network.context, settings().text_tokens))
    ids = torch.tensor(tokenized.token_ids)
    layers, logits = _forward(network, ids[None], silenced)
    loss = cross_entropy(logits[0, :-1], ids[1:]).item() if len(ids) > 1 else float("nan")
    names = labels(network.tokenizer, tokenized.token_ids)
    return RoutedText(ids, names, tokenized.shown, tokenized.total, tuple(layers), loss)


def route_corpus(network: Network, text: str, silenced: Silenced = frozenset()) -> RoutedCorpus:
    """Route a text of any length, in windows of the context behind the start token.

    The loss is that of every token, given those before it in its window. Raises as ``route_text``.
    """
    ids = torch.tensor(tokenize(network.tokenizer, text, len(text) + 8).token_ids)
    start = _start_token(network)
    body = ids[1:] if start is not None and ids[0] == start else ids
    most = min(network.context, settings().text_tokens)
    length = most - (start is not None)
    parts = [part for part in body.split(length) if len(part) > 1]
    windows = [part if start is None else torch.cat([torch.tensor([start]), part]) for part in parts]
    routed = [_forward_with_loss(network, batch, silenced) for batch in _batches(windows)]
    return RoutedCorpus(
        torch.cat([batch.flatten() for batch in _batches(windows)]),
        torch.cat([chosen for chosen, _weights, _loss in routed], dim=1),
        torch.cat([weights for _chosen, weights, _loss in routed], dim=1),
        sum(loss for _chosen, _weights, loss in routed) / len(text),
    )


def _forward_with_loss(
    network: Network, windows: Int[Tensor, "windows tokens"], silenced: Silenced
) -> tuple[Tensor, Tensor, float]:
    layers, logits = _forward(network, windows, silenced)
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten(), reduction="sum")
    chosen = torch.stack([layer.chosen for layer in layers])
    return chosen, torch.stack([layer.weights for layer in layers]), loss.item()


def _batches(windows: list[Tensor]) -> list[Tensor]:
    """Windows of equal length together; the last and shorter one alone."""
    whole = [window for window in windows if len(window) == len(windows[0])]
    batches = [
        torch.stack(whole[first : first + WINDOWS_AT_ONCE])
        for first in range(0, len(whole), WINDOWS_AT_ONCE)
    ]
    return batches + [window[None] for window in windows[len(whole) :]]


def _start_token(network: Network) -> int | None:
    """The token that the tokenizer itself puts in front of a text, if it does."""
    ids = network.tokenizer.backend_tokenizer.encode("a", add_special_tokens=True).ids
    plain = network.tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).ids
    return ids[0] if len(ids) > len(plain) and ids[1:] == plain else None


def selection_bias(network: Network) -> tuple[Float[Tensor, " experts"] | None, ...]:
    """The bias that each router adds for the choice only; None where it has none."""
    biases = [getattr(router, "e_score_correction_bias", None) for router in routers(network)]
    return tuple(None if bias is None else bias.detach().float().cpu() for bias in biases)


def routed_by_rule(network: Network, router: int, layer: LayerRouting) -> Routing:
    """The same logits through models.moe.routers, by the settings that the network's router carries."""
    gate = routers(network)[router]
    chosen = layer.chosen.shape[1]
    bias = selection_bias(network)[router]
    if bias is None:
        # Mixtral's router has no such setting: it always renormalises
        return softmax_routing(layer.logits, chosen, bool(getattr(gate, "norm_topk_prob", True)))
    grouping = Grouping(getattr(gate, "num_group", 1), getattr(gate, "topk_group", 1))
    factor = float(getattr(gate, "routed_scaling_factor", 1.0))
    return sigmoid_routing(layer.logits, chosen, bias, grouping, bool(gate.norm_topk_prob), factor)


def difference_from_rule(network: Network, router: int, layer: LayerRouting) -> float:
    """Largest difference of weights between the router and its rule; infinite if the choice differs."""
    rule = routed_by_rule(network, router, layer)
    ours = torch.zeros_like(layer.logits).scatter(1, rule.chosen, rule.weights)
    theirs = torch.zeros_like(layer.logits).scatter(1, layer.chosen, layer.weights)
    if not torch.equal(ours > 0, theirs > 0):
        return float("inf")
    return float((ours - theirs).abs().max())
