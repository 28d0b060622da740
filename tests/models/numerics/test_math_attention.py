"""models.numerics.math_attention against torch's own switch, alone and beside another thread."""

from threading import Event, Thread

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from models.numerics.math_attention import MathAttention
from models.optimizers.training_lab import Training, train

CASES = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.7},
    "bool": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
    "an empty row": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril(-1)},
    "additive": {"attn_mask": torch.linspace(-3, 3, 25).view(5, 5)},
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_kernel_that_torch_calls_math(name):
    drawn = torch.randn(3, 2, 4, 5, 8, generator=torch.Generator().manual_seed(1))
    with sdpa_kernel(SDPBackend.MATH):
        expected = scaled_dot_product_attention(*drawn, **CASES[name])
    with MathAttention():
        assert torch.equal(scaled_dot_product_attention(*drawn, **CASES[name]), expected)


def test_grouped_keys():
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(2, 4, 5, 8, generator=generator)
    key, value = torch.randn(2, 2, 2, 5, 8, generator=generator)
    with sdpa_kernel(SDPBackend.MATH):
        expected = scaled_dot_product_attention(query, key, value, enable_gqa=True)
    with MathAttention():
        assert torch.equal(scaled_dot_product_attention(query, key, value, enable_gqa=True), expected)


@pytest.mark.slow
def test_sharpness_does_not_hang_on_what_another_thread_chooses():
    training = Training("sgd", 0.1, steps=3, sharpness_every=1)
    alone = [progress.sharpness for progress in train(training)]
    end = Event()

    def work():
        while not end.is_set():
            with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
                end.wait(0.001)

    thread = Thread(target=work)
    thread.start()
    try:
        beside = [progress.sharpness for progress in train(training)]
    finally:
        end.set()
        thread.join()
    assert beside == alone


def test_nothing_that_serves_sessions_chooses_kernels_for_the_process():
    from tests.models.numerics.test_seeded import ROOT

    names = ("sdpa_kernel", "set_default_dtype", "use_deterministic_algorithms", "enable_math_sdp")
    for folder in ("models", "components", "pages"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert path.name == "math_attention.py" or not any(f"{name}(" in text for name in names), path
