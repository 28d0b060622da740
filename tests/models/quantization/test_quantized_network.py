"""Quantized networks, against a network of transformers whose weights were really overwritten."""

import math
import threading
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from models.errors import InputError
from models.networks.catalogue import EMBEDDED
from models.networks.loading import Network, load
from models.numerics.token_losses import token_losses
from models.quantization import quantized_network
from models.quantization.bit_budget import (
    OPTIONS,
    best_allocation,
    greedy_allocation,
    mean_bits,
    measure_allocation,
    part_costs,
    part_sizes,
    parts_of,
)
from models.quantization.kv_cache import (
    CacheSetting,
    cache_bits,
    cache_effect,
    logits_with_cache,
    quantize_cache,
    reads_exactly,
)
from models.quantization.quantized_network import (
    cascade,
    held_out,
    kl_by_position,
    layer_inputs,
    logits_with,
    matrix,
    private_copy,
    quantized,
    read_baseline,
    sensitivities,
    token_ids,
    weight_errors,
    weights_of,
)
from models.quantization.recorded import TEXT as TEXT_RECORDED
from models.quantization.recorded import recorded_costs, recorded_sensitivities
from models.quantization.weight_formats import Setting, quantize

TEXT = "The keeper lit the lamp, and the keeper slept."


@cache
def network() -> Network:
    return load("loupe-llama")


def from_file() -> torch.nn.Module:
    folder = EMBEDDED / "loupe-llama"
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def overwritten(setting: Setting, layers: tuple[int, ...]) -> torch.nn.Module:
    """A network of its own, read anew from the file, with its matrices overwritten in place."""
    model = AutoModelForCausalLM.from_pretrained(
        EMBEDDED / "loupe-llama", attn_implementation="eager"
    ).eval()
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and any(f"layers.{layer}." in path for layer in layers):
            module.weight.data = quantize(module.weight.data, setting).dequantized
    return model


@pytest.mark.slow
@pytest.mark.parametrize("setting", [Setting(), Setting("nf4"), Setting(bits=2, mapping="affine")])
@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (2,)])
def test_the_whole_way_down_is_that_of_an_overwritten_network(setting, layers):
    tokens = token_ids(network(), TEXT)
    chosen = tuple(weight for weight in weights_of(network()) if weight.layer in layers)
    found = cascade(network(), tokens, chosen, setting)
    other, plain = overwritten(setting, layers), overwritten(setting, ())
    with torch.no_grad():
        after = other(tokens[None], output_hidden_states=True)
        before = plain(tokens[None], output_hidden_states=True)
        loss = sum(float(other(row[None], labels=row[None]).loss) for row in held_out(network())) / 4
    expected = torch.nn.functional.kl_div(
        after.logits[0].double().log_softmax(-1),
        before.logits[0].double().log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    torch.testing.assert_close(found.measured.kl.double(), expected, rtol=1e-3, atol=1e-6)
    flips = before.logits[0].argmax(-1) != after.logits[0].argmax(-1)
    assert torch.equal(found.measured.flipped, flips)
    assert found.measured.loss == pytest.approx(loss, rel=1e-4)
    states = zip(before.hidden_states, after.hidden_states, strict=True)
    errors = torch.stack([(b - a).norm() / a.norm() for a, b in states])
    torch.testing.assert_close(found.stream_error, errors, rtol=1e-3, atol=1e-5)
    assert found.effective_bits == pytest.approx(
        {"int": 4.25, "nf4": 4.5}[setting.format] if setting.bits == 4 else 2 + 18 / 64, abs=1e-6
    )


def test_the_shared_network_is_not_touched_even_while_others_use_it():
    shared = network().model
    before = {name: parameter.clone() for name, parameter in shared.named_parameters()}
    tokens = token_ids(network(), TEXT)
    with torch.no_grad():
        expected = shared(tokens[None]).logits
    replaced, _ = quantized(network(), weights_of(network()), Setting(bits=2))
    wrong: list[float] = []

    def others() -> None:
        for _ in range(20):
            with torch.no_grad():
                wrong.append(float((shared(tokens[None]).logits - expected).abs().max()))

    thread = threading.Thread(target=others)
    thread.start()
    for _ in range(5):
        assert not torch.allclose(logits_with(network(), tokens[None], replaced), expected)
    thread.join()
    assert max(wrong) < 1e-4
    for name, parameter in shared.named_parameters():
        assert torch.equal(parameter, before[name])
    copied = private_copy(shared)
    assert copied.model.layers[0].mlp.up_proj.weight is shared.model.layers[0].mlp.up_proj.weight


def test_layer_inputs_are_what_the_modules_read():
    tokens = token_ids(network(), TEXT)
    read, stream = layer_inputs(network(), tokens)
    assert set(read) == {weight.name for weight in weights_of(network())}
    model = network().model
    name = "model.layers.2.self_attn.q_proj.weight"
    torch.testing.assert_close(read[name], model.model.layers[2].input_layernorm(stream[2]))
    assert len(stream) == network().layers + 1


def test_conv1d_is_quantized_along_its_inputs():
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50, n_positions=32)
    model = GPT2LMHeadModel(config).eval()
    held = network()
    other = Network(**{**vars(held), "model": model})
    weight = weights_of(other)[0]
    assert matrix(other, weight).shape == (48, 16)
    replaced, _ = quantized(other, (weight,), Setting(bits=3, granularity="channel"))
    expected = quantize(matrix(other, weight), Setting(bits=3, granularity="channel")).dequantized
    assert torch.equal(replaced[weight.name].T, expected)
    assert logits_with(other, torch.arange(5)[None], replaced).shape == (1, 5, 50)


def test_losses_and_divergence_are_torchs():
    logits = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 9, (2, 6), generator=torch.Generator().manual_seed(1))
    expected = -logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(token_losses(logits, tokens), expected)
    assert kl_by_position(logits[0], logits[0]).max() < 1e-6


@pytest.mark.slow
def test_sensitivities_are_single_changes():
    tokens = token_ids(network(), TEXT)
    found = list(sensitivities(network(), tokens, Setting(bits=2)))
    assert [item.weight for item in found] == list(weights_of(network()))
    one = next(item for item in found if item.weight.layer == 1)
    alone = cascade(network(), tokens, (one.weight,), Setting(bits=2))
    assert one.kl == pytest.approx(alone.measured.mean_kl, rel=1e-4)
    assert one.added_loss == pytest.approx(alone.measured.loss - alone.loss_before, abs=1e-5)


def test_encoders_are_refused_with_a_sentence():
    encoder = load("all-MiniLM-L6-v2")
    with pytest.raises(InputError, match="encoder"):
        cascade(encoder, token_ids(encoder, TEXT), weights_of(encoder)[:1], Setting())
    assert len(weights_of(encoder)) == 6 * 6


# Bit budget


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("cap", [2.0, 2.9, 4.0, 5.5, 8.0])
def test_the_greedy_answer_keeps_the_cap_and_is_never_better_than_the_best(seed, cap):
    generator = torch.Generator().manual_seed(seed)
    falls = torch.rand(4, len(OPTIONS), generator=generator).sort(dim=1, descending=True).values
    sizes = torch.randint(10, 40, (4,), generator=generator)
    greedy, best = greedy_allocation(falls, sizes, cap), best_allocation(falls, sizes, cap)

    def cost(allocation: tuple[int, ...]) -> float:
        return sum(float(falls[part, OPTIONS.index(bits)]) for part, bits in enumerate(allocation))

    assert mean_bits(greedy, sizes) <= cap + 1e-9
    assert mean_bits(best, sizes) <= cap + 1e-9
    assert cost(best) <= cost(greedy) + 1e-6
    if cap == 2.0:
        assert greedy == best == (2, 2, 2, 2)
    if cap == 8.0:
        assert greedy == best == (8, 8, 8, 8)


def test_parts_costs_and_the_real_effect():
    parts = parts_of(network())
    assert [(part.first, part.last) for part in parts] == [(layer, layer) for layer in range(4)]
    assert part_sizes(network(), parts).sum() == sum(
        matrix(network(), weight).numel() for weight in weights_of(network())
    )
    tokens = token_ids(network(), TEXT)
    first = next(part_costs(network(), tokens, Setting()))
    alone = cascade(network(), tokens, parts[0].weights, Setting(bits=2))
    assert first.kl == pytest.approx(alone.measured.mean_kl, rel=1e-4)
    together = measure_allocation(network(), tokens, (4, 4, 4, 4), Setting())
    assert together.mean_kl == pytest.approx(
        cascade(network(), tokens, weights_of(network()), Setting()).measured.mean_kl, rel=1e-4
    )
    with pytest.raises(InputError, match="parts"):
        measure_allocation(network(), tokens, (4, 4), Setting())
    with pytest.raises(InputError, match="budget"):
        greedy_allocation(torch.zeros(1, 6), torch.tensor([1]), 1.0)


# The KV cache


def test_sixteen_bits_change_nothing_and_fewer_bits_change_more():
    tokens = held_out(network(), 48)
    with torch.no_grad():
        expected = network().model(tokens).logits
    for setting in (None, CacheSetting(16, 16), CacheSetting(2, 2, residual=100)):
        torch.testing.assert_close(
            logits_with_cache(network(), tokens, setting), expected, rtol=1e-3, atol=1e-3
        )
    off = [
        float((logits_with_cache(network(), tokens, CacheSetting(bits, bits)) - expected).norm())
        for bits in (8, 4, 2)
    ]
    assert off == sorted(off)


def test_a_cache_filled_token_by_token_gives_the_same_logits():
    """Transformers' own cache, whose keys and values are overwritten with quantized ones as they come."""
    setting = CacheSetting(3, 3, "token", "token", 32, 0)
    tokens = held_out(network(), 12)[:1]
    model = AutoModelForCausalLM.from_pretrained(
        EMBEDDED / "loupe-llama", attn_implementation="eager"
    ).eval()
    cached, steps = None, []
    with torch.no_grad():
        for place in range(tokens.shape[1]):
            output = model(tokens[:, place : place + 1], past_key_values=cached, use_cache=True)
            steps.append(output.logits[0, -1])
            cached = output.past_key_values
            for layer in cached.layers:
                layer.keys[:, :, -1:] = quantize_cache(layer.keys[:, :, -1:], 3, "token", 32)
                layer.values[:, :, -1:] = quantize_cache(layer.values[:, :, -1:], 3, "token", 32)
    # there the token itself is read exactly, as with a residual of one
    ours = logits_with_cache(network(), tokens, CacheSetting(3, 3, "token", "token", 32, 1))[0]
    torch.testing.assert_close(ours, torch.stack(steps), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(
        logits_with_cache(network(), tokens, setting)[0], torch.stack(steps), atol=1e-3
    )


def test_groups_of_tokens_are_quantized_when_they_are_complete():
    exact = reads_exactly(10, "channel", CacheSetting(group_size=4))
    assert exact[2].tolist() == [True] * 10
    assert exact[3].tolist() == [False] * 4 + [True] * 6
    assert exact[8, :8].logical_not().all()
    late = reads_exactly(6, "token", CacheSetting(residual=2))
    assert late[5].tolist() == [False] * 4 + [True] * 2
    x = torch.randn(1, 2, 8, 4, generator=torch.Generator().manual_seed(0))
    columns = quantize_cache(x, 2, "channel", 4)
    assert len(columns[0, 0, :4, 0].unique()) <= 4
    torch.testing.assert_close(quantize_cache(x, 8, "token", 4), x, rtol=0, atol=0.03)


def test_effect_and_size_of_the_cache():
    effect = cache_effect(network(), CacheSetting(2, 2), 64)
    assert effect.before.shape == effect.after.shape == (63,)
    assert effect.after.mean() > effect.before.mean()
    assert cache_bits(CacheSetting(4, 4, "token", "token", 32), 32, 64) == 4 + 20 / 32
    assert cache_bits(CacheSetting(16, 2, "token", "channel", 32), 32, 64) == (16 + 2 + 18 / 32) / 2
    for wrong in ({"key_bits": 9}, {"group_size": 0}, {"residual": -1}):
        with pytest.raises(InputError):
            CacheSetting(**wrong)
    with pytest.raises(InputError, match="encoder"):
        cache_effect(load("all-MiniLM-L6-v2"), CacheSetting(), 64)
    assert math.isfinite(effect.bits)


# What no setting changes


def test_a_step_from_a_kept_baseline_is_the_whole_way_and_passes_twice_through_one_copy(monkeypatch):
    tokens, chosen = token_ids(network(), TEXT), weights_of(network())
    base = read_baseline(network(), tokens)
    with torch.no_grad():
        expected = from_file()(tokens[None]).logits[0]
    torch.testing.assert_close(base.logits, expected, rtol=1e-3, atol=1e-4)
    assert base.nbytes > sum(held.nbytes for held in base.inputs.values())
    calls = {"copies": 0, "passes": 0}
    copied, called = quantized_network.private_copy, quantized_network.functional_call

    def count(name, function):
        def counted(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return counted

    fresh = cascade(network(), tokens, chosen, Setting(bits=3))
    monkeypatch.setattr(quantized_network, "private_copy", count("copies", copied))
    monkeypatch.setattr(quantized_network, "functional_call", count("passes", called))
    again = cascade(network(), tokens, chosen, Setting(bits=3), base)
    assert calls == {"copies": 1, "passes": 2}
    assert again.loss_before == pytest.approx(fresh.loss_before, rel=1e-6)
    assert again.measured.loss == pytest.approx(fresh.measured.loss, rel=1e-6)
    torch.testing.assert_close(again.measured.kl, fresh.measured.kl, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(again.stream_error, fresh.stream_error)
    torch.testing.assert_close(again.output_error, fresh.output_error)
    alone = weight_errors(network(), chosen, Setting(bits=3))
    torch.testing.assert_close(alone, fresh.weight_error, rtol=1e-5, atol=0)
    with pytest.raises(InputError, match="encoder"):
        read_baseline(load("all-MiniLM-L6-v2"), tokens)


def test_token_losses_are_torchs_on_every_shape():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 11, generator=generator)
    tokens = torch.randint(0, 11, (3, 7), generator=generator)
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
    )
    torch.testing.assert_close(token_losses(logits, tokens), expected)


def test_what_was_recorded_is_what_is_measured():
    tokens = token_ids(network(), TEXT_RECORDED)
    base = read_baseline(network(), tokens)
    held = recorded_sensitivities("loupe-llama", TEXT_RECORDED, Setting(bits=2))
    assert [item.weight for item in held] == list(weights_of(network()))
    for item, found in zip(held[:3], sensitivities(network(), tokens, Setting(bits=2), base), strict=False):
        assert (item.kl, item.added_loss) == pytest.approx((found.kl, found.added_loss), rel=0.02, abs=1e-4)
    costs = recorded_costs("loupe-llama", TEXT_RECORDED)
    assert [(cost.part, cost.bits) for cost in costs] == [(p, b) for p in range(4) for b in OPTIONS]
    first = next(part_costs(network(), tokens, Setting(), base))
    assert costs[0].kl == pytest.approx(first.kl, rel=0.02)
    assert recorded_sensitivities("loupe-llama", TEXT_RECORDED, Setting("nf4")) == ()
    assert recorded_sensitivities("loupe-llama", TEXT, Setting()) == ()
    assert recorded_costs("gpt2", TEXT_RECORDED) == ()
