"""What the lesson on quantization asserts of numbers and matrices, at its links and at other settings."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from components.panels.quantization.duel import contenders
from components.panels.quantization.settings import Source
from components.panels.quantization.updates import STEPS
from models.networks.loading import load
from models.numerics.nf4 import nf4_levels
from models.quantization.error import DECIBELS_A_BIT, lloyd_max_normal, relative_error, sqnr
from models.quantization.floats import e2m1_levels, fp4_levels, mx_scale
from models.quantization.integers import IntegerScheme, quantize_integers
from models.quantization.number_formats import (
    BFLOAT16,
    E2M1,
    E4M3,
    E5M2,
    FLOAT16,
    FLOAT32,
    TF32,
    encode,
    facts,
    round_to,
)
from models.quantization.quantized_network import matrix, weights_of
from models.quantization.weight_formats import CONTENDERS, Setting, at_budget, quantize
from models.quantization.weight_updates import update_paths

MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def real(module: str, layer: int = 1) -> torch.Tensor:
    network = load("loupe-llama")
    return matrix(network, next(w for w in weights_of(network) if (w.layer, w.module) == (layer, module)))


def normal(rows: int = 256, columns: int = 512, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def decibels(x: torch.Tensor, setting: Setting) -> float:
    return sqnr(x, quantize(x, setting).dequantized)


# Numbers


@pytest.mark.parametrize(
    ("form", "bits", "digits"),
    [
        (FLOAT32, (8, 23), 7.2),
        (TF32, (8, 10), 3.3),
        (BFLOAT16, (8, 7), 2.4),
        (FLOAT16, (5, 10), 3.3),
        (E5M2, (5, 2), 0.9),
        (E4M3, (4, 3), 1.2),
        (E2M1, (2, 1), 0.6),
    ],
    ids=lambda item: getattr(item, "name", None),
)
def test_bits_digits_and_spacing(form, bits, digits):
    """#formats: spacing doubles at every power of two, ε is the one just above 1."""
    assert (form.exponent_bits, form.mantissa_bits) == bits
    known = facts(form)
    assert known.decimal_digits == pytest.approx(digits, abs=0.05)
    one = torch.tensor(1.0, dtype=torch.float64)
    below, above = one - known.epsilon / 2, one + known.epsilon
    if known.smallest_normal < 1:
        assert float(round_to(below, form)) == float(below)
    assert float(round_to(above, form)) == float(above)
    assert float(round_to(one + 0.4 * known.epsilon, form)) == 1.0


def test_ranges():
    """#formats, #subnormal, #bf16"""
    half, brain, full = facts(FLOAT16), facts(BFLOAT16), facts(FLOAT32)
    assert half.largest == 65_504
    assert brain.largest == pytest.approx(full.largest, rel=0.01)
    assert (half.smallest_subnormal, half.smallest_normal) == (2**-24, 2**-14)
    assert brain.smallest_normal == full.smallest_normal == pytest.approx(1.18e-38, rel=0.01)
    assert (BFLOAT16.mantissa_bits + 1, FLOAT16.mantissa_bits + 1) == (8, 11)
    assert facts(E4M3).largest < 10_000 < facts(E5M2).largest


@pytest.mark.parametrize(
    ("value", "in_half", "in_brain"),
    [(1e-8, 0.0, 1e-8), (1e5, math.inf, 1e5), (6e-8, 2**-24, 6e-8), (1e-4, 1e-4, 1e-4)],
)
def test_small_gradients_and_large_sums(value, in_half, in_brain):
    """#bf16, #subnormal: 1e-8 is 0 in float16, 6e-8 has one bit left, 1e5 overflows."""
    x = torch.tensor(value)
    assert float(round_to(x, FLOAT16)) == pytest.approx(in_half, rel=1e-3)
    assert float(round_to(x, BFLOAT16)) == pytest.approx(in_brain, rel=4e-3)
    if value == 6e-8:
        assert int(encode(x, FLOAT16)) == 1


@pytest.mark.parametrize("weight", [1.0, 1.003, 0.02, 8.0, 1e-3, 3.7])
@pytest.mark.parametrize("step", [1e-7, 3e-4, 1e-3, 0.1])
def test_who_stands_still(weight, step):
    """#updates and its note: a step below half the spacing is lost, in bfloat16 first."""
    paths = update_paths(weight, step, STEPS, 0)
    stands = {}
    for name, form in (("float16", FLOAT16), ("bfloat16", BFLOAT16)):
        path = getattr(paths, name)
        assert float(path[0]) == float(torch.tensor(weight).to(getattr(torch, name)))
        spacing = 2.0 ** (math.floor(math.log2(float(path[0]))) - form.mantissa_bits)
        stands[name] = bool((path == path[0]).all())
        if abs(step / spacing - 0.5) > 1e-3:
            assert stands[name] == (step < spacing / 2)
    assert stands["bfloat16"] or not stands["float16"]


@pytest.mark.parametrize(("weight", "step"), [(1.0, 3e-4), (0.02, 1e-3), (8.0, 0.01)])
def test_stochastic_rounding_is_right_on_average(weight, step):
    """#updates"""
    ends = torch.stack([update_paths(weight, step, STEPS, seed).stochastic[-1] for seed in range(8)])
    exact = float(torch.tensor(weight).bfloat16()) + step * STEPS
    spread = 2.0 ** (math.ceil(math.log2(exact)) - 8) * math.sqrt(STEPS) / 2 / math.sqrt(8)
    assert abs(float(ends.mean()) - exact) < 4 * spread


def test_spacing_just_above_1():
    """#updates: 1/128, and a thousand steps of less than half of it change nothing."""
    assert facts(BFLOAT16).epsilon == 1 / 128
    assert (update_paths(1.0, 0.0039, 1_000, 0).bfloat16 == 1).all()
    assert float(update_paths(1.0, 0.004, 1, 0).bfloat16[-1]) == 1 + 1 / 128


# Integers


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_three_mappings(bits):
    """#affine: formulas, the code that is not used, what is clipped, and that 0 stays 0."""
    x = normal(4, 64, bits)
    x[:, 7] = 0.0
    x[:, 9] = 5.0  # the largest is positive
    top, span = 2 ** (bits - 1), 2**bits - 1
    held = {
        kind: quantize_integers(x, IntegerScheme(bits, kind, "channel"))
        for kind in ("affine", "symmetric", "full_range")
    }
    low, high = x.aminmax(dim=1)
    assert_close(held["affine"].scale, (high - low) / span)
    assert_close(held["affine"].zero_point, (-top - torch.round(low / held["affine"].scale)).long())
    assert_close(held["symmetric"].scale, x.abs().amax(1) / (top - 1))
    assert_close(held["full_range"].scale, x.abs().amax(1) / (top - 0.5))
    assert len(held["symmetric"].levels) == span
    assert len(held["full_range"].levels) == span + 1
    assert_close(held["full_range"].dequantized[:, 9], 5.0 * torch.full((4,), (top - 1) / (top - 0.5)))
    for found in held.values():
        assert not found.dequantized[:, 7].any()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("budget", [4.25, 4.5, 5.0])
def test_affine_is_ahead_at_equal_cost_also_on_weights(module, budget):
    """#affine: by about 1 dB at four bits, zero points counted; most where values are one-sided."""
    x = real(module)
    one_sided = normal().relu()
    gains = {}
    for name, values in (("weights", x), ("relu", one_sided)):
        both = [
            at_budget(Setting(mapping=kind), budget, values.shape[1]) for kind in ("affine", "symmetric")
        ]
        gains[name] = decibels(values, both[0]) - decibels(values, both[1])
    assert 0.5 < gains["weights"] < 1.6
    assert gains["relu"] > gains["weights"] + 2


@pytest.mark.parametrize("group", [16, 32, 64, 128])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_what_scales_cost(group, bits):
    """#groups, #quarter"""
    x = normal()
    assert quantize(x, Setting(bits=bits, group_size=group)).effective_bits == bits + 16 / group
    affine = quantize(x, Setting(bits=bits, group_size=group, mapping="affine"))
    assert affine.effective_bits == bits + (16 + bits) / group


def test_costs_that_are_named():
    """#quarter, #nf4, #mx, #groups: 4.25, 4.5, 4.127, 4.625."""
    x = real("mlp.up_proj")
    cost = {name: quantize(x, setting).effective_bits for name, setting in CONTENDERS.items()}
    assert cost["int4 symmetric"] == 4.25
    assert (cost["NF4"], cost["MXFP4"]) == (4.5, 4.25)
    assert cost["NF4 + double"] == pytest.approx(4.127, abs=5e-4)
    assert cost["NVFP4"] == pytest.approx(4.5, abs=1e-3)
    assert quantize(x, Setting(group_size=32, mapping="affine")).effective_bits == 4.625


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_smaller_groups_win_unless_the_cost_is_counted(module, bits):
    """#groups: error falls with the group; at equal cost wider codes beat the smallest groups."""
    x = real(module)
    heard = [decibels(x, Setting(bits=bits, granularity=kind)) for kind in ("tensor", "channel")]
    heard += [decibels(x, Setting(bits=bits, group_size=size)) for size in (128, 64, 32, 16, 8)]
    assert heard == sorted(heard)
    narrow, wide = (at_budget(Setting(bits=width), 6.0, x.shape[1]) for width in (4, 5))
    assert narrow.group_size == 8
    assert decibels(x, wide) > decibels(x, narrow) + 1


@pytest.mark.parametrize("module", MODULES)
def test_clipping_pays_with_few_bits(module):
    """#clipping: never worse by search, hardly better at eight; the percentile costs 8 dB there."""
    x = real(module)
    for granularity in ("tensor", "channel", "group"):
        gain = {}
        for bits in (2, 3, 4, 8):
            plain, least, cut = (
                decibels(x, Setting(bits=bits, granularity=granularity, clipping=kind))
                for kind in ("max", "mse", "percentile")
            )
            assert least >= max(plain, cut) - 1e-6
            gain[bits] = least - plain
            assert (cut > plain) == (bits < 8)
        assert cut < plain - 8
        assert gain[2] > 3 > 0.05 > gain[8] or granularity == "tensor"
        assert gain[3] > gain[4] > gain[8] or granularity == "tensor"


# Codebooks and blocks


def test_levels_of_nf4_and_of_the_two_four_bit_floats():
    """#nf4, #nf4-optimal, #mx: an exact 0, 7 below and 8 above, quantiles spaced evenly on either side."""
    levels = nf4_levels().double()
    assert (int((levels < 0).sum()), int((levels == 0).sum()), int((levels > 0).sum())) == (7, 1, 8)
    end = float(torch.special.ndtri(torch.tensor(0.9677083, dtype=torch.float64)))
    shares = torch.special.ndtr(levels * end)
    assert float(shares[:8].diff().std()) < 1e-4
    assert float(shares[7:].diff().std()) < 1e-4
    assert float(shares[:8].diff().mean()) > 1.1 * float(shares[7:].diff().mean())
    best = lloyd_max_normal(4)
    assert best.sqnr > decibels(normal(), Setting("nf4", group_size=4_096)) - 1
    assert float(best.levels.abs().min()) > 0  # no level at 0: it isn't NF4 at another scale
    assert e2m1_levels()[7:].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert float(fp4_levels()[fp4_levels() > 0].min()) == pytest.approx(1 / 192)
    assert pytest.approx(1 / 12) == 0.5 / 6


@pytest.mark.parametrize("columns", [192, 512, 1024])
@pytest.mark.parametrize("seed", [0, 1])
def test_nf4_and_affine_int4_at_equal_cost(columns, seed):
    """#nf4-optimal: between 4.4 and 4.9 bits in the middle, below behind both, above 5.2 ahead of both."""
    x = normal(256, columns, seed)
    for budget in (4.1, 4.2, 4.4, 4.5, 4.7, 4.9, 5.25, 5.5):
        settings = [
            at_budget(CONTENDERS[name], budget, columns) for name in ("int4 affine", "NF4", "NF4 + double")
        ]
        if None in settings:  # a scale for each of these short rows is too dear
            assert (columns, budget) == (192, 4.1)
            continue
        affine, single, double = (decibels(x, setting) for setting in settings)
        if budget < 4.25:
            assert affine < single < double
        elif budget < 5:
            assert single < affine < double
        else:
            assert affine > double > single


@pytest.mark.parametrize("seed", [0, 1])
def test_nf4_against_symmetric_int4_in_the_same_groups(seed):
    """#nf4-optimal: by 0.8 dB or more from 32 on, none at 8."""
    x = normal(512, 1024, seed)
    ahead = [
        decibels(x, Setting("nf4", group_size=size)) - decibels(x, Setting(group_size=size))
        for size in (8, 32, 64, 256, 1024)
    ]
    assert ahead == sorted(ahead)
    assert abs(ahead[0]) < 0.15
    assert ahead[1] > 0.8


@pytest.mark.parametrize("budget", [2.5, 4.25, 4.5, 5.5, 8.5, 9.0])
@pytest.mark.parametrize("module", ["self_attn.v_proj", "mlp.up_proj"])
def test_prices_in_the_duel_and_the_bound(budget, module):
    """The note "duel": within the budget, groups of 8 or more, and below the bound on normal numbers."""
    found = contenders(Source("loupe-llama", 1, module), budget)
    assert found
    for name, (setting, bits, _ours, plain) in found.items():
        assert bits <= budget + 0.01
        assert plain < DECIBELS_A_BIT * bits
        if setting.format in ("int", "nf4", "fp4"):
            assert setting.group_size >= 8
        price = {"MXFP4": 4.25, "NVFP4": 4.5, "MXFP8": 8.25}.get(name)
        if price is not None:
            assert bits == pytest.approx(price, abs=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_power_of_two_fits_badly(seed):
    """#mx: the largest lies up to a factor of two from 6, above it with OCP's rule; NVFP4 fits closer."""
    x = normal(512, 512, seed)
    largest = x.reshape(-1, 32).abs().amax(1, keepdim=True)
    reach = largest / mx_scale(largest, E2M1, "floor")
    assert 4 <= float(reach.min()) < 4.5
    assert 7.5 < float(reach.max()) < 8
    assert 0.05 < float((reach > 6).float().mean()) < 0.95  # these are clipped
    assert float((largest / mx_scale(largest, E2M1, "ceil")).max()) <= 4
    assert decibels(x, Setting("nvfp4")) > decibels(x, Setting("mxfp4")) + 1
    errors = [
        relative_error(x, quantize(x, Setting("mxfp4", scale_rule=rule)).dequantized)
        for rule in ("floor", "ceil")
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("largest", [4.0, -4.0, 0.8, -0.8, -3.7])
def test_quantizing_a_second_time(largest):
    """#affine and LightCompress#334: the first two settle; in the third the largest moves at every pass."""
    x = normal(1, 32).clamp(-0.7 * abs(largest), 0.7 * abs(largest))
    x[0, 3] = largest
    scheme = IntegerScheme(4, "full_range", "channel")
    held = [x]
    for _ in range(3):
        held.append(quantize_integers(held[-1], scheme).dequantized)
        ratio = float(held[-1][0, 3] / held[-2][0, 3])
        assert abs(ratio - 1) == pytest.approx(1 / 15, rel=1e-4)
    if largest > 0:
        assert ratio < 1  # there is no code above 7
    for mapping in ("affine", "symmetric"):
        settled = replace(scheme, mapping=mapping)
        once = quantize_integers(x, settled).dequantized
        assert_close(quantize_integers(once, settled).dequantized, once)
