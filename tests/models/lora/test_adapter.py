"""models.lora.adapter and its initialisations against peft, torch and their own invariants."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.intruders import reduce_intruder_dimension
from torch import nn
from torch.testing import assert_close

from models.errors import InputError
from models.lora.adapter import (
    SCALINGS,
    adapted,
    capacity_floor,
    check_rank,
    delta_weight,
    dora_weight,
    extended,
    intruders,
    merge,
    parameter_count,
    scale,
    spectrum,
    unmerge,
)
from models.lora.fine_tuning import PEFT_NAMES
from models.lora.initialisations import CHANGES_BASE, INITIALISATIONS, initialise

seeds = st.integers(0, 2**31)
widths = st.integers(2, 24)


class Net(nn.Module):
    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.linear = nn.Linear(width_in, width_out, bias=False)

    def forward(self, x):
        return self.linear(x)


def with_peft(weight, rank, alpha, scaling="alpha/r", initialisation=True, dora=False, seed=0):
    """One adapter of peft on one matrix: the model, and its layer."""
    net = Net(weight.shape[1], weight.shape[0])
    net.linear.weight.data = weight.clone()
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=["linear"],
        init_lora_weights=initialisation,
        use_rslora=scaling != "alpha/r",
        use_dora=dora,
    )
    model = get_peft_model(net, config)
    (layer,) = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return model, layer


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scaling", SCALINGS)
@settings(max_examples=15)
@given(seeds, widths, widths, st.data())
def test_outputs_and_merged_weights_are_pefts(scaling, seed, width_in, width_out, data):
    rank = data.draw(st.integers(1, min(width_in, width_out)))
    alpha = data.draw(st.integers(1, 64))
    weight, x = drawn(seed, width_out, width_in), drawn(seed + 1, 5, width_in)
    a, b = drawn(seed + 2, rank, width_in), drawn(seed + 3, width_out, rank)
    model, layer = with_peft(weight, rank, alpha, scaling)
    layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = a, b
    s = scale(float(alpha), rank, scaling)
    assert s == pytest.approx(layer.scaling["default"])
    assert_close(adapted(x, weight, a, b, s), model(x), rtol=1e-4, atol=1e-3)
    assert_close(delta_weight(a, b, s), layer.get_delta_weight("default"), rtol=1e-4, atol=1e-4)
    layer.merge()
    merged = merge(weight, a, b, s)
    assert_close(merged, layer.weight.data, rtol=1e-4, atol=1e-4)
    assert_close(x @ merged.T, adapted(x, weight, a, b, s), rtol=1e-3, atol=1e-3)
    layer.unmerge()
    assert_close(unmerge(merged, a, b, s), layer.weight.data, rtol=1e-4, atol=1e-3)


@settings(max_examples=15)
@given(seeds, widths, widths, st.integers(1, 2))
def test_dora_is_pefts_in_output_and_gradient(seed, width_in, width_out, rank):
    weight, x = drawn(seed, width_out, width_in), drawn(seed + 1, 5, width_in)
    model, layer = with_peft(weight, rank, 8, dora=True)
    a, b = drawn(seed + 2, rank, width_in), drawn(seed + 3, width_out, rank)
    magnitude = drawn(seed + 4, width_out)
    layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = a.clone(), b.clone()
    vector = layer.lora_magnitude_vector["default"]
    vector.weight.data = magnitude.clone()
    leaves = [t.clone().requires_grad_() for t in (a, b, magnitude)]
    s = scale(8.0, rank)
    ours = x @ dora_weight(weight, delta_weight(leaves[0], leaves[1], s), leaves[2]).T
    assert_close(ours, model(x), rtol=1e-3, atol=1e-3)
    ours.square().sum().backward()
    model(x).square().sum().backward()
    theirs = (layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad, vector.weight.grad)
    for mine, other in zip(leaves, theirs, strict=True):
        assert_close(mine.grad, other, rtol=1e-2, atol=1e-2 * float(other.abs().max()))


def test_dora_equals_the_base_at_the_start():
    weight = drawn(0, 12, 20)
    assert_close(dora_weight(weight, torch.zeros_like(weight), weight.norm(dim=1)), weight)


@pytest.mark.parametrize("name", PEFT_NAMES)
@settings(max_examples=8)
@given(seeds, st.integers(1, 4), st.sampled_from([1, 4, 32]), st.sampled_from(SCALINGS))
def test_initialisations_are_pefts(name, seed, half_rank, alpha, scaling):
    rank, weight = 2 * half_rank, drawn(seed, 16, 24)
    s = scale(float(alpha), rank, scaling)
    ours = initialise(name, weight, rank, s, torch.Generator().manual_seed(seed))
    _, layer = with_peft(weight, rank, alpha, scaling, PEFT_NAMES[name], seed=seed)
    a, b = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
    base = layer.get_base_layer().weight.data
    if name in CHANGES_BASE:  # no chance is involved: equal up to the signs of singular vectors
        assert_close(s * ours.b @ ours.a, s * b @ a, rtol=1e-3, atol=1e-3)
        assert_close(ours.base, base, rtol=1e-3, atol=1e-3)
        assert_close(ours.a.abs(), a.abs(), rtol=1e-2, atol=1e-3)
    else:
        assert_close(ours.base, base)
        assert (ours.b == 0).all() == (b == 0).all()
        assert ours.a.abs().max() <= 1 / math.sqrt(24) or name in ("gaussian", "orthogonal")
        if name == "orthogonal":
            assert_close(ours.b @ ours.a, torch.zeros(16, 24), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["kaiming", "gaussian", "random", "b_random", "orthogonal"])
def test_random_starts_have_pefts_spread(name):
    """Over a large matrix: the sample deviation of A and B is peft's, where peft has the initialisation."""
    weight = torch.zeros(600, 800)
    ours = initialise(name, weight, 16, 0.5, torch.Generator().manual_seed(1))
    if name == "b_random":  # not in peft: A and B of the default change places
        a, b = torch.zeros(16, 800), torch.empty(600, 16)
        nn.init.kaiming_uniform_(b, a=math.sqrt(5))
    else:
        _, layer = with_peft(weight, 16, 8, initialisation=PEFT_NAMES[name])
        a, b = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
    assert float(ours.a.std()) == pytest.approx(float(a.std()), rel=0.05)
    assert float(ours.b.std()) == pytest.approx(float(b.std()), rel=0.05)


def test_reference_spreads():
    """Golden: A kaiming has deviation 1/√(3·in) whatever the rank, gaussian 1/r whatever the width."""
    weight, generator = torch.zeros(300, 1200), torch.Generator().manual_seed(0)
    for rank in (4, 32):
        assert float(initialise("kaiming", weight, rank, 1.0, generator).a.std()) == pytest.approx(
            1 / math.sqrt(3 * 1200), rel=0.05
        )
        assert float(initialise("gaussian", weight, rank, 1.0, generator).a.std()) == pytest.approx(
            1 / rank, rel=0.05
        )


@pytest.mark.parametrize("name", INITIALISATIONS)
@given(seeds, st.integers(1, 6), st.floats(0.1, 10))
@settings(max_examples=10)
def test_only_random_changes_the_output(name, seed, half_rank, s):
    weight = drawn(seed, 12, 16)
    start = initialise(name, weight, 2 * half_rank, s, torch.Generator().manual_seed(seed))
    same = torch.allclose(start.base + s * start.b @ start.a, weight, atol=1e-3)
    assert same == (name != "random")
    assert torch.equal(start.base, weight) == (name not in CHANGES_BASE)


@given(seeds, st.floats(0.2, 5))
@settings(max_examples=10)
def test_pissa_takes_the_largest_part_and_milora_the_smallest(seed, s):
    weight, generator = drawn(seed, 10, 14), torch.Generator()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    for name, kept in (("pissa", slice(3, None)), ("milora", slice(None, 7))):
        base = initialise(name, weight, 3, s, generator).base
        assert_close(base, left[:, kept] * values[kept] @ right[kept], rtol=1e-3, atol=1e-3)


@given(seeds, st.integers(1, 4))
@settings(max_examples=10)
def test_extended_adapter_is_the_difference(seed, rank):
    a, b, a_start, b_start = (
        drawn(seed + i, *shape) for i, shape in enumerate([(rank, 9), (7, rank), (rank, 9), (7, rank)])
    )
    twice_a, twice_b = extended(a, b, a_start, b_start)
    assert_close(twice_b @ twice_a, b @ a - b_start @ a_start)


@given(seeds, st.integers(1, 8))
@settings(max_examples=15)
def test_capacity_floor_is_what_svd_leaves(seed, rank):
    change = drawn(seed, 8, 12)
    left, values, right = torch.svd_lowrank(change, q=8, niter=20)
    best = (left * values)[:, :rank] @ right[:, :rank].T
    expected = (change - best).square().sum() / change.square().sum()
    assert_close(capacity_floor(change, rank), expected, rtol=1e-2, atol=1e-4)


def test_spectrum_and_intruders_by_hand():
    before = torch.diag(torch.tensor([4.0, 3.0, 2.0, 0.0]))
    found = spectrum(before, before)
    assert_close(found.delta, torch.zeros(4))
    assert len(intruders(found.cosine, 3, 0.5)) == 0
    foreign = torch.full((4, 1), 0.5)  # the same cosine with every axis of W₀
    after = before + 100 * foreign @ foreign.T
    found = spectrum(before, after)
    assert_close(found.delta, torch.tensor([100.0, 0.0, 0.0, 0.0]), rtol=1e-4, atol=1e-4)
    assert intruders(found.cosine, 3, 0.55).tolist() == [0]
    assert len(intruders(found.cosine, 3, 0.0)) == 0


@pytest.mark.parametrize(("size", "expected"), [(0.0, 0), (30.0, 1)])
def test_intruders_are_those_of_peft(size, expected):
    """Where peft prints how many it found; a large foreign direction is one, no change is none."""
    weight = torch.diag(torch.linspace(4, 1, 16))
    model, layer = with_peft(weight, 1, 1)
    layer.lora_A["default"].weight.data = size * torch.full((1, 16), 0.25)
    layer.lora_B["default"].weight.data = torch.full((16, 1), 0.25)
    said = []
    reduce_intruder_dimension(model, logging_sink=said.append)
    theirs = next(line for line in said if "ntruders" in line)
    after = weight + size * torch.full((16, 16), 1 / 16)
    assert len(intruders(spectrum(weight, after).cosine)) == expected
    assert theirs.endswith("No intruders" if not expected else f"Intruders: {expected}")


@given(widths, widths, st.integers(1, 2), st.booleans())
@settings(max_examples=15)
def test_parameter_count_is_pefts(width_in, width_out, rank, dora):
    model, _ = with_peft(torch.zeros(width_out, width_in) + 1, rank, 8, dora=dora)
    assert parameter_count(width_out, width_in, rank, dora) == model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("rank", [0, -1, 9])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(InputError, match="between 1 and 8"):
        check_rank(rank, 8, 12)
    with pytest.raises(InputError):
        initialise("kaiming", torch.ones(8, 12), rank, 1.0, torch.Generator())


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_impossible_alphas_are_refused(alpha):
    with pytest.raises(InputError, match="greater than 0"):
        scale(alpha, 8)


def test_other_refusals():
    with pytest.raises(InputError, match="even rank"):
        initialise("orthogonal", torch.ones(8, 8), 3, 1.0, torch.Generator())
    with pytest.raises(InputError, match="at least 1"):
        scale(1.0, 0)
    with pytest.raises(InputError, match="Intruders"):
        intruders(torch.ones(4, 4), 9, 0.5)
