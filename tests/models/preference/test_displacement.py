"""The displacement lab against torch.optim.SGD, its closed forms against autograd, and its claims."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.preference.displacement import CHOSEN, METHODS, REJECTED, Lab, train, trained_by_torch
from models.preference.gradients import CLOSED_FORMS, sigma
from models.preference.losses import LossSettings, Pairs, graded
from models.preference.relatives import LOSSES


@given(
    st.sampled_from(sorted(CLOSED_FORMS)),
    st.floats(-30, 15),
    st.floats(-30, 15),
    st.floats(0.02, 2),
    st.floats(0, 3),
)
def test_closed_forms_are_the_derivatives(name, chosen, rejected, beta, kl):
    settings = LossSettings(beta=beta, kl=kl, desirable=1.5, undesirable=0.5)
    if abs(1 - beta * (chosen - rejected)) < 1e-9:
        return  # hinge's corner
    one = torch.ones(1, dtype=torch.float64)
    found = graded(LOSSES[name], Pairs(chosen * one, rejected * one, 0 * one, 0 * one, one, one), settings)
    by_chosen, by_rejected = CLOSED_FORMS[name](chosen, rejected, settings)
    assert by_chosen == pytest.approx(found.by_chosen.item(), rel=1e-9, abs=1e-12)
    assert by_rejected == pytest.approx(found.by_rejected.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("x", [-800.0, -1.0, 0.0, 1.0, 800.0])
def test_sigma_has_no_overflow(x):
    assert sigma(x) == pytest.approx(torch.sigmoid(torch.tensor(x, dtype=torch.float64)).item())


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("angle", [15.0, 90.0, 160.0])
def test_the_way_is_that_of_torchs_sgd(name, angle):
    lab = Lab(angle=angle, learning_rate=3.0, steps=60, settings=LossSettings(beta=0.2))
    ours = train(lab, METHODS)[name]
    torch.testing.assert_close(
        ours.log_probabilities, trained_by_torch(lab, name, 60), atol=1e-8, rtol=1e-8
    )
    torch.testing.assert_close(ours.log_probabilities.exp().sum(1), torch.ones(61, dtype=torch.float64))


def test_dpo_lets_the_chosen_answer_fall_where_the_two_are_alike():
    lab = Lab(angle=30.0, learning_rate=5.0, steps=400)
    found = train(lab, ("sigmoid", "sigmoid+sft"))
    dpo, mended = found["sigmoid"], found["sigmoid+sft"]
    assert dpo.loss[-1] < dpo.loss[0] == pytest.approx(math.log(2))
    last = dpo.log_probabilities[-1]
    assert last[CHOSEN] > last[REJECTED]  # the preference is learned
    assert last[CHOSEN] < dpo.log_probabilities[0, CHOSEN] - 5
    assert last.exp()[2] > 0.99  # by an answer that nobody asked for
    assert mended.log_probabilities[-1, CHOSEN] > mended.log_probabilities[0, CHOSEN]


def test_dpo_raises_the_chosen_answer_where_the_two_are_unlike():
    last = train(Lab(angle=165.0, learning_rate=5.0, steps=400), ("sigmoid",))["sigmoid"].log_probabilities
    assert last[-1].argmax() == CHOSEN


def test_what_diverges_is_nan_and_nothing_else():
    lab = Lab(angle=90.0, learning_rate=100.0, steps=300, settings=LossSettings(beta=1.0))
    found = train(lab, ("ipo", "sigmoid"))
    assert not found["ipo"].log_probabilities[-1].isfinite().all()
    assert found["sigmoid"].log_probabilities.isfinite().all()


@pytest.mark.parametrize(
    "bad",
    [
        {"angle": 0.0},
        {"angle": 181.0},
        {"angle": math.nan},
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"steps": 0},
        {"steps": 10**9},
        {"sft_weight": -1.0},
    ],
)
def test_labs_that_are_none(bad):
    with pytest.raises(InputError):
        Lab(**bad)


@pytest.mark.parametrize("methods", [(), ("adam",)])
def test_methods_that_are_none(methods):
    with pytest.raises(InputError):
        train(Lab(), methods)
