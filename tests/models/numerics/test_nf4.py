"""models.numerics.nf4 against the published table and by what rounding must do."""

import bitsandbytes.functional as bnb
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.numerics.nf4 import nf4_levels, nf4_rounded
from models.quantization.weight_formats import Setting, quantize

# Dettmers et al. 2023, appendix E
PUBLISHED = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]


def test_levels_are_the_published_ones():
    assert_close(nf4_levels(), torch.tensor(PUBLISHED), rtol=0, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 300), st.integers(1, 64))
def test_every_number_goes_to_the_nearest_level_of_its_block(seed, count, block):
    weight = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    rounded = nf4_rounded(weight, block)
    for start in range(0, count, block):
        part, scale = weight[start : start + block], weight[start : start + block].abs().max()
        distances = (part[:, None] - scale * torch.tensor(PUBLISHED)).abs()
        found = (rounded[start : start + block] - part).abs()
        assert_close(found, distances.min(1).values, rtol=1e-4, atol=1e-5)
    assert_close(nf4_rounded(rounded, block), rounded, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 200))
def test_lora_and_quantization_round_alike_and_as_bitsandbytes(seed, rows, columns):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    rounded = nf4_rounded(weight)
    assert torch.equal(rounded, quantize(weight, Setting("nf4")).dequantized)
    theirs = bnb.dequantize_4bit(*bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")).reshape(
        weight.shape
    )
    # a weight in the middle between two levels may go to either: then both are equally far
    assert_close((rounded - weight).abs(), (theirs - weight).abs(), rtol=1e-4, atol=1e-5)


def test_zero_stays_zero_and_shapes_stay():
    weight = torch.zeros(3, 50, dtype=torch.bfloat16)
    assert torch.equal(nf4_rounded(weight), weight)
