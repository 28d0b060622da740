"""Where a real mixture of experts sends the tokens of a text, and what silencing an expert does.

A router of transformers returns logits, weights and chosen experts. Hooks on the routers read them,
and zero the weights of silenced experts; outside a routed pass of their own thread they do nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.errors import InputError
from models.moe.router_rules import Rule, difference, rule_of
from models.moe.routers import Routing
from models.networks.loading import Network
from models.networks.tokens import labels, tokenize
from models.numerics.token_losses import token_losses
from models.runtime.settings import settings

ROUTER_NAMES = ("gate", "router")  # what transformers calls the module beside the experts
WINDOWS_AT_ONCE = 16
DIFFERENT, DIFFERENT_IN_HALF = 1e-4, 0.05  # of weights: more is another rule, less may be rounding

Silenced = frozenset[tuple[int, int]]  # (router, expert) pairs; routers are counted from 0
RouterParts = tuple[Tensor, Tensor, Tensor]  # logits, weights, chosen experts


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
    outputs: dict[int, RouterParts] = field(default_factory=dict)


_recorder: ContextVar[_Recorder | None] = ContextVar("routing", default=None)
_hooked: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()
_rules: WeakKeyDictionary[nn.Module, tuple[Rule, ...]] = WeakKeyDictionary()
_followed: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()  # whose routers were seen to obey
_lock = Lock()


def routers(network: Network) -> list[nn.Module]:
    """The routers of a network, first layer first, with hooks on them.

    Raises InputError where it has none that Loupe can read.
    """
    with _lock:
        if network.model not in _hooked:
            blocks = [
                (network.model.get_submodule(path.rpartition(".")[0]), module)
                for path, module in network.model.named_modules()
                if path.rpartition(".")[2] in ROUTER_NAMES and _stands_beside_experts(network.model, path)
            ]
            found = [module for _block, module in blocks]
            _rules[network.model] = tuple(_known_rule(network, block, gate) for block, gate in blocks)
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


def _known_rule(network: Network, block: nn.Module, gate: nn.Module) -> Rule:
    rule = rule_of(gate, block)
    if rule is None:
        raise InputError(
            "{name} routes by {router}, a rule that Loupe does not explain; choose a mixture of experts "
            "such as loupe-moe, OLMoE or Qwen3-MoE.",
            name=network.entry.name,
            router=type(gate).__name__,
        )
    return rule


def _stands_beside_experts(model: nn.Module, path: str) -> bool:
    parent = model.get_submodule(path.rpartition(".")[0])
    return hasattr(parent, "experts") and isinstance(parent.experts, nn.Module)


def _after_router(index: int) -> Callable[[nn.Module, object, object], RouterParts | None]:
    def hook(module: nn.Module, args: object, output: object) -> RouterParts | None:
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


def _parts(module: nn.Module, output: object) -> RouterParts:
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
    _check_rules(network, layers)
    for router, expert in sorted(silenced):
        if router >= len(found) or expert >= layers[router].experts:
            raise InputError(
                "There is no expert {expert} in router {router}; there are {routers} routers.",
                expert=expert,
                router=router,
                routers=len(found),
            )
    return layers, logits


def _check_rules(network: Network, layers: list[LayerRouting]) -> None:
    """Raise InputError on a router that was seen to route by another rule than its family's."""
    if network.model in _followed:
        return
    dtype = next(network.model.parameters()).dtype
    most = DIFFERENT if dtype == torch.float32 else DIFFERENT_IN_HALF
    for router, layer in enumerate(layers):
        if not difference_from_rule(network, router, layer) <= most:
            raise InputError(
                "Router {router} of {name} does not route by the rule of its family; Loupe cannot "
                "explain it.",
                router=router,
                name=network.entry.name,
            )
    _followed[network.model] = True


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
    loss = token_losses(logits[0], ids).mean().item() if len(ids) > 1 else float("nan")
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
    loss = token_losses(logits, windows).sum()
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


def rules(network: Network) -> tuple[Rule, ...]:
    """The rule of each router. Raises InputError as ``routers`` does."""
    routers(network)
    return _rules[network.model]


def selection_bias(network: Network) -> tuple[Float[Tensor, " experts"] | None, ...]:
    """The bias that each router adds for the choice only; None where it has none."""
    return tuple(rule.bias for rule in rules(network))


def routed_by_rule(network: Network, router: int, layer: LayerRouting) -> Routing:
    """The same logits through the rule of this router's family."""
    return rules(network)[router].route(layer.logits, layer.chosen.shape[1])


def difference_from_rule(network: Network, router: int, layer: LayerRouting) -> float:
    """Largest difference of weights between the router and its rule; infinite if the choice differs."""
    return difference(rules(network)[router], layer.logits, layer.chosen, layer.weights)
