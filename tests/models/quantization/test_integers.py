"""Integer quantization, against torchao code by code."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

from models.errors import InputError
from models.quantization.integers import (
    CLIPPINGS,
    GRANULARITIES,
    MAPPINGS,
    IntegerScheme,
    quantize_integers,
)

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 5))


def normal(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def torchaos(x: torch.Tensor, scheme: IntegerScheme) -> torch.Tensor:
    block = {"tensor": tuple(x.shape), "channel": (1, x.shape[1]), "group": (1, scheme.group_size)}
    kind = MappingType.ASYMMETRIC if scheme.mapping == "affine" else MappingType.SYMMETRIC
    low, high = scheme.code_range
    size = block[scheme.granularity]
    scale, zero = choose_qparams_affine(x, kind, size, torch.int8, low, high, eps=1e-12)
    codes = quantize_affine(x, size, scale, zero, torch.int8, low, high)
    return dequantize_affine(codes, size, scale, zero, torch.int8, low, high)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("mapping", MAPPINGS)
@given(st.integers(2, 8), SIZES, st.sampled_from([8, 16, 32]), st.integers(0, 99), st.floats(0.01, 100))
def test_torchao_rounds_every_weight_to_the_same_number(
    mapping, granularity, bits, sizes, group, seed, spread
):
    x = normal(sizes[0], sizes[1] * group, seed) * spread
    scheme = IntegerScheme(bits, mapping, granularity, group)
    torch.testing.assert_close(
        quantize_integers(x, scheme).dequantized, torchaos(x, scheme), rtol=1e-6, atol=0
    )


def test_vectors_of_the_normal_distribution():
    from models.quantization.error import sqnr

    x = normal(1024, 1024)
    for mapping, granularity, group, bits, expected in (
        ("full_range", "group", 32, 4, 20.26),
        ("full_range", "group", 64, 4, 19.36),
        ("full_range", "group", 128, 4, 18.61),
        ("affine", "group", 32, 4, 21.85),
        ("affine", "group", 64, 4, 20.81),
        ("affine", "group", 128, 4, 19.94),
        ("symmetric", "group", 64, 8, 44.53),
    ):
        found = sqnr(x, quantize_integers(x, IntegerScheme(bits, mapping, granularity, group)).dequantized)
        assert abs(found - expected) < 0.6, (mapping, group, bits, found)


@given(
    st.integers(2, 8), st.sampled_from(MAPPINGS), st.integers(1, 70), st.integers(1, 40), st.integers(0, 99)
)
def test_errors_stay_within_half_a_step_whatever_the_group(bits, mapping, columns, group, seed):
    x = normal(3, columns, seed)
    found = quantize_integers(x, IntegerScheme(bits, mapping, "group", group))
    steps = found.scale.reshape(3, -1).repeat_interleave(found.group[1], 1)[:, :columns]
    slack = (
        1.0 if mapping != "symmetric" else 0.5
    )  # full range and rounded zero points clip up to half a step
    assert ((x - found.dequantized).abs() <= steps * (slack + 1e-5)).all()
    own = torch.tensor([[found.group_of(row, column) for column in range(columns)] for row in range(3)])
    assert torch.equal(found.scale[own], steps)
    whole = quantize_integers(x, IntegerScheme(bits, mapping, "tensor"))
    assert whole.group_of(2, columns - 1) == whole.group_of(0, 0) == 0
    assert found.dequantized.shape == x.shape


@given(st.sampled_from(MAPPINGS), st.sampled_from(GRANULARITIES), st.integers(2, 8), st.integers(0, 99))
def test_zero_is_exact_and_quantizing_twice_changes_nothing(mapping, granularity, bits, seed):
    x = normal(4, 32, seed)
    x[1, ::3] = 0
    scheme = IntegerScheme(bits, mapping, granularity, 16)
    once = quantize_integers(x, scheme).dequantized
    assert (once[1, ::3] == 0).all()
    if mapping == "symmetric":
        torch.testing.assert_close(quantize_integers(once, scheme).dequantized, once)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("value", [0.0, 3.0, -0.25, 1e-30])
def test_constant_matrices(mapping, value):
    x = torch.full((4, 40), value)
    found = quantize_integers(x, IntegerScheme(4, mapping, "group", 16)).dequantized
    # the full range has its half step: the largest positive value is clipped from 7.5 to 7 steps
    tolerance = abs(value) / 15 * 1.01 if mapping == "full_range" else abs(value) * 1e-5
    assert ((found - x).abs() <= tolerance).all()


def test_one_huge_value_costs_its_own_group_only():
    x = normal(8, 64)
    x[0, 0] = 1e6
    error = (quantize_integers(x, IntegerScheme(4, "symmetric", "group", 16)).dequantized - x).abs()
    assert (error[0, 1:16] == x[0, 1:16].abs()).all()
    assert error[0, 16:].max() < 0.5
    whole = quantize_integers(x, IntegerScheme(4, "symmetric", "tensor")).dequantized
    assert (whole != 0).sum() == 1


def test_clipping_for_squared_error_is_never_worse_and_percentiles_are_torchs():
    x = torch.distributions.StudentT(3.0).sample((16, 64))
    errors = {}
    for mapping in MAPPINGS:
        for clipping in CLIPPINGS:
            scheme = IntegerScheme(3, mapping, "channel", clipping=clipping, percentile=95.0)
            found = quantize_integers(x, scheme)
            errors[clipping] = (found.dequantized - x).square().sum(1)
            if clipping == "percentile" and mapping == "symmetric":
                expected = torch.quantile(x.abs(), 0.95, dim=1) / 3
                torch.testing.assert_close(found.scale, expected)
        assert (errors["mse"] <= errors["max"] * (1 + 1e-6)).all()


def test_effective_bits_count_every_scale():
    x = normal(16, 128)
    for scheme, expected in (
        (IntegerScheme(4, "symmetric", "group", 64), 4 + 16 / 64),
        (IntegerScheme(4, "affine", "group", 32), 4 + 20 / 32),
        (IntegerScheme(8, "symmetric", "channel"), 8 + 16 / 128),
        (IntegerScheme(2, "affine", "tensor"), 2 + 18 / 2048),
        (IntegerScheme(4, "symmetric", "group", 100), 4 + 2 * 16 / 128),  # the last group is shorter
    ):
        assert quantize_integers(x, scheme).effective_bits == pytest.approx(expected)


def test_what_is_refused():
    for x in (torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("inf"), 1.0]]), torch.zeros(0, 4)):
        with pytest.raises(InputError, match="finite"):
            quantize_integers(x, IntegerScheme())
    for wrong in ({"bits": 1}, {"bits": 9}, {"group_size": 0}, {"percentile": 20.0}):
        with pytest.raises(InputError):
            IntegerScheme(**wrong)


def test_the_six_numbers_of_an_essay():
    """guevara/read-it-later#12482 (ngrok's essay): int4, one scale; 18 % mean relative error."""
    x = torch.tensor([[-0.89, 0.16, 0.08, -0.13, 0.16, -0.54]])
    found = quantize_integers(x, IntegerScheme(4, "symmetric", "channel"))
    assert float(found.scale) == pytest.approx(0.127143, abs=1e-6)
    assert (found.dequantized / found.scale).round().int().tolist() == [[-7, 1, 1, -1, 1, -4]]
    expected = torch.tensor([[-0.89, 0.127143, 0.127143, -0.127143, 0.127143, -0.508571]])
    torch.testing.assert_close(found.dequantized, expected, atol=1e-6, rtol=0.0)
    assert float(((x - found.dequantized) / x).abs().mean()) == pytest.approx(0.18, abs=5e-4)


def test_quantizing_again_settles_in_one_convention_and_grows_in_another():
    """LightCompress#334: −.8, −.3, .1, .7; in the full range .8533 and then .9102."""
    held = {"symmetric": [torch.tensor([[-0.8, -0.3, 0.1, 0.7]])], "full_range": []}
    held["full_range"].append(held["symmetric"][0])
    for mapping, passes in held.items():
        for _ in range(3):
            passes.append(quantize_integers(passes[-1], IntegerScheme(4, mapping, "channel")).dequantized)
    torch.testing.assert_close(held["symmetric"][2], held["symmetric"][1])
    largest = [float(x.abs().max()) for x in held["full_range"]]
    assert largest[:3] == pytest.approx([0.8, 0.8533, 0.9102], abs=1e-4)
    assert largest[3] > largest[2]


def test_a_short_group_at_the_end_of_a_row_has_a_scale_and_is_paid_for():
    """torchchat#1362: 288 × 288 in groups of 256: two a row, the second of 32; 4.1111 bits."""
    x = normal(288, 288)
    found = quantize_integers(x, IntegerScheme(4, "symmetric", "group", 256))
    assert found.scale.shape == (2 * 288,)
    assert found.effective_bits == pytest.approx(4.1111, abs=1e-4)
    own = quantize_integers(x[:, 256:].contiguous(), IntegerScheme(4, "symmetric", "channel"))
    torch.testing.assert_close(found.dequantized[:, 256:], own.dequantized)
