"""Numbers at the ends of float32, empty rows and NaN: what functions give where no page leads."""

import math

import pytest
import torch

from models.attention.depth import causal_rank, largest_entropy, rank_one_residual
from models.attention.softmax import (
    SoftmaxEdit,
    cosine_attention_logits,
    edited_softmax,
    jacobian_spectral_norm,
    largest_cosine_weight,
    log_sum_exp,
    logit_statistics,
    softmax_steps,
)
from models.errors import InputError
from models.masks.effects import moved
from models.masks.streaming import running_mean
from models.numerics.masked_softmax import masked_softmax
from models.numerics.nf4 import nf4_rounded
from models.numerics.token_losses import token_losses
from models.quantization.error import decibels
from models.quantization.integers import check_finite


def test_a_sum_that_overflows_is_no_infinite_value():
    check_finite(torch.tensor([[3e38, 3e38]]))
    for wrong in (math.nan, math.inf):
        with pytest.raises(InputError, match="NaN or infinity"):
            check_finite(torch.tensor([[1.0, wrong]]))


def test_decibels_of_infinite_noise():
    assert decibels(1.0, math.inf) == -math.inf
    assert math.isnan(decibels(math.inf, math.inf))
    assert decibels(100.0, 1.0) == 20.0


def test_a_sum_over_no_logits_is_minus_infinity():
    empty = torch.zeros(3, 0)
    assert torch.equal(log_sum_exp(empty), torch.logsumexp(empty, dim=-1))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25])
def test_cosines_do_not_depend_on_the_length(size):
    query, key = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    found = cosine_attention_logits(query * size, key * size)
    torch.testing.assert_close(found, torch.tensor([[0.96]]))
    assert cosine_attention_logits(torch.zeros(1, 2), key).item() == 0


def test_what_is_not_finite_has_no_rank_one_residual():
    assert math.isnan(rank_one_residual(torch.tensor([[1.0, math.nan]])))


def test_a_row_without_keys_has_no_weights():
    for sink in (None, torch.tensor([1.0])):
        found = masked_softmax(torch.zeros(3, 0), sink)
        assert found.probabilities.shape == (3, 0)
        assert (found.denominator == (0.0 if sink is None else 1.0)).all()


def test_matrices_that_are_not_finite():
    """LAPACK would give up with an error of its own."""
    for wrong in (math.nan, math.inf):
        with pytest.raises(InputError, match="NaN or infinity"):
            causal_rank(torch.tensor([[1.0, 0.0], [wrong, 0.5]]))
    found = jacobian_spectral_norm(torch.tensor([[0.5, 0.5], [math.nan, 0.5]]))
    assert found[0] == pytest.approx(0.5)
    assert found[1].isnan()


@pytest.mark.parametrize("logits", [[math.inf, 0.0], [-math.inf, -math.inf]])
def test_infinities_of_which_softmax_is_no_number(logits):
    for make in (
        lambda z: edited_softmax(z, SoftmaxEdit()),
        lambda z: softmax_steps(z, torch.float32, True),
    ):
        with pytest.raises(InputError, match="largest logit must be finite"):
            make(torch.tensor(logits))
        assert make(torch.tensor([0.0, -math.inf])) is not None
    with pytest.raises(InputError, match="At least one logit"):
        logit_statistics(torch.zeros(2, 0))


@pytest.mark.parametrize("scale", [-1_000.0, 1_000.0])
def test_the_bound_of_cosines_under_any_scale(scale):
    assert largest_cosine_weight(64, scale) == 1.0
    assert largest_cosine_weight(64, -1.0) == largest_cosine_weight(64, 1.0)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e25])
def test_vectors_that_stay_have_not_turned(size):
    x = torch.tensor([[3.0, 4.0]]) * size
    assert moved(x, x).item() == pytest.approx(0.0, abs=1e-7)
    if size:
        assert moved(x, -x).item() == pytest.approx(2.0)
        assert moved(x, torch.zeros(1, 2)).item() == pytest.approx(1.0)


def test_labels_blocks_and_widths_out_of_range():
    logits = torch.zeros(3, 5)
    for label in (5, -1, -99):
        with pytest.raises(InputError, match=f"Label {label} is no token"):
            token_losses(logits, torch.tensor([0, label, 1]))
    assert token_losses(logits, torch.tensor([0, 4, -100]))[0] == pytest.approx(math.log(5))
    for width in (0, -3):
        with pytest.raises(InputError, match="width is"):
            running_mean(torch.ones(4), width)
        with pytest.raises(InputError, match="block is"):
            nf4_rounded(torch.ones(4), width)
    assert nf4_rounded(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(("n", "window"), [(1, 1), (5, 5), (9, 3)])
def test_the_largest_entropy_is_that_of_even_weights(n, window):
    visible = torch.ones(n, n, dtype=torch.bool).tril().triu(1 - window)
    even = visible.double() / visible.sum(-1, keepdim=True)
    assert largest_entropy(visible) == pytest.approx(float(torch.special.entr(even).sum(-1).mean()))
