"""models.optimizers.surfaces: minima are minima, gradients are sympy's, and bad choices are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import hessian
from torch.optim import LBFGS
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.expressions import gradient
from models.optimizers.surfaces import (
    FIXED,
    SURFACES,
    SurfaceChoice,
    distance_to_minimum,
    grid_axes,
    on_grid,
    ravine_matrix,
    rows_of,
    start_in,
    surface,
    value_at,
)

NAMED = [name for name in SURFACES if name != "typed"]


def made(name, **settings):
    return surface(SurfaceChoice(name, **settings))


@pytest.mark.parametrize("name", NAMED)
def test_known_minima_have_the_lowest_value_no_slope_and_curve_upwards(name):
    one = made(name, degrees=30.0)
    for minimum in one.minima:
        point = torch.tensor(minimum, dtype=torch.float64)
        assert abs(value_at(one, point).item() - one.lowest) < 1e-20
        assert gradient(one.function, point).abs().max() < 1e-9
        curvature = hessian(lambda p: one.function(p[0], p[1]), point)
        assert torch.linalg.eigvalsh(curvature).min() > 0
        left, right, bottom, top = one.window
        assert left < minimum[0] < right
        assert bottom < minimum[1] < top
    if one.minima:
        assert on_grid(one, 101).min() >= one.lowest
    start_in(one, *one.start)


def test_torchs_lbfgs_finds_each_minimum_of_himmelblau_from_beside_it():
    one = made("himmelblau")
    for minimum in one.minima:
        point = (torch.tensor(minimum, dtype=torch.float64) + 0.3).requires_grad_(True)
        optimizer = LBFGS(
            [point], line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-15
        )

        def closure(point=point, optimizer=optimizer):
            optimizer.zero_grad()
            loss = one.function(*point.unbind())
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        assert_close(point.detach(), torch.tensor(minimum, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", ["saddle", "monkey"])
def test_saddles_are_flat_in_the_middle_and_fall_somewhere(name):
    one, origin = made(name), torch.zeros(2, dtype=torch.float64)
    assert gradient(one.function, origin).abs().max() == 0
    assert on_grid(one, 21).min() < 0 < on_grid(one, 21).max()
    assert one.minima == ()
    assert distance_to_minimum(one, origin) is None


def test_the_textbook_values():
    at = {
        "rosenbrock": ((-2.0, 2.0), 409.0),
        "himmelblau": ((0.0, 0.0), 170.0),
        "beale": ((0.0, 0.0), 14.203125),
        "rastrigin": ((1.0, 1.0), 2.0),
        "monkey": ((1.0, 1.0), -2.0),
        "plateau": ((0.0, 2.0), 1 - math.exp(-2)),
    }
    for name, (point, value) in at.items():
        assert math.isclose(value_at(made(name), torch.tensor(point).double()).item(), value, rel_tol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 45.0, 90.0, 137.0])
@pytest.mark.parametrize("condition", [1.0, 20.0, 10_000.0])
def test_the_ravine_has_its_curvatures_whatever_its_angle(condition, degrees):
    matrix = ravine_matrix(condition, degrees)
    expected = torch.tensor([1.0, condition], dtype=torch.float64)
    assert_close(torch.linalg.eigvalsh(matrix), expected, rtol=1e-9, atol=1e-9)
    one = made("ravine", condition=condition, degrees=degrees)
    curvature = hessian(lambda p: one.function(p[0], p[1]), torch.ones(2, dtype=torch.float64))
    assert_close(curvature, matrix)


def test_a_typed_surface_and_rows():
    one = made("typed", expression="x^2 + 3*y^2")
    points = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
    assert_close(rows_of(one)(points), torch.tensor([13.0, 3.0], dtype=torch.float64))
    x, y = grid_axes(one.window, 9)
    assert_close(on_grid(one, 9)[1, 2], x[2] ** 2 + 3 * y[1] ** 2)


def test_distance_is_to_the_nearest_minimum():
    points = torch.tensor([[3.0, 1.0], [-3.5, -3.5]], dtype=torch.float64)
    minima = torch.tensor(FIXED["himmelblau"].minima).double()
    assert_close(distance_to_minimum(made("himmelblau"), points), torch.cdist(points, minima).amin(1))


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"name": "moon"}, "no surface called"),
        ({"name": "ravine", "condition": 0.5}, "condition number"),
        ({"name": "ravine", "condition": math.nan}, "condition number"),
        ({"name": "ravine", "degrees": math.inf}, "condition number"),
        ({"name": "typed", "expression": "log(x)"}, "no finite value"),
        ({"name": "typed", "expression": "1/(x*0)"}, "no finite value"),
        ({"name": "typed", "expression": "x.__class__"}, "meaning"),
    ],
)
def test_surfaces_that_are_refused(choice, sentence):
    with pytest.raises(InputError, match=sentence):
        surface(SurfaceChoice(**choice))


@pytest.mark.parametrize("point", [(9.0, 0.0), (0.0, -9.0), (math.nan, 0.0), (math.inf, 0.0)])
def test_a_start_outside_the_plot_is_refused(point):
    with pytest.raises(InputError, match="outside the plot"):
        start_in(made("rosenbrock"), *point)


@pytest.mark.parametrize("name", SURFACES)
@given(x=st.floats(-6, 6), y=st.floats(-6, 6))
def test_gradients_by_formula_are_autograds(name, x, y):
    one = made(name, condition=37.0, degrees=30.0, expression="sin(x) * y + x^2")
    point = torch.tensor([x, y], dtype=torch.float64)
    assert_close(one.gradient(x, y), gradient(one.function, point), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", SURFACES)
def test_a_gradient_far_away_is_no_exception(name):
    one = made(name, expression="x^2 + y^3")
    for x, y in ((math.nan, 0.0), (math.inf, 1.0), (0.0, -math.inf)):
        assert one.gradient(x, y).isnan().all()
    assert one.gradient(1e200, -1e200).dtype == torch.float64
