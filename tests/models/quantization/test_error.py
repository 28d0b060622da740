"""Errors and their bounds, against torch, NumPy-free identities and the published Lloyd–Max tables."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.quantization.error import (
    DECIBELS_A_BIT,
    kurtosis,
    lloyd_max,
    lloyd_max_normal,
    matrix_error,
    output_error,
    sqnr,
)
from models.quantization.weight_formats import CONTENDERS, FORMATS, Setting, at_budget, quantize


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_errors_are_torchs(rows, columns, seed):
    x = normal(rows, columns, seed=seed)
    y = x + 0.1 * normal(rows, columns, seed=seed + 1)
    found = matrix_error(x, y)
    mse = float(torch.nn.functional.mse_loss(x.double(), y.double()))
    assert found.mse == pytest.approx(mse, rel=1e-4)
    expected = 10 * math.log10(float(x.double().square().mean()) / mse)
    assert found.sqnr == pytest.approx(expected, abs=1e-3) == sqnr(x, y)
    cosine = float(torch.nn.CosineSimilarity(dim=0)(x.flatten().double(), y.flatten().double()))
    assert found.cosine == pytest.approx(cosine, abs=1e-4)


def test_no_error_and_no_signal():
    assert matrix_error(torch.ones(2, 2), torch.ones(2, 2)).sqnr == math.inf
    nothing = matrix_error(torch.zeros(2, 2), torch.zeros(2, 2))
    assert math.isnan(nothing.sqnr)
    assert math.isnan(nothing.cosine)
    assert math.isnan(output_error(torch.zeros(2, 2), torch.ones(1, 2), torch.ones(1, 2)))


def test_output_error_is_that_of_the_linear_layer():
    x, w, q = normal(7, 5), normal(3, 5, seed=1), normal(3, 5, seed=2)
    exact, off = (torch.nn.functional.linear(x, weight) for weight in (w, q))
    assert output_error(x, w, q) == pytest.approx(float((exact - off).norm() / exact.norm()), rel=1e-5)


def test_kurtosis_of_known_distributions():
    assert kurtosis(normal(1_000_000)) == pytest.approx(3, abs=0.05)
    assert kurtosis(torch.linspace(-1, 1, 100_001)) == pytest.approx(1.8, abs=1e-3)
    assert math.isnan(kurtosis(torch.ones(5)))
    x = normal(512, 512)
    x[:, 7] *= 20
    assert 200 < kurtosis(x) < 400


@pytest.mark.parametrize(("bits", "mse"), [(1, 0.36338), (2, 0.11748), (3, 0.03455), (4, 0.00950)])
def test_lloyd_max_of_the_normal_distribution_is_the_published_table(bits, mse):
    found = lloyd_max_normal(bits)
    assert found.mse == pytest.approx(mse, abs=1e-5)
    assert found.sqnr < DECIBELS_A_BIT * bits  # the rate–distortion bound of a normal source


def test_lloyd_max_of_a_sample_comes_near_the_distributions_and_beats_every_uniform_grid():
    x = normal(200_000)
    for bits in (2, 3, 4):
        found = lloyd_max(x, bits)
        assert found.sqnr == pytest.approx(lloyd_max_normal(bits).sqnr, abs=0.05)
        for mapping in ("symmetric", "affine"):
            setting = Setting(bits=bits, mapping=mapping, granularity="tensor", clipping="mse")
            assert found.sqnr > sqnr(x[None], quantize(x[None], setting).dequantized)


def test_lloyd_max_of_few_values_is_exact():
    found = lloyd_max(torch.tensor([1.0, 1.0, 2.0, 5.0, 5.0, 5.0]), 2)
    assert found.mse == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError):
        lloyd_max(torch.tensor([math.nan, 1.0]), 2)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_quantizes_and_counts_its_bits(name):
    x = normal(32, 96)
    found = quantize(x, Setting(name))
    assert found.dequantized.shape == x.shape
    assert Setting(name).nominal_bits <= found.effective_bits <= Setting(name).nominal_bits + 2
    assert sqnr(x, found.dequantized) > 10
    with pytest.raises(InputError, match="finite"):
        quantize(torch.full((2, 2), math.nan), Setting(name))


@given(st.sampled_from(sorted(CONTENDERS)), st.floats(2.0, 9.0), st.sampled_from([64, 192, 512, 1000]))
def test_contenders_keep_within_the_budget_and_use_it(name, budget, columns):
    setting = at_budget(CONTENDERS[name], budget, columns)
    if setting is None:
        return
    x = normal(64, columns)
    spent = quantize(x, setting).effective_bits
    once = 3 * 32 / x.numel() + (8 / x.shape[1] if columns % 32 else 0)  # a short microscaling block
    assert spent <= budget + once
    if setting.format == "int" and setting.group_size > 8:
        groups = -(-columns // setting.group_size)
        size = -(-columns // (groups + 1))
        smaller = Setting(bits=setting.bits, mapping=setting.mapping, group_size=size)
        if -(-columns // smaller.group_size) > groups:
            assert quantize(x, smaller).effective_bits > budget


def test_settings_that_cannot_be():
    for wrong in ({"bits": 9}, {"bits": 1}, {"group_size": 0}):
        with pytest.raises(InputError):
            Setting(**wrong)
