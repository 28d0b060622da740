"""NF4, FP4, FP8 and microscaling, against bitsandbytes and torchao, and the published vectors."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import MXTensor
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
from torchao.quantization.quant_primitives import _choose_scale_float8, _quantize_affine_float8

from models.errors import InputError
from models.numerics.nf4 import nf4_levels
from models.quantization.error import matrix_error, sqnr
from models.quantization.floats import (
    SCALE_RULES,
    dynamic_levels,
    e2m1_levels,
    fp4_levels,
    quantize_codebook,
    quantize_fp8,
    quantize_mx,
    quantize_nvfp4,
    round_to_e2m1,
)
from models.quantization.number_formats import BFLOAT16, E2M1, E4M3, E5M2, round_to

SEEDS = st.integers(0, 999)
SPREADS = st.sampled_from([1e-3, 1.0, 300.0])


def normal(rows: int, columns: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * spread


def bitsandbytes(x: torch.Tensor, kind: str, block: int, double: bool = False) -> torch.Tensor:
    packed, state = bnb.quantize_4bit(x, blocksize=block, quant_type=kind, compress_statistics=double)
    return bnb.dequantize_4bit(packed, state).reshape(x.shape)  # two weights come back as a column


def test_codebooks_are_those_of_bitsandbytes():
    for kind, levels in (("nf4", nf4_levels()), ("fp4", fp4_levels())):
        theirs = bnb.get_4bit_type(kind, device="cpu").unique()
        torch.testing.assert_close(levels, theirs, rtol=0, atol=3e-7)
    torch.testing.assert_close(dynamic_levels(), bnb.create_dynamic_map(), rtol=1e-6, atol=0)
    assert (nf4_levels() == 0).sum() == 1


@pytest.mark.parametrize(("kind", "levels"), [("nf4", nf4_levels()), ("fp4", fp4_levels())])
@pytest.mark.parametrize("double", [False, True])
@given(st.sampled_from([64, 128, 256]), st.integers(1, 40), SEEDS, SPREADS)
def test_four_bits_are_those_of_bitsandbytes(kind, levels, double, block, rows, seed, spread):
    x = normal(rows, 2 * block, seed, spread)
    ours = quantize_codebook(x, levels, block, double).dequantized
    theirs = bitsandbytes(x, kind, block, double)
    # what lies within rounding of the middle between two levels may go either way: weights, and scales
    scale = x.view(-1, block).abs().amax(1, keepdim=True)
    is_near = close_to_a_middle(x.view(-1, block) / scale, levels)
    if double:
        for start in range(0, len(scale), 256):
            unit = scale[start : start + 256] - scale.mean()
            # bitsandbytes 0.50 itself takes the second nearest of its 8-bit codes that close to a middle
            is_near[start : start + 256] |= close_to_a_middle(
                unit / unit.abs().max(), dynamic_levels(), 1e-4
            )
    difference = (ours - theirs).abs().view(-1, block) / scale
    assert (difference[~is_near] < 2e-6).all()


@pytest.mark.parametrize(("kind", "levels"), [("nf4", nf4_levels()), ("fp4", fp4_levels())])
@given(st.sampled_from([64, 128]), st.integers(1, 9), st.integers(1, 200), SEEDS)
def test_blocks_run_on_from_row_to_row_as_in_bitsandbytes(kind, levels, block, rows, columns, seed):
    x = normal(rows, columns, seed)
    found = quantize_codebook(x, levels, block)
    theirs = bitsandbytes(x, kind, block)
    scale = found.scale[torch.arange(x.numel()) // block].view(x.shape)
    is_near = close_to_a_middle(x / scale, levels)
    assert (((found.dequantized - theirs).abs() / scale)[~is_near] < 2e-6).all()
    places = [found.group_of(row, column) for row in range(rows) for column in range(columns)]
    assert places == [place // block for place in range(x.numel())]
    assert found.effective_bits == 4 + 32 * -(-x.numel() // block) / x.numel()


@given(st.sampled_from([16, 32, 64]), st.integers(1, 20), st.integers(1, 3), SEEDS)
def test_where_blocks_divide_the_rows_it_does_not_matter(block, rows, blocks, seed):
    x = normal(rows, blocks * block, seed)
    whole = quantize_codebook(x, nf4_levels(), block).dequantized
    by_row = torch.cat([quantize_codebook(row[None], nf4_levels(), block).dequantized for row in x])
    assert torch.equal(whole, by_row)


def close_to_a_middle(unit: torch.Tensor, levels: torch.Tensor, distance: float = 1e-5) -> torch.Tensor:
    middle = (levels[1:] + levels[:-1]) / 2
    return (unit[..., None] - middle).abs().min(-1).values < distance


@pytest.mark.parametrize(
    ("kind", "block", "expected"),
    [
        ("nf4", 32, 0.067746),
        ("nf4", 64, 0.072798),
        ("nf4", 128, 0.076831),
        ("nf4", 256, 0.080337),
        ("fp4", 32, 0.088925),
        ("fp4", 64, 0.096543),
        ("fp4", 128, 0.102969),
        ("fp4", 256, 0.108684),
        ("nf4", 4096, 0.092547),
        ("fp4", 4096, 0.129536),
    ],
)
def test_mean_errors_are_those_that_bitsandbytes_publishes(kind, block, expected):
    x = normal(256, 4096)
    levels = nf4_levels() if kind == "nf4" else fp4_levels()
    mean = float((quantize_codebook(x, levels, block).dequantized - x).abs().mean())
    assert mean == pytest.approx(expected, rel=0.02 if block == 4096 else 0.004)  # few blocks of 4,096


def test_decibels_on_the_normal_distribution():
    x = normal(1024, 1024)
    for expected, found in (
        (21.18, quantize_codebook(x, nf4_levels(), 32)),
        (20.73, quantize_codebook(x, nf4_levels(), 64)),
        (20.10, quantize_codebook(x, nf4_levels(), 256)),
        (18.28, quantize_codebook(x, fp4_levels(), 64)),
        (18.79, quantize_mx(x, E2M1)),
        (20.43, quantize_nvfp4(x)),
        (31.6, quantize_fp8(x, E4M3, "tensor", 64)),
        (25.6, quantize_fp8(x, E5M2, "tensor", 64)),
    ):
        assert sqnr(x, found.dequantized) == pytest.approx(expected, abs=0.12)
    assert sqnr(x, round_to(x, BFLOAT16).float()) == pytest.approx(55.6, abs=0.1)


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=40))
def test_the_quick_e2m1_rounds_as_the_format(values):
    x = torch.tensor([*values, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -2.5, -0.75])
    assert torch.equal(round_to_e2m1(x).double(), round_to(x, E2M1))


@pytest.mark.parametrize("rule", SCALE_RULES)
@pytest.mark.parametrize(
    ("form", "dtype"),
    [(E2M1, torch.float4_e2m1fn_x2), (E4M3, torch.float8_e4m3fn), (E5M2, torch.float8_e5m2)],
)
@given(st.integers(1, 20), SEEDS, SPREADS)
def test_microscaling_is_torchaos(form, dtype, rule, rows, seed, spread):
    x = normal(rows, 64, seed, spread)
    theirs = MXTensor.to_mx(x, dtype, 32, ScaleCalculationMode(rule)).dequantize(torch.float32)
    assert torch.equal(quantize_mx(x, form, rule).dequantized, theirs)


@given(st.integers(1, 20), SEEDS, SPREADS)
def test_nvfp4_is_torchaos(rows, seed, spread):
    x = normal(rows, 64, seed, spread)
    scale = per_tensor_amax_to_scale(x.abs().max())
    theirs = NVFP4Tensor.to_nvfp4(x, per_tensor_scale=scale).dequantize(torch.float32)
    ours = quantize_nvfp4(x).dequantized
    wrong = (ours - theirs).abs() > 1e-6 * x.abs().max()
    assert wrong.float().mean() <= 0.005  # the scale's last bit may put a weight on the other side


@pytest.mark.parametrize("form", [E4M3, E5M2])
@given(st.integers(1, 20), SEEDS, SPREADS)
def test_fp8_is_torchaos(form, rows, seed, spread):
    x = normal(rows, 64, seed, spread)
    dtype = torch.float8_e4m3fn if form is E4M3 else torch.float8_e5m2
    scale = _choose_scale_float8(x, [1, 64], dtype)
    theirs = _quantize_affine_float8(x, scale, dtype).float() * scale
    ours = quantize_fp8(x, form, "channel", 64).dequantized
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_effective_bits():
    x = normal(256, 512)
    double = quantize_codebook(x, nf4_levels(), 64, True).effective_bits
    assert double == pytest.approx(4.127, abs=1e-3)
    assert quantize_codebook(x, nf4_levels(), 64).effective_bits == 4.5
    assert quantize_mx(x, E2M1).effective_bits == 4.25
    assert quantize_mx(x, E4M3).effective_bits == 8.25
    assert quantize_nvfp4(x).effective_bits == pytest.approx(4.5, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_constant_blocks_and_widths_that_do_not_divide(value):
    x = torch.full((3, 50), value)
    for found in (
        quantize_codebook(x, nf4_levels(), 64),
        quantize_codebook(x, fp4_levels(), 16, True),
        quantize_nvfp4(x),
        quantize_fp8(x, E4M3, "group", 32),
    ):
        torch.testing.assert_close(found.dequantized, x, rtol=1e-5, atol=1e-6)
    assert matrix_error(x, quantize_mx(x, E2M1).dequantized).largest <= abs(value) / 4


def test_what_is_refused():
    bad = torch.tensor([[1.0, float("nan")]])
    for call in (
        lambda: quantize_codebook(bad, e2m1_levels(), 64),
        lambda: quantize_mx(bad, E2M1),
        lambda: quantize_nvfp4(bad),
        lambda: quantize_fp8(bad, E4M3, "tensor", 1),
    ):
        with pytest.raises(InputError, match="finite"):
            call()
    with pytest.raises(InputError, match="elements"):
        quantize_mx(normal(2, 32), BFLOAT16)


@pytest.mark.parametrize("count", [1, 16, 100])
def test_fewer_values_than_a_block_make_one_short_block(count):
    """bitsandbytes#1157, #1160: 16 values in blocks of 1,024."""
    x = normal(1, count)
    found = quantize_codebook(x, nf4_levels(), 1_024)
    assert found.scale.tolist() == [float(x.abs().max())]
    torch.testing.assert_close(found.dequantized, bitsandbytes(x, "nf4", 1_024))
