"""Values as the Python that makes them: numbers, tensors, dataclasses of ours, names of functions."""

import base64
import dataclasses
import enum
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.take.parts.numbers import tensor_of

COLUMNS = 100
WRITTEN_OUT = 64  # numbers of a tensor that are written one by one; more are put down as text


@dataclass(frozen=True)
class Data:
    """A long text that stands by a name above the code that uses it."""

    name: str
    text: str


@dataclass(frozen=True)
class Expression:
    """Python that makes a value in the script, where the value itself is not written down.

    uses: functions and classes that it names.
    imports: further lines that it needs.
    """

    text: str
    uses: tuple[Any, ...] = ()
    imports: tuple[str, ...] = ()
    data: tuple[Data, ...] = ()


@dataclass
class Written:
    """What the text of values needs: names to import, and data."""

    imports: set[str] = field(default_factory=set)
    data: list[Data] = field(default_factory=list)
    named: dict[str, tuple[str, str]] = field(default_factory=dict)

    def assignment(self, name: str, value: object) -> str:
        """``name = …``, over as many lines as it takes."""
        return f"{name} = {self.text(name, value, len(name) + 3)}"

    def text(self, name: str, value: object, column: int = 0) -> str:
        """The Python that makes a value, where ``column`` columns of its first line are used."""
        return _rendered(self._node(name, value), column, 0)

    def use(self, thing: Any) -> str:
        """Import a function or class, by its own name where that is free."""
        module, name = str(thing.__module__), str(thing.__name__)
        for called in (name, f"{module.rpartition('.')[2]}_{name}"):
            if self.named.setdefault(called, (module, name)) == (module, name):
                self.imports.add(f"from {module} import {name}" + (f" as {called}" * (called != name)))
                return called
        raise TypeError(f"{module}.{name} has no name of its own")

    def _node(self, name: str, value: object) -> "Node":
        if isinstance(value, Expression):
            self.imports |= set(value.imports)
            self.data += value.data
            for thing in value.uses:
                self.use(thing)
            return Node(value.text)
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.ascontiguousarray(value))
        if isinstance(value, Tensor):
            return self._tensor(name, value.detach().cpu())
        if isinstance(value, torch.dtype):
            self.imports.add("import torch")
            return Node(str(value))
        if isinstance(value, enum.Enum):
            return Node(f"{self.use(type(value))}.{value.name}")
        if isinstance(value, str) and "\n" in value and not _marks(value):
            self.data.append(Data(name.upper(), value))
            return Node(f"{name.upper()}[1:-1]")  # without the line ends beside the quotes
        if isinstance(value, str | int | float | None):
            return Node(_scalar(value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(name, value)
        if isinstance(value, Mapping):
            items = [self._node(name, item).behind(f"{_scalar(key)}: ") for key, item in value.items()]
            return Node("{", items, "}")
        if isinstance(value, frozenset | set):
            inner = [self._node(name, item) for item in sorted(value, key=repr)]
            return Node("frozenset({", inner, "})") if inner else Node("frozenset()")
        if isinstance(value, Sequence):
            return self._sequence(name, value)
        if callable(value):
            return Node(self.use(value))
        raise TypeError(f"{name}: {type(value).__name__} cannot be written down")

    def _sequence(self, name: str, value: Sequence[object]) -> "Node":
        items = [self._node(name, item) for item in value]
        flat = all(isinstance(item, int | float) for item in value)
        opened, closed = ("(", ")") if isinstance(value, tuple) else ("[", "]")
        return Node(opened, items, closed, fills=flat, single=isinstance(value, tuple) and len(value) == 1)

    def _dataclass(self, name: str, value: Any) -> "Node":
        called = self.use(type(value))
        items = [
            self._node(f"{name}_{part.name}", getattr(value, part.name)).behind(f"{part.name}=")
            for part in dataclasses.fields(value)
            if part.init
        ]
        return Node(f"{called}(", items, ")")

    def _tensor(self, name: str, value: Tensor) -> "Node":
        self.imports.add("import torch")
        usual = {torch.float32: "", torch.int64: "", torch.bool: ""}
        kind = usual.get(value.dtype, f", dtype={value.dtype}")
        if value.numel() == 0:
            return Node(f"torch.empty({tuple(value.shape)!r}, dtype={value.dtype})")
        if value.numel() <= WRITTEN_OUT and value.ndim <= 2:
            inner = _numbers(value)
            return Node("torch.tensor(", [inner], f"{kind})", tight=True)
        if value.ndim == 1 and value.dtype == torch.int64 and value.numel() <= 4 * WRITTEN_OUT:
            return Node("torch.tensor(", [_numbers(value)], ")", tight=True)
        if value.dtype in (torch.bfloat16, torch.float16):
            return self._tensor(name, value.float())
        array = value.contiguous().numpy()
        label = name.upper()
        self.data.append(Data(label, as_text(array.tobytes())))
        self.use(tensor_of)
        shape = ", ".join(map(str, value.shape))
        return Node(f'tensor_of({label}, "{array.dtype}", {shape})')


@dataclass(frozen=True)
class Node:
    """Text that may be broken over lines between its items."""

    opened: str
    items: Sequence["Node"] = ()
    closed: str = ""
    fills: bool = False  # as many items a line as fit
    tight: bool = False  # brackets of its one item stay beside its own
    single: bool = False  # a tuple of one

    def behind(self, text: str) -> "Node":
        return dataclasses.replace(self, opened=text + self.opened)

    @property
    def flat(self) -> str:
        comma = "," if self.single else ""
        return self.opened + ", ".join(item.flat for item in self.items) + comma + self.closed


def _rendered(node: Node, used: int, indent: int) -> str:
    """The node in one line where it fits behind the columns that are used; else broken."""
    if len(node.flat) + used <= COLUMNS or not node.items:
        return node.flat
    if node.tight:
        return node.opened + _rendered(node.items[0], used + len(node.opened), indent) + node.closed
    inner = " " * (indent + 4)
    if node.fills:
        lines = _filled([item.flat for item in node.items], COLUMNS - indent - 4)
    else:
        lines = [_rendered(item, indent + 5, indent + 4) + "," for item in node.items]
    body = "".join(f"{inner}{line}\n" for line in lines)
    return f"{node.opened}\n{body}{' ' * indent}{node.closed}"


def _filled(items: Iterable[str], columns: int) -> list[str]:
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) + 2 > columns:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{item},"
    return lines


def _numbers(value: Tensor) -> Node:
    if value.ndim == 0:
        return Node(_scalar(value.item()))
    if value.ndim > 1:
        return Node("[", [_numbers(row) for row in value], "]")
    if value.dtype == torch.float32:  # the shortest decimals that give the same float32
        items = [_scalar(float(str(number))) for number in value.numpy()]
    else:
        items = [_scalar(number) for number in value.tolist()]
    return Node("[", [Node(item) for item in items], "]", fills=True)


def _scalar(value: object) -> str:
    if isinstance(value, float) and value != value:
        return 'float("nan")'
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    if isinstance(value, str):
        return _quoted(value)
    return repr(value)


def _marks(text: str) -> set[str]:
    """What of these a text between three quotes must not hold."""
    return {mark for mark in ('"""', "\\", "@") if mark in text}


def _quoted(value: str) -> str:
    """A string in double quotes, as formatters keep them."""
    text = repr(value)
    if text[0] == "'" and '"' not in text:
        return f'"{text[1:-1]}"'
    return text


def as_text(data: bytes) -> str:
    """Bytes, compressed, in base64, in lines."""
    text = base64.b64encode(zlib.compress(data, 6)).decode()
    return "\n".join(text[start : start + COLUMNS] for start in range(0, len(text), COLUMNS))
