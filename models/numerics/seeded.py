"""Random numbers for code that takes no generator: torch.nn's layers, transformers' models, peft."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Seeded(TorchDispatchMode):
    """In the block, this thread's draws on the CPU come from a generator of its own.

    ``torch.manual_seed`` and ``torch.random.fork_rng`` set the one generator of the whole process, from
    which the threads of other sessions draw at the same time: equal seeds then give unequal numbers. Here
    each random operation of this thread is handed a ``torch.Generator`` as it is dispatched; what comes out
    is what ``torch.manual_seed(seed)`` gives where nothing else runs, to the last bit.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if isinstance(func, torch._ops.OpOverload) and _draws_on_cpu(func, args, named):
            func = _with_generator(func)
            if _takes_generator(func) and named.get("generator") is None:
                named["generator"] = self.generator
        return func(*args, **named)


def _draws_on_cpu(func: torch._ops.OpOverload, args: Sequence[Any], named: dict[str, Any]) -> bool:
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    first = next((value.device for value in args if isinstance(value, Tensor)), None)
    return torch.device(named.get("device") or first or "cpu").type == "cpu"


def _takes_generator(func: torch._ops.OpOverload) -> bool:
    return any(argument.name == "generator" for argument in func._schema.arguments)


def _with_generator(func: torch._ops.OpOverload) -> torch._ops.OpOverload:
    """The overload that takes a generator: randn.default has none, randn.generator has."""
    if _takes_generator(func):
        return func
    name = func._overloadname
    other = "generator" if name == "default" else f"{name}_generator"
    packet = func.overloadpacket
    return getattr(packet, other) if other in packet.overloads() else func
