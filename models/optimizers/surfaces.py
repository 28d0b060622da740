"""Surfaces in two variables, with their known minima: what optimizers walk on.

Definitions and minima: Rosenbrock (1960), Himmelblau (1972), Beale (1958), Rastrigin (1974), as in
the usual collections of test functions; the saddles x² − y² and x³ − 3xy² ("monkey saddle").
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.expressions import Formula, gradient, parse

Window = tuple[float, float, float, float]  # x from, x to, y from, y to
Slopes = Callable[[float, float], tuple[float, float]]  # ∂f/∂x and ∂f/∂y at a point
LARGEST_CONDITION = 10_000.0


@dataclass(frozen=True)
class SurfaceChoice:
    """Which surface: its name, and what only some of them need. Small, so that caches can key on it."""

    name: str = "rosenbrock"
    condition: float = 20.0  # of the ravine: ratio of its two curvatures
    degrees: float = 0.0  # how far the ravine is turned against the axes
    expression: str = ""  # of the typed surface


@dataclass(frozen=True, eq=False)
class Surface:
    """f(x, y), where to look, where its minima are, and where to begin."""

    function: Formula
    window: Window
    minima: tuple[tuple[float, float], ...]  # empty where there is none, or none is known
    start: tuple[float, float]
    is_log: bool = False  # whether contours are best spaced by equal factors
    lowest: float | None = 0.0  # the value at the minima
    slopes: Slopes | None = None  # the gradient as a formula; None where autograd has to find it

    def gradient(self, x: float, y: float) -> Float[Tensor, "2"]:
        """∇f at a point in float64; NaN where the point is not finite.

        By its formula where there is one: a path takes thousands of gradients, and autograd needs ten
        times as long for one of two numbers.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            return torch.full((2,), math.nan, dtype=torch.float64)
        if self.slopes is not None:
            return torch.tensor(self.slopes(x, y), dtype=torch.float64)
        return gradient(self.function, torch.tensor([x, y], dtype=torch.float64))


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def himmelblau(x: Tensor, y: Tensor) -> Tensor:
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def beale(x: Tensor, y: Tensor) -> Tensor:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rastrigin(x: Tensor, y: Tensor) -> Tensor:
    waves = torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)
    return 20 + x**2 + y**2 - 10 * waves


def saddle(x: Tensor, y: Tensor) -> Tensor:
    return x**2 - y**2


def monkey_saddle(x: Tensor, y: Tensor) -> Tensor:
    return x**3 - 3 * x * y**2


def plateau(x: Tensor, y: Tensor) -> Tensor:
    """1 − exp(−r²/2): far from the minimum it is flat, and its gradient almost zero."""
    return 1 - torch.exp(-(x**2 + y**2) / 2)


def ravine_matrix(condition: float, degrees: float) -> Float[Tensor, "2 2"]:
    """The Hessian of the ravine: curvatures 1 and κ, turned by an angle against the axes.

    Raises InputError unless 1 ≤ κ ≤ 10,000 and the angle is finite.
    """
    if not (1 <= condition <= LARGEST_CONDITION and math.isfinite(degrees)):
        raise InputError(
            "A condition number of {condition} is not accepted; 1 to {largest} is.",
            condition=condition,
            largest=f"{LARGEST_CONDITION:g}",
        )
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    return turn @ torch.diag(torch.tensor([1.0, condition], dtype=torch.float64)) @ turn.T


def quadratic(matrix: Float[Tensor, "2 2"], x: Tensor, y: Tensor) -> Tensor:
    """½ (x, y) H (x, y)ᵀ."""
    (a, b), (_, d) = matrix.tolist()
    return 0.5 * (a * x**2 + d * y**2) + b * x * y


# Gradients by hand, with products for powers: a float's ** raises where a product overflows to infinity.


def rosenbrock_slopes(x: float, y: float) -> tuple[float, float]:
    above = y - x * x
    return -2 * (1 - x) - 400 * x * above, 200 * above


def himmelblau_slopes(x: float, y: float) -> tuple[float, float]:
    a, b = x * x + y - 11, x + y * y - 7
    return 4 * x * a + 2 * b, 2 * a + 4 * y * b


def beale_slopes(x: float, y: float) -> tuple[float, float]:
    square, cube = y * y, y * y * y
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * square, 2.625 - x + x * cube
    across = 2 * (a * (y - 1) + b * (square - 1) + c * (cube - 1))
    return across, 2 * x * (a + 2 * b * y + 3 * c * square)


def rastrigin_slopes(x: float, y: float) -> tuple[float, float]:
    wave = 2 * math.pi
    return 2 * x + 10 * wave * math.sin(wave * x), 2 * y + 10 * wave * math.sin(wave * y)


def plateau_slopes(x: float, y: float) -> tuple[float, float]:
    height = math.exp(-(x * x + y * y) / 2)
    return x * height, y * height


def quadratic_slopes(matrix: Float[Tensor, "2 2"], x: float, y: float) -> tuple[float, float]:
    (a, b), (_, d) = matrix.tolist()
    return a * x + b * y, b * x + d * y


HIMMELBLAU_MINIMA = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.283185991286170),
    (3.584428340330492, -1.848126526964404),
)
FIXED: dict[str, Surface] = {
    "bowl": Surface(
        partial(quadratic, torch.eye(2)),
        (-3.0, 3.0, -3.0, 3.0),
        ((0.0, 0.0),),
        (-2.5, 1.5),
        slopes=lambda x, y: (x, y),
    ),
    "rosenbrock": Surface(
        rosenbrock,
        (-2.4, 2.4, -1.2, 3.2),
        ((1.0, 1.0),),
        (-1.2, 1.0),
        is_log=True,
        slopes=rosenbrock_slopes,
    ),
    "himmelblau": Surface(
        himmelblau,
        (-5.0, 5.0, -5.0, 5.0),
        HIMMELBLAU_MINIMA,
        (0.0, -4.5),
        is_log=True,
        slopes=himmelblau_slopes,
    ),
    "beale": Surface(
        beale, (-1.5, 4.5, -2.5, 2.5), ((3.0, 0.5),), (0.5, 1.8), is_log=True, slopes=beale_slopes
    ),
    "rastrigin": Surface(
        rastrigin, (-4.5, 4.5, -4.5, 4.5), ((0.0, 0.0),), (-2.0, 3.5), slopes=rastrigin_slopes
    ),
    "saddle": Surface(
        saddle,
        (-2.0, 2.0, -2.0, 2.0),
        (),
        (-1.5, 1e-3),
        lowest=None,
        slopes=lambda x, y: (2 * x, -2 * y),
    ),
    "monkey": Surface(
        monkey_saddle,
        (-2.0, 2.0, -2.0, 2.0),
        (),
        (1.5, 1e-3),
        lowest=None,
        slopes=lambda x, y: (3 * x * x - 3 * y * y, -6 * x * y),
    ),
    "plateau": Surface(plateau, (-5.0, 5.0, -5.0, 5.0), ((0.0, 0.0),), (-3.0, 2.0), slopes=plateau_slopes),
}
TYPED_WINDOW: Window = (-4.0, 4.0, -4.0, 4.0)
SURFACES = ("ravine", *FIXED, "typed")


def surface(choice: SurfaceChoice) -> Surface:
    """The chosen surface. Raises InputError on an unknown one, or a formula that cannot be used."""
    if choice.name == "ravine":
        matrix = ravine_matrix(choice.condition, choice.degrees)
        return Surface(
            partial(quadratic, matrix),
            (-3.0, 3.0, -3.0, 3.0),
            ((0.0, 0.0),),
            (-2.5, 1.0),
            slopes=partial(quadratic_slopes, matrix),
        )
    if choice.name == "typed":
        return _typed(choice.expression)
    if choice.name not in FIXED:
        raise InputError("There is no surface called {name}.", name=choice.name)
    return FIXED[choice.name]


def _typed(expression: str) -> Surface:
    formula = parse(expression)
    made = Surface(formula, TYPED_WINDOW, (), (-3.0, 2.0), lowest=None)
    values = on_grid(made, 41)
    if not values.isfinite().all():
        share = f"{1 - values.isfinite().double().mean().item():.0%}"
        raise InputError(
            "This formula has no finite value on {share} of the plot (x and y from −4 to 4).", share=share
        )
    return made


def on_grid(surface: Surface, cells: int) -> Float[Tensor, "y x"]:
    """Its values over the window, ``cells`` a side."""
    x, y = grid_axes(surface.window, cells)
    return surface.function(*torch.meshgrid(x, y, indexing="xy"))


def grid_axes(window: Window, cells: int) -> tuple[Float[Tensor, " x"], Float[Tensor, " y"]]:
    left, right, bottom, top = window
    axis = partial(torch.linspace, steps=cells, dtype=torch.float64)
    return axis(left, right), axis(bottom, top)


def value_at(surface: Surface, points: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows"]:
    return surface.function(*points.unbind(-1))


def start_in(surface: Surface, x: float, y: float) -> tuple[float, float]:
    """The start, if it lies in the window. Raises InputError otherwise."""
    left, right, bottom, top = surface.window
    if not (left <= x <= right and bottom <= y <= top):
        raise InputError(
            "A start at {x}, {y} lies outside the plot: "
            "x from {left} to {right}, y from {bottom} to {top}.",
            x=f"{x:g}",
            y=f"{y:g}",
            left=f"{left:g}",
            right=f"{right:g}",
            bottom=f"{bottom:g}",
            top=f"{top:g}",
        )
    return x, y


def distance_to_minimum(
    surface: Surface, points: Float[Tensor, "*rows 2"]
) -> Float[Tensor, "*rows"] | None:
    """To the nearest known minimum; None where none is known."""
    if not surface.minima:
        return None
    minima = torch.tensor(surface.minima, dtype=points.dtype)
    return (points[..., None, :] - minima).norm(dim=-1).amin(dim=-1)


LossOfRows = Callable[[Tensor], Tensor]  # points [rows, 2] in, one loss a row out


def rows_of(surface: Surface) -> LossOfRows:
    """The surface as a loss of many points at once."""
    return lambda points: surface.function(*points.unbind(-1))
