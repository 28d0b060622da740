"""What the lesson on quantization asserts of layers: outliers, GPTQ, sensitivity, bits, the cache."""

from functools import lru_cache

import pytest
import torch

from components.panels.quantization import gptq as panel
from components.panels.quantization.settings import Source
from models.networks.loading import load
from models.networks.texts import passages
from models.quantization.bit_budget import (
    OPTIONS,
    best_allocation,
    greedy_allocation,
    part_sizes,
    parts_of,
)
from models.quantization.error import kurtosis, output_error, relative_error
from models.quantization.gptq import GptqScheme, gptq, rounded_to_nearest
from models.quantization.kv_cache import CacheSetting, logits_with_cache, reads_exactly
from models.quantization.outliers import (
    GRID,
    Remedies,
    awq_curve,
    awq_scales,
    hadamard,
    method_error,
    outlier_columns,
    prepare,
    scale_channel,
    smooth_scales,
)
from models.quantization.quantized_network import (
    Weight,
    held_out,
    layer_inputs,
    matrix,
    mean_loss,
    token_ids,
    weight_errors,
    weights_of,
)
from models.quantization.recorded import NETWORK, TEXT, recorded_costs, recorded_sensitivities
from models.quantization.weight_formats import Setting, quantize

PASSAGE, OTHER = passages()[0].excerpt, passages()[1].excerpt


@lru_cache(maxsize=4)
def read(text: str) -> dict[str, torch.Tensor]:
    network = load(NETWORK)
    return layer_inputs(network, token_ids(network, text))[0]


def weight_at(layer: int, module: str) -> Weight:
    return next(w for w in weights_of(load(NETWORK)) if (w.layer, w.module) == (layer, module))


def pair(text: str, layer: int, module: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What a matrix reads in a text, and the matrix."""
    weight = weight_at(layer, module)
    return read(text)[weight.name], matrix(load(NETWORK), weight)


# Outliers


@pytest.mark.parametrize("text", [TEXT, PASSAGE, OTHER], ids=["sentence", "lighthouse", "orchard"])
def test_only_down_projections_read_large_values(text):
    """#outliers: above 6 at single tokens, elsewhere none."""
    for weight in weights_of(load(NETWORK)):
        inputs = read(text)[weight.name]
        large = inputs.abs() >= 6
        if weight.module == "mlp.down_proj":
            assert large.any()
            assert float(large.any(1).float().mean()) < 0.75
            assert float(large.float().mean()) < 0.01
        else:
            assert not large.any()


@pytest.mark.parametrize(
    ("layer", "module"), [(1, "mlp.up_proj"), (0, "self_attn.q_proj"), (3, "mlp.down_proj")]
)
@pytest.mark.parametrize("factor", [20.0, 100.0])
def test_remedies_for_an_enlarged_channel(layer, module, factor):
    """#outliers: every remedy beats one scale a token; the rotation takes the kurtosis down."""
    inputs, weight = pair(PASSAGE, layer, module)
    inputs = scale_channel(inputs, 7, factor)
    before, after = kurtosis(inputs), kurtosis(inputs @ hadamard(inputs.shape[1]))
    assert before > 100
    assert 1.5 < after < 11
    error = {
        m: method_error(inputs, weight, m, Remedies())
        for m in ("token", "llm_int8", "smoothquant", "hadamard")
    }
    assert error["token"] > 1.5 * max(error[name] for name in error if name != "token")


@pytest.mark.parametrize("text", [TEXT, PASSAGE, OTHER], ids=["sentence", "lighthouse", "orchard"])
def test_a_threshold_that_keeps_nothing(text):
    """#outliers, the link: factor 10, threshold 40; at factor 20 the channel of this matrix is kept."""
    inputs, weight = pair(text, 1, "mlp.up_proj")
    inputs = scale_channel(inputs, 7, 10.0)
    assert not outlier_columns(inputs, 40.0).any()
    assert outlier_columns(inputs, 6.0).any()
    kept_nothing = method_error(inputs, weight, "llm_int8", Remedies(threshold=40.0))
    assert kept_nothing == method_error(inputs, weight, "token", Remedies())
    assert outlier_columns(scale_channel(inputs, 7, 2.0), 40.0).any()


@pytest.mark.parametrize(
    ("layer", "module"), [(1, "mlp.up_proj"), (2, "self_attn.v_proj"), (0, "mlp.down_proj")]
)
def test_the_ends_of_the_exponents(layer, module):
    """The note "alphas": at 0 the weights' maxima decide alone, at 1 the activations'."""
    inputs, weight = pair(PASSAGE, layer, module)
    at_zero, at_one = (
        prepare(inputs, weight, "smoothquant", Remedies(alpha=alpha)) for alpha in (0.0, 1.0)
    )
    torch.testing.assert_close(at_zero.weight.abs().amax(0), torch.ones(inputs.shape[1]))
    torch.testing.assert_close(at_one.inputs.abs().amax(0), torch.ones(inputs.shape[1]))
    torch.testing.assert_close(smooth_scales(inputs, weight, 1.0), inputs.abs().amax(0))
    plain = output_error(inputs, weight, quantize(weight, Setting()).dequantized)
    curve = awq_curve(inputs, weight, Setting())
    assert float(curve[0]) == pytest.approx(plain, rel=1e-4)
    assert float(curve.min()) < plain
    scale = awq_scales(inputs, GRID[int(curve.argmin())])  # #mse-perplexity: the weights get worse
    changed = quantize(weight * scale, Setting()).dequantized / scale
    assert relative_error(weight, changed) > relative_error(weight, quantize(weight, Setting()).dequantized)


# GPTQ


@pytest.mark.parametrize("damping", [1e-4, 0.01, 1.0])
@pytest.mark.parametrize(("bits", "affine"), [(2, False), (3, True), (4, False)])
@pytest.mark.parametrize(
    ("layer", "module"), [(1, "mlp.up_proj"), (3, "mlp.down_proj"), (0, "self_attn.k_proj")]
)
def test_gptq_moves_weights_farther_and_outputs_nearer(layer, module, bits, affine, damping):
    """#gptq, #mse-perplexity and the note "whole_layer", on the text that it saw."""
    inputs, weight = pair(PASSAGE, layer, module)
    scheme = GptqScheme(bits, affine, damping)
    ours, nearest = gptq(weight, inputs, scheme), rounded_to_nearest(weight, scheme)
    assert relative_error(weight, ours) > relative_error(weight, nearest)
    assert output_error(inputs, weight, ours) < 0.9 * output_error(inputs, weight, nearest)


def test_on_another_text_it_gains_less_or_loses_and_damping_helps():
    """The note "whole_layer": 86 tokens for 192 and 512 inputs."""
    gains = {}
    for damping in (0.01, 1.0):
        for layer, module in (
            (1, "mlp.up_proj"),
            (3, "mlp.gate_proj"),
            (1, "self_attn.q_proj"),
            (2, "mlp.down_proj"),
        ):
            inputs, weight = pair(PASSAGE, layer, module)
            assert len(inputs) < inputs.shape[1]
            unseen = pair(OTHER, layer, module)[0]
            scheme = GptqScheme(3, damping=damping)
            ours, nearest = gptq(weight, inputs, scheme), rounded_to_nearest(weight, scheme)
            here, there = (
                output_error(x, weight, ours) / output_error(x, weight, nearest) for x in (inputs, unseen)
            )
            assert here < there
            gains[damping, layer, module] = there
    low, high = ([gain for key, gain in gains.items() if key[0] == damping] for damping in (0.01, 1.0))
    assert min(low) < 1 < max(low)
    assert max(high) < 1.01
    assert all(b < a for a, b in zip(low, high, strict=True))


def test_channels_that_a_text_never_reads_leave_the_check_as_it_is(monkeypatch):
    """Behind ReLU some are 0 on a short text; what is solved for has their diagonal at 1, as GPTQ has."""
    weight = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    inputs = 0.05 * torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
    inputs[:, [3, 20, 31]] = 0.0
    monkeypatch.setattr(panel, "corner", lambda _source, _text: (weight, inputs))
    panel.stepped.cache_clear()
    source = Source("none", 0, "dead channels")
    assert panel.solved(source, "", GptqScheme(3)) < 1e-3
    panel.stepped.cache_clear()


# From the map to the bits


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_recorded_map(bits):
    """#sensitive, #mse-perplexity, #agree: like weight errors, unlike effects; losses that fall."""
    found = recorded_sensitivities(NETWORK, TEXT, Setting(bits=bits))
    kl = {(item.weight.layer, item.weight.module): item.kl for item in found}
    errors = weight_errors(load(NETWORK), tuple(item.weight for item in found), Setting(bits=bits))
    assert float(errors.max() / errors.min()) < 1.2
    assert max(kl.values()) > 10 * min(kl.values())
    first = sorted(kl, key=kl.__getitem__, reverse=True)[:3]
    assert {(0, "self_attn.o_proj"), (1, "self_attn.o_proj")} <= set(first)
    if bits == 3:
        for layer in (1, 2):
            assert kl[layer, "self_attn.v_proj"] > kl[layer, "mlp.up_proj"]
    assert any(item.added_loss < 0 for item in found)


def test_settings_of_one_method_keep_their_order():
    """#mse-perplexity: with fewer bits more error and more KL, matrix by matrix, nearly always."""
    rows = [
        [item.kl for item in recorded_sensitivities(NETWORK, TEXT, Setting(bits=b))]
        for b in (2, 3, 4, 5, 6)
    ]
    steps = torch.tensor(rows).diff(dim=0) < 0
    assert float(steps.float().mean()) > 0.98


@pytest.mark.parametrize("cap", [2.25, 3.0, 4.5, 5.75, 7.25])
def test_greedy_is_nearly_the_best(cap):
    """#sensitive"""
    network = load(NETWORK)
    parts = parts_of(network)
    costs = {(item.part, item.bits): item.kl for item in recorded_costs(NETWORK, TEXT)}
    table = torch.tensor([[costs[part, bits] for bits in OPTIONS] for part in range(len(parts))])
    sizes = part_sizes(network, parts)
    greedy, best = (way(table, sizes, cap) for way in (greedy_allocation, best_allocation))
    total = [sum(costs[part, bits] for part, bits in enumerate(way)) for way in (greedy, best)]
    assert total[0] <= 1.05 * total[1]


# The cache


@pytest.mark.parametrize("residual", [0, 16, 64])
@pytest.mark.parametrize("group", [8, 32])
def test_which_tokens_stay_exact(residual, group):
    """The note "cache": along the tokens until a group is complete, along the channels the latest alone."""
    along, across = (
        reads_exactly(100, axis, CacheSetting(group_size=group, residual=residual))
        for axis in ("channel", "token")
    )
    seen = torch.ones(100, 100).tril().bool()
    assert int((across & seen)[-1].sum()) == residual
    assert int((along & seen)[-1].sum()) == max(residual, 100 % group)
    assert bool((along | ~across)[seen].all())


@pytest.mark.parametrize("length", [192, 256])
def test_two_bit_keys_with_a_scale_for_each_token_break_first(length):
    """#kv"""
    network = load(NETWORK)
    tokens = held_out(network, length)
    ways = {
        "none": None,
        "keys, token": CacheSetting(2, 16, key_axis="token"),
        "keys, channel": CacheSetting(2, 16, key_axis="channel"),
        "values, token": CacheSetting(16, 2, value_axis="token"),
    }
    loss = {name: mean_loss(logits_with_cache(network, tokens, way), tokens) for name, way in ways.items()}
    assert loss["keys, token"] > loss["values, token"] > loss["none"]
    assert loss["keys, token"] - loss["none"] > 3 * (loss["keys, channel"] - loss["none"])
