"""A formula in x and y, typed by a person, as a function of tensors.

simpleeval walks Python's syntax tree; nothing is handed to ``eval``. Only what arithmetic needs is
switched on: numbers, x, y, π, e, + − * / ^ **, and the functions below. Attributes, indices, strings,
comparisons, comprehensions and assignments have no meaning here at all.
"""

import ast
import math
import re
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from simpleeval import FunctionNotDefined, InvalidExpression, NameNotDefined, SimpleEval
from torch import Tensor

from models.errors import InputError

LONGEST = 200  # characters
MOST_PARTS = 120  # nodes of the syntax tree: a deep one would exhaust Python's stack
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name: getattr(torch, name)
    for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "abs", "sinh", "cosh", "tanh", "atan")
} | {"min": torch.minimum, "max": torch.maximum}
TWO_ARGUMENTS = frozenset({"min", "max"})
OPERATORS: dict[type, Callable[..., Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
    ast.Pow: torch.pow,
    ast.USub: torch.neg,
    ast.UAdd: torch.positive,
}
CONSTANTS = {"pi": math.pi, "e": math.e}

Formula = Callable[[Tensor, Tensor], Tensor]


class _Arithmetic(SimpleEval):
    """simpleeval with everything but arithmetic on tensors taken out."""

    def __init__(self, x: Tensor, y: Tensor):
        constants = {name: torch.as_tensor(value, dtype=x.dtype) for name, value in CONSTANTS.items()}
        super().__init__(operators=OPERATORS, functions=FUNCTIONS, names={"x": x, "y": y, **constants})
        self.nodes = {
            ast.Expr: self._eval_expr,
            ast.BinOp: self._eval_binop,
            ast.UnaryOp: self._eval_unaryop,
            ast.Call: self._eval_call,
            ast.Name: self._eval_name,
            ast.Constant: lambda node: torch.as_tensor(float(node.value), dtype=x.dtype),
        }


def parse(text: str) -> Formula:
    """The formula as a function of two tensors of one shape, which autograd can differentiate.

    ^ and ** both raise to a power. Raises InputError on anything that is not such a formula.
    """
    if not text.strip():
        raise InputError("Type a formula in x and y, such as {example}.", example="x^2 + 3*y^2")
    if len(text) > LONGEST:
        raise InputError("A formula has at most {longest} characters.", longest=LONGEST)
    if "#" in text or re.search(r"\d_\d", text):  # to Python the rest of a line, and a digit more
        raise InputError("This is not a formula in x and y.")
    node = _parsed(text.replace("^", "**").strip())
    _check(node)

    def formula(x: Tensor, y: Tensor) -> Tensor:
        return _Arithmetic(x, y).eval(text, previously_parsed=node) + 0 * x  # a constant has no shape

    _try(formula)
    return formula


def _parsed(text: str) -> ast.AST:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # simpleeval warns of assignments and of second statements
            return SimpleEval.parse(text)
    except (SyntaxError, ValueError, Warning, InvalidExpression, RecursionError, MemoryError) as error:
        raise InputError("This is not a formula in x and y.") from error


def _check(tree: ast.AST) -> None:
    """Refuse what has no meaning here before any of it is evaluated."""
    parts = list(ast.walk(tree))
    if len(parts) > MOST_PARTS * 2:  # operators and contexts are nodes too
        raise InputError("This formula has too many parts.")
    called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    for part in parts:
        if isinstance(part, ast.Call):
            _check_call(part)
        elif isinstance(part, ast.Constant):
            _check_number(part.value)
        elif isinstance(part, ast.Name) and id(part) not in called:
            if part.id not in {"x", "y", *CONSTANTS}:
                raise InputError("The name {name} is not known; x, y, pi and e are.", name=part.id)
        elif not isinstance(part, (ast.Expr, ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, *OPERATORS)):
            raise InputError("Only numbers, x, y, + - * / ^ and functions have a meaning here.")


def _check_call(call: ast.Call) -> None:
    names = ", ".join(FUNCTIONS)
    if not isinstance(call.func, ast.Name) or call.func.id not in FUNCTIONS:
        name = call.func.id if isinstance(call.func, ast.Name) else "?"
        raise InputError("There is no function {name} here; there are {names}.", name=name, names=names)
    wanted = 2 if call.func.id in TWO_ARGUMENTS else 1
    if len(call.args) != wanted or call.keywords:
        raise InputError("{name} takes {count} argument(s).", name=call.func.id, count=wanted)


def _check_number(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError("Only numbers, x, y, + - * / ^ and functions have a meaning here.")
    if abs(value) > 1e12:
        raise InputError("Numbers up to 1e12 are accepted in a formula.")


def _try(formula: Formula) -> None:
    """Evaluate it once: what slipped through is refused here and not on the page."""
    x = torch.linspace(-1, 1, 3, dtype=torch.float64)
    try:
        formula(x, x)
    except (InvalidExpression, NameNotDefined, FunctionNotDefined, RuntimeError, TypeError) as error:
        raise InputError("This is not a formula in x and y.") from error


def gradient(formula: Formula, points: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows 2"]:
    """∂f/∂(x, y) at each point, by automatic differentiation."""
    points = points.detach().requires_grad_(True)
    x, y = points.unbind(-1)
    return torch.autograd.grad(formula(x, y).sum(), points)[0]
