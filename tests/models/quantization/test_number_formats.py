"""Number formats, against torch's dtypes bit for bit, and torchao's 4- and 6-bit floats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchao.prototype.mx_formats.kernels import (
    f32_to_f4_unpacked,
    f32_to_f6_e2m3_unpacked,
    f32_to_f6_e3m2_unpacked,
)

from models.errors import InputError
from models.quantization.number_formats import (
    BFLOAT16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FLOAT16,
    FLOAT32,
    FORMATS,
    TF32,
    bits_of,
    decode,
    encode,
    encode_integer,
    facts,
    float_format,
    round_to,
    spacing,
    values_between,
)

TORCH = {
    FLOAT32: (torch.float32, torch.int32),
    BFLOAT16: (torch.bfloat16, torch.int16),
    FLOAT16: (torch.float16, torch.int16),
    E4M3: (torch.float8_e4m3fn, torch.uint8),
    E5M2: (torch.float8_e5m2, torch.uint8),
    E8M0: (torch.float8_e8m0fnu, torch.uint8),
}
ANY = st.floats(width=32, allow_nan=False)


def every_scale(count: int = 20_000) -> torch.Tensor:
    """Float32 numbers of all exponents, subnormal ones too, and those halfway between neighbours."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32)
    ties = bits & -(2**19) | 2**18
    values = torch.cat([bits, bits & -65536 | 32768, ties, bits & -8192 | 4096]).view(torch.float32)
    return values[values.isfinite()]


def own_bits(values: torch.Tensor, form) -> torch.Tensor:
    dtype, integer = TORCH[form]
    return values.to(dtype).view(integer).long() & (2**form.bits - 1)


@pytest.mark.parametrize("form", TORCH, ids=lambda form: form.name)
def test_codes_are_torchs_bits(form):
    values = torch.cat([every_scale(), torch.tensor([0.0, 1e4, 61_440.0, 448, 464, 465, 57_344, math.inf])])
    if form.signed:
        values = torch.cat([values, torch.tensor([-0.0, -math.inf])])
    else:  # torch reads float32's subnormal numbers, which end just above 2^-127, by their top bit alone
        values = values[values.abs() >= torch.finfo(torch.float32).smallest_normal]
    torch.testing.assert_close(encode(values, form), own_bits(values, form), rtol=0, atol=0)


@pytest.mark.parametrize("form", TORCH, ids=lambda form: form.name)
def test_every_code_decodes_as_torch_reads_it(form):
    dtype, integer = TORCH[form]
    codes = torch.arange(2 ** min(form.bits, 16))
    if form is FLOAT32:
        codes = codes * 65_537
    theirs = codes.to(torch.int64).to(integer).view(dtype).double()
    torch.testing.assert_close(decode(codes, form), theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("form", "theirs"),
    [(E2M1, f32_to_f4_unpacked), (E2M3, f32_to_f6_e2m3_unpacked), (E3M2, f32_to_f6_e3m2_unpacked)],
)
def test_four_and_six_bits_are_torchaos(form, theirs):
    grid = torch.arange(-40, 41) / 8
    values = torch.cat([torch.randn(4_000, generator=torch.Generator().manual_seed(1)) * 4, grid, grid * 8])
    torch.testing.assert_close(encode(values, form), theirs(values).long(), rtol=0, atol=0)


@given(st.floats(-1.9, 1.9), st.integers(-60, 60))
def test_tf32_rounds_as_float16_does_at_another_scale(value, power):
    nearest = torch.tensor(value, dtype=torch.float32)
    if 2.0**-10 < nearest.abs() < 2:
        expected = nearest.half().double() * 2.0**power
        assert round_to(nearest * 2.0**power, TF32) == expected


@given(ANY)
def test_rounding_twice_is_rounding_once_and_is_the_nearest(value):
    number = torch.tensor(value, dtype=torch.float64)
    for form in FORMATS:
        rounded = round_to(number, form, "saturate")
        assert torch.equal(round_to(rounded, form), rounded)
        if form.signed and abs(value) <= facts(form).largest:
            assert abs(float(rounded) - value) <= spacing(value, form) / 2


@pytest.mark.parametrize("form", [FLOAT32, BFLOAT16, FLOAT16, E4M3, E5M2], ids=lambda form: form.name)
def test_facts_are_torchs_finfo(form):
    theirs, ours = torch.finfo(TORCH[form][0]), facts(form)
    assert (ours.bits, ours.largest, ours.epsilon) == (theirs.bits, theirs.max, theirs.eps)
    assert ours.smallest_normal == theirs.smallest_normal
    tiny = torch.tensor(1, dtype=TORCH[form][1]).view(TORCH[form][0])
    assert ours.smallest_subnormal == float(tiny)


def test_overflow_as_the_format_says_or_saturated():
    large = torch.tensor([1e4, 61_440.0, 61_439.0])
    assert round_to(large, E4M3).tolist() == [448, 448, 448]  # torch casts so
    assert round_to(large, E4M3, "format").isnan().all()  # OFP8 without saturation
    assert round_to(torch.tensor([448.0, 464.0]), E4M3, "format").tolist() == [448, 448]
    assert round_to(torch.tensor([465.0, 500.0, math.inf]), E4M3, "format").isnan().all()
    assert round_to(torch.tensor([1e9]), E2M1, "format").tolist() == [6]
    assert round_to(large, E5M2).tolist() == [10_240, math.inf, 57_344]
    assert round_to(large, E5M2, "saturate").tolist() == [10_240, 57_344, 57_344]
    assert round_to(torch.tensor([7.0, -1e9]), E2M1).tolist() == [6, -6]


def test_spacing_and_the_numbers_around_a_value():
    assert spacing(1.0, FLOAT16) == torch.finfo(torch.float16).eps
    assert spacing(2049.0, FLOAT16) == 2.0
    assert spacing(0.0, FLOAT16) == 2.0**-24
    assert values_between(-1.0, 2.0, E2M1, 99).tolist() == [-1, -0.5, 0, 0.5, 1, 1.5, 2]
    assert values_between(0.0, 5.0, E8M0, 999)[-3:].tolist() == [1, 2, 4]
    assert values_between(0.0, 1.0, FLOAT32, 500) is None
    halves = values_between(0.99, 1.01, FLOAT16, 999)
    step = torch.nextafter(torch.tensor(1.0, dtype=torch.float16), torch.tensor(2.0, dtype=torch.float16))
    assert float(step) in halves.tolist()


@given(st.integers(-128, 127))
def test_bits_of_integers_are_twos_complement(value):
    bits = bits_of(torch.tensor(value), 8)
    assert "".join(str(int(bit)) for bit in bits) == format(value % 256, "08b")


def test_integers_are_rounded_to_even_and_clipped():
    values = torch.tensor([0.5, 1.5, -0.5, 300.0, -300.0])
    assert encode_integer(values, 8).tolist() == [0, 2, 0, 127, -128]


def test_formats_by_name_and_what_is_none():
    assert float_format(" e4m3 ") is E4M3
    assert (float_format("E3M4").bits, facts(float_format("e5m10")).largest) == (8, 65_504)
    for name in ("", "E1M2", "E9M9", "float", "E4M0", "E4M24"):
        with pytest.raises(InputError, match="no number format"):
            float_format(name)


def test_nan_where_there_is_none():
    nan = torch.tensor(math.nan)
    assert round_to(nan, E4M3).isnan()
    for refused in (lambda: encode(nan, E2M1), lambda: encode_integer(nan, 8)):
        with pytest.raises(InputError, match="no code for NaN"):
            refused()
    with pytest.raises(InputError, match="finite"):
        spacing(math.inf, FLOAT16)


def test_e5m2_overflows_from_61440_on():
    """universal#1351: 58,000 is 57,344; 61,440 lies half-way to the next and is infinite."""
    values = torch.tensor([58_000.0, 61_439.0, 61_440.0])
    assert round_to(values, E5M2, "format").tolist() == [57_344, 57_344, math.inf]
    assert round_to(values, E5M2).tolist() == values.to(torch.float8_e5m2).float().tolist()
