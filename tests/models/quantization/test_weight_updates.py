"""Steps that vanish in 16 bits, against torch's own half-precision additions."""

import pytest
import torch

from models.errors import InputError
from models.quantization.weight_updates import round_stochastically, update_paths


@pytest.mark.parametrize(("weight", "step"), [(1.0, 1e-3), (0.05, -3e-5), (1.0, 0.3)])
def test_paths_are_torchs_own_sums(weight, step):
    paths = update_paths(weight, step, 50, seed=0)
    for name, dtype in (
        ("float32", torch.float32),
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
    ):
        expected = [torch.tensor(weight).to(dtype)]
        for _ in range(50):
            expected.append(torch.add(expected[-1], torch.tensor(step)).to(dtype))
        assert getattr(paths, name)[0] == expected[0].float()
        difference = getattr(paths, name)[-1] - torch.stack(expected).float()[-1]
        assert difference.abs() <= 50 * torch.finfo(dtype).eps * max(1.0, abs(weight + 50 * step))


def test_a_step_below_half_the_spacing_is_lost_and_stochastic_rounding_keeps_it_on_average():
    spacing = torch.finfo(torch.bfloat16).eps
    paths = update_paths(1.0, 0.3 * spacing, 400, seed=3)
    assert paths.bfloat16.eq(1.0).all()
    gained = float(paths.stochastic[-1] - 1) / (400 * 0.3 * spacing)
    assert 0.75 < gained < 1.25


def test_stochastic_rounding_lands_on_bfloat16_and_is_right_in_the_mean():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(64, generator=generator)[:, None].expand(-1, 4_000)
    noise = torch.randint(0, 2**16, values.shape, generator=generator, dtype=torch.int32)
    rounded = round_stochastically(values, noise)
    assert torch.equal(rounded, rounded.bfloat16().float())
    spacing = values[:, 0].abs() * torch.finfo(torch.bfloat16).eps
    assert ((rounded.mean(1) - values[:, 0]).abs() < 4 * spacing / 4_000**0.5).all()


def test_what_is_refused():
    for arguments in ((float("nan"), 1.0, 5), (1.0, float("inf"), 5), (1.0, 1.0, 0), (1.0, 1.0, 5_000)):
        with pytest.raises(InputError, match="finite"):
            update_paths(*arguments, seed=0)
