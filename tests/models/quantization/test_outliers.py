"""Outliers and their remedies, against bitsandbytes, torch and algebra."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.quantization.error import kurtosis, output_error, sqnr
from models.quantization.integers import IntegerScheme, quantize_integers
from models.quantization.outliers import (
    METHODS,
    Remedies,
    awq_curve,
    awq_error,
    awq_scales,
    hadamard,
    method_error,
    outlier_columns,
    prepare,
    quantized_product,
    scale_channel,
    smooth_scales,
)
from models.quantization.weight_formats import Setting, quantize

SEEDS = st.integers(0, 999)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.floats(5.0, 9.0))
def test_llm_int8_is_bitsandbytes(seed, threshold):
    x, w = normal(12, 32, seed=seed).half(), normal(8, 32, seed=seed + 1).half()
    x[:, 5] = (
        10.0  # all of the column: bitsandbytes leaves single outliers out of a scale, the paper columns
    )
    codes, scales, _columns = bnb.int8_vectorwise_quant(x, threshold=threshold)
    weights, weight_scales, _ = bnb.int8_vectorwise_quant(w)
    kept = outlier_columns(x.float(), threshold)
    found = quantize_integers(x.float().masked_fill(kept, 0), IntegerScheme(8, "symmetric", "channel"))
    scale = found.scale[:, None]
    theirs = codes.float().masked_fill(kept, 0)
    assert ((found.dequantized / scale).round() - theirs).abs().max() <= 1
    product = bnb.int8_mm_dequant(bnb.int8_linear_matmul(codes, weights), scales, weight_scales).float()
    product = product + x.float()[:, kept] @ w.float()[:, kept].T
    prepared = prepare(x.float(), w.float(), "llm_int8", Remedies(threshold=threshold))
    assert torch.equal(prepared.kept, kept)
    ours = quantized_product(prepared, "llm_int8", 8)
    assert float((ours - product).norm() / product.norm()) < 3e-3  # theirs is rounded to float16


@pytest.mark.parametrize("method", METHODS)
def test_before_rounding_every_method_computes_the_same_product(method):
    x, w = scale_channel(normal(20, 24), 3, 15.0), normal(10, 24, seed=1)
    prepared = prepare(x, w, method, Remedies())
    torch.testing.assert_close(prepared.inputs @ prepared.weight.T, x @ w.T, rtol=1e-4, atol=1e-3)
    assert method_error(x, w, method, Remedies(bits=8)) < method_error(x, w, method, Remedies(bits=4))


def test_an_outlier_hurts_most_per_tensor_and_every_remedy_helps():
    x, w = scale_channel(normal(128, 64), 3, 40.0), normal(48, 64, seed=1)
    errors = {method: method_error(x, w, method, Remedies(bits=6)) for method in METHODS}
    assert errors["tensor"] >= errors["token"]
    for remedy in ("llm_int8", "smoothquant", "hadamard"):
        assert errors[remedy] < 0.5 * errors["token"], remedy


@given(st.floats(0, 1), SEEDS)
def test_smoothquant_balances_both_sides(alpha, seed):
    x, w = normal(9, 8, seed=seed), normal(7, 8, seed=seed + 1)
    scale = smooth_scales(x, w, alpha)
    left, right = (x / scale).abs().amax(0), (w * scale).abs().amax(0)
    if alpha == 0.5:
        torch.testing.assert_close(left, right)
    torch.testing.assert_close(left * right, x.abs().amax(0) * w.abs().amax(0))
    assert smooth_scales(x * 0, w, alpha).eq(1).all()


def test_awq_at_zero_is_plain_rounding_and_a_salient_channel_is_spared():
    x, w = scale_channel(normal(64, 64), 7, 30.0), normal(32, 64, seed=1)
    setting = Setting(bits=3, group_size=64)
    curve = awq_curve(x, w, setting)
    plain = output_error(x, w, quantize(w, setting).dequantized)
    assert curve[0] == pytest.approx(plain, rel=1e-4) == awq_error(x, w, 0.0, setting)
    assert curve.min() < 0.8 * curve[0]
    scale = awq_scales(x, 0.7)
    assert float(scale.max() * scale.min()) == pytest.approx(1, rel=1e-4)
    assert scale.argmax() == 7


@pytest.mark.parametrize("size", [1, 2, 4, 12, 20, 24, 64, 192, 384, 512, 576, 768, 896, 1536, 4864])
def test_hadamard_matrices_are_orthogonal_with_entries_of_one_size(size):
    matrix = hadamard(size)
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, size**-0.5))
    if size <= 1536:
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [0, 3, 6, 10, 36, 92])
def test_widths_without_a_known_matrix(size):
    with pytest.raises(InputError, match="Hadamard"):
        hadamard(size)


def test_the_published_outlier_and_its_rotation():
    """512² normal values, one column 20 times as large, int4: 2.6 dB a tensor, 6.4 a row, 18.0 a column."""
    x = scale_channel(normal(512, 512), 100, 20.0)
    assert kurtosis(x) == pytest.approx(297, rel=0.15)

    def decibels(values: torch.Tensor, granularity: str) -> float:
        scheme = IntegerScheme(4, "symmetric", granularity)
        return sqnr(values, quantize_integers(values, scheme).dequantized)

    assert decibels(x, "tensor") == pytest.approx(2.6, abs=1.0)
    assert decibels(x, "channel") == pytest.approx(6.4, abs=1.0)
    assert decibels(x.T, "channel") == pytest.approx(18.0, abs=1.0)
    rotated = x @ hadamard(512)
    assert kurtosis(rotated) == pytest.approx(3, abs=0.1)
    assert decibels(rotated, "channel") == pytest.approx(18.6, abs=1.0)


def test_what_is_refused():
    x = normal(4, 8)
    with pytest.raises(InputError, match="channels"):
        scale_channel(x, 8, 2.0)
    for wrong in ({"threshold": 0.0}, {"alpha": 1.5}, {"threshold": float("nan")}):
        with pytest.raises(InputError, match="threshold"):
            Remedies(**wrong)
    with pytest.raises(InputError, match="finite"):
        prepare(x * float("nan"), x, "token", Remedies())
