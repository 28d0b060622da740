"""GPTQ, against torch's linear algebra: columns not yet rounded are the best answer to those that are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.quantization.error import output_error
from models.quantization.gptq import (
    GptqScheme,
    column_order,
    gptq,
    gptq_steps,
    hessian,
    inverse_factor,
    rounded_to_nearest,
)
from models.quantization.integers import IntegerScheme, quantize_integers

SCHEMES = [GptqScheme(), GptqScheme(4, affine=True), GptqScheme(2, act_order=True, damping=0.1)]


def case(seed: int = 0, rows: int = 5, columns: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator)
    return torch.randn(rows, columns, generator=generator), torch.randn(
        60, columns, generator=generator
    ) @ mixing


@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.integers(0, 200))
def test_after_each_column_the_rest_solves_the_least_squares_that_are_left(scheme, seed):
    weight, inputs = case(seed)
    curvature = hessian(inputs).double()
    curvature += scheme.damping * curvature.diagonal().mean() * torch.eye(len(curvature))
    done: list[int] = []
    for step in gptq_steps(weight, inputs, scheme):
        done.append(step.column)
        rest = [column for column in range(weight.shape[1]) if column not in done]
        moved = (step.weight - weight).double()
        # minimise d H dᵀ over the rest: H_rr d_r = −H_rd d_d
        expected = torch.linalg.solve(
            curvature[rest][:, rest], -curvature[rest][:, done] @ moved[:, done].T
        ).T
        torch.testing.assert_close(moved[:, rest], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_last_step_is_the_whole_algorithm_and_lies_on_the_grid(scheme):
    weight, inputs = case(3, 12, 24)
    steps = list(gptq_steps(weight, inputs, scheme))
    torch.testing.assert_close(steps[-1].weight, gptq(weight, inputs, scheme), rtol=1e-4, atol=1e-4)
    order = column_order(hessian(inputs), scheme).tolist()
    assert [step.column for step in steps] == order
    assert steps[-1].output_error == pytest.approx(output_error(inputs, weight, steps[-1].weight))
    scale = quantize_integers(weight, scheme.grid).scale[:, None]
    codes = steps[-1].weight / scale
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)


def test_it_beats_rounding_to_nearest_on_what_it_minimises():
    weight, inputs = case(1, 32, 32)
    for scheme in SCHEMES:
        plain = output_error(inputs, weight, rounded_to_nearest(weight, scheme))
        assert output_error(inputs, weight, gptq(weight, inputs, scheme)) < plain


def test_with_uncorrelated_inputs_nothing_is_passed_on():
    weight = case()[0]
    inputs = torch.eye(8) * 3
    scheme = GptqScheme()
    expected = quantize_integers(weight, IntegerScheme(3, "symmetric", "channel")).dequantized
    torch.testing.assert_close(gptq(weight, inputs, scheme), expected)
    torch.testing.assert_close(rounded_to_nearest(weight, scheme), expected)


def test_the_factor_is_of_the_inverse_and_channels_never_read_do_no_harm():
    weight, inputs = case()
    inputs[:, 2] = 0
    order, factor = inverse_factor(hessian(inputs), GptqScheme(act_order=True))
    assert sorted(order.tolist()) == list(range(8))
    damped = hessian(inputs).double()
    damped[2, 2] = 1
    damped += 0.01 * damped.diagonal().mean() * torch.eye(8)
    torch.testing.assert_close(factor.T @ factor, torch.linalg.inv(damped[order][:, order]))
    assert gptq(weight, inputs, GptqScheme()).isfinite().all()


def test_what_is_refused():
    weight, inputs = case()
    with pytest.raises(InputError, match="finite"):
        gptq(weight * torch.inf, inputs, GptqScheme())
    with pytest.raises(InputError, match="finite"):
        next(gptq_steps(weight, inputs * torch.nan, GptqScheme()))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="Damping"):
            GptqScheme(damping=wrong)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dead", [[2], [0, 7], list(range(8))])
def test_columns_that_are_never_read_are_rounded_to_nearest(scheme, dead):
    """keras#23532, AutoGPTQ#572, #708, llm-compressor#142: also where all inputs are 0."""
    weight, inputs = case(4)
    inputs[:, dead] = 0
    found = gptq(weight, inputs, scheme)
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, dead], rounded_to_nearest(weight, scheme)[:, dead])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", [0, 5])
def test_the_factors_rows_are_of_the_inverse_of_the_columns_that_are_left(scheme, seed):
    """cactus#807: one global inverse is right for the first column only."""
    curvature = hessian(case(seed)[1])
    order, factor = inverse_factor(curvature, scheme)
    damped = curvature[order][:, order].double()
    damped += scheme.damping * damped.diagonal().mean() * torch.eye(8)
    whole = torch.linalg.inv(damped)
    for step in range(8):
        rest = torch.linalg.inv(damped[step:, step:])
        torch.testing.assert_close(factor[step, step:], rest[0] / rest[0, 0].sqrt())
        if 0 < step < 7:
            assert float((whole[step, step:] - rest[0]).abs().max()) > 1e-6
