"""What the preference lesson asserts, at its links and at other settings of the same views."""

import math
from dataclasses import replace

import pytest
import torch

from components.panels.preference.calculator import Calculator
from models.preference.displacement import METHODS, Lab, train
from models.preference.losses import LossSettings, Pairs, dpo_weight, graded
from models.preference.relatives import LOSSES, WITH_SMOOTHING

GOALS = ("cdpo", "exo_pair", "simpo")  # σ(z) > 1 − ε
NEVER = ("sigmoid", "sigmoid_norm", "hinge", "robust", "bco_pair", "apo_zero", "kto", "orpo", "sft")


def plane(reference: float = -20.0, length: float = 10.0) -> Pairs:
    """Pairs on the whole plane of the page."""
    side = torch.linspace(-9.7, 9.7, 41, dtype=torch.float64)
    chosen, rejected = (part.flatten() for part in torch.meshgrid(side, side, indexing="ij"))
    there = torch.full_like(chosen, reference)
    return Pairs(chosen + there, rejected + there, there, there, *[torch.full_like(chosen, length)] * 2)


def pushed_down(name: str, pairs: Pairs, settings: LossSettings) -> torch.Tensor:
    return graded(LOSSES[name], pairs, settings).by_chosen > 1e-12


SETTINGS = [
    LossSettings(beta=beta, smoothing=smoothing, tau=tau, ipo_by_token=by_token, gamma=gamma)
    for beta, by_token, gamma in ((0.2, False, 1.0), (1.0, True, 0.0), (3.0, False, 2.0))
    for smoothing in (0.001, 0.1, 0.4)
    for tau in (0.05, 0.3)
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_which_losses_push_the_chosen_answer_down(settings):
    pairs = plane()
    chosen, rejected = settings.beta * pairs.delta_chosen, settings.beta * pairs.delta_rejected
    for name in NEVER:
        assert not pushed_down(name, pairs, settings).any(), name
    expected = {
        "apo_down": chosen.abs() < (chosen - rejected).abs(),
        "sppo_hard": pairs.delta_chosen > 0.5 / settings.beta,
        "nca_pair": torch.sigmoid(chosen) > 2 / 3,
        "cdpo": torch.sigmoid(chosen - rejected) > 1 - settings.smoothing,
    }
    mean = settings.beta * (pairs.chosen / 10 - pairs.rejected / 10) - settings.gamma
    expected["simpo"] = torch.sigmoid(mean) > 1 - settings.smoothing
    h = (pairs.delta_chosen - pairs.delta_rejected) / (10 if settings.ipo_by_token else 1)
    expected["ipo"] = h > 0.5 / settings.beta
    for name, where in expected.items():
        differs = pushed_down(name, pairs, settings) != where
        slope = graded(LOSSES[name], pairs, settings).by_chosen.abs()
        assert not (differs & (slope > 1e-9)).any(), name
    opposite = (rejected < 0) & (chosen > 0) & (chosen < 20)
    assert graded(LOSSES["apo_down"], pairs, settings).by_chosen[opposite].min() >= 0
    strip = pushed_down("discopop", pairs, settings)
    assert strip.any() == (settings.tau < 0.1)
    assert (chosen - rejected).abs()[strip].max() < 0.6 if strip.any() else True


def test_smoothed_simpo_pushes_down_past_its_goal_and_never_without_smoothing():
    """The page's ε is .1: the linked pair's slope is +.020, and −3e-5 at ε = 0."""
    query = "preference_beta=2&preference_pairs=-1,-50,-20,-20,10,10&preference_loss=simpo"
    view = Calculator.from_query(query)
    pairs = view.table_pairs()
    assert view.settings.smoothing == 0.1
    assert graded(LOSSES["simpo"], pairs, view.settings).by_chosen[0].item() == pytest.approx(
        0.020, abs=1e-3
    )
    plain = replace(view.settings, smoothing=0.0)
    assert graded(LOSSES["simpo"], pairs, plain).by_chosen[0].item() == pytest.approx(-3e-5, abs=1e-5)
    for name in WITH_SMOOTHING:
        if name != "exo_pair":
            assert not pushed_down(name, plane(), replace(plain, beta=1.0)).any(), name


def test_aot_pushes_down_past_its_goal_as_the_lesson_says():
    settings = LossSettings(beta=2.0, smoothing=0.1)
    far = Pairs(*torch.tensor([[-1.0, -2], [-50, -60], [-20, -20], [-20, -20], [9, 9], [9, 9]]).double())
    for name in ("aot", "aot_unpaired"):
        assert pushed_down(name, far, settings).any(), name
        assert not pushed_down(name, far, replace(settings, smoothing=0.0)).any(), name


# Displacement


def ends(angle: float, beta: float = 0.1, steps: int = 300, rate: float = 5.0) -> dict[str, torch.Tensor]:
    lab = Lab(angle=angle, learning_rate=rate, steps=steps, settings=LossSettings(beta=beta))
    return {name: run.log_probabilities[-1].exp() for name, run in train(lab, METHODS).items()}


@pytest.mark.parametrize("angle", [20.0, 30.0, 40.0, 60.0])
def test_remedies_that_help_and_those_that_do_not_where_answers_are_alike(angle):
    made = {name: float(p[0]) for name, p in ends(angle).items()}
    assert made["sigmoid"] < 0.001
    assert made["sigmoid+sft"] > 0.8
    assert made["bco_pair"] > 0.3
    assert made["nca_pair"] > 0.16 > 100 * made["sigmoid"]
    assert made["kto"] < 0.06
    if angle == 30:
        found = [made[name] for name in ("apo_zero", "kto", "sigmoid+sft", "bco_pair")]
        assert found == pytest.approx([0.0044, 0.0072, 0.864, 0.566], abs=1e-3)
    if angle <= 40:
        assert made["apo_zero"] < 0.2 < made["bco_pair"]  # where all began: one in five


def test_a_large_beta_saves_apo_zero_and_kto_and_not_dpo():
    made = ends(30.0, beta=1.0, steps=1_000)
    assert float(made["sigmoid"][0]) < 0.001
    assert min(float(made[name][0]) for name in ("apo_zero", "kto")) > 0.9


@pytest.mark.parametrize("weight", [0.02, 0.03, 0.05])
def test_a_few_hundredths_of_sft_are_enough(weight):
    lab = Lab(angle=30.0, learning_rate=5.0, sft_weight=weight)
    assert train(lab, ("sigmoid+sft",))["sigmoid+sft"].log_probabilities[-1, 0].exp() > 0.6


@pytest.mark.parametrize("angle", [20.0, 30.0, 40.0])
def test_a_third_answer_takes_all_while_every_logged_number_improves(angle):
    lab = Lab(angle=angle, learning_rate=5.0)
    run = train(lab, ("sigmoid",))["sigmoid"]
    assert int(run.log_probabilities[-1].argmax()) == 2  # and so has the highest implicit reward
    assert (run.loss.diff() < 0).all()
    assert (run.log_probabilities[1:, 0] > run.log_probabilities[1:, 1]).all()  # accuracy 100 %


def test_unlike_answers_are_not_displaced():
    assert float(ends(160.0)["sigmoid"][0]) > 0.8


# The calculator and the losses


@pytest.mark.parametrize("beta", [0.02, 0.1, 1.0, 5.0])
def test_at_the_reference_every_run_begins_at_the_same_value(beta):
    pairs = plane()
    at = replace(pairs, chosen=pairs.reference_chosen, rejected=pairs.reference_rejected)
    settings = LossSettings(beta=beta)
    begins = {"sigmoid": math.log(2), "sigmoid_norm": math.log(2), "hinge": 1.0, "apo_zero": 1.0}
    for name, value in begins.items():
        assert LOSSES[name](at, settings).unique().tolist() == pytest.approx([value]), name


@pytest.mark.parametrize("query", ["", "preference_beta=0.3", "preference_beta=0.02"])
def test_the_pair_in_the_wrong_order_has_the_largest_push_and_another_lies_down_with_a_low_loss(query):
    view = Calculator.from_query(query)
    pairs, settings = view.table_pairs(), view.settings
    found = graded(LOSSES["sigmoid"], pairs, settings)
    z = settings.beta * (pairs.delta_chosen - pairs.delta_rejected)
    assert int(found.by_chosen.abs().argmax()) == int(z.argmin()) == 2
    assert z[2] < 0
    torch.testing.assert_close(found.by_chosen, -settings.beta * dpo_weight(z))
    assert pairs.delta_chosen[1] < 0
    assert pairs.delta_rejected[1] < 0
    assert found.loss[1] < math.log(2)


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
def test_kto_without_its_point_of_reference_is_half_of_apo_zero(beta):
    pairs, settings = plane(), LossSettings(beta=beta)
    kto = LOSSES["kto"](pairs, settings)
    torch.testing.assert_close(kto, LOSSES["apo_zero"](pairs, settings) / 2)
    heavier = LOSSES["kto"](pairs, replace(settings, desirable=2.0, undesirable=2.0))
    assert not torch.allclose(
        heavier, LOSSES["apo_zero"](pairs, settings) / 2
    )  # weights of 1, not only equal
    away = replace(settings, kl=4.0)
    slope = graded(LOSSES["kto"], pairs, away).by_chosen.abs()
    assert pairs.delta_chosen[slope.argmax()] == pytest.approx(4.0, abs=0.3)  # largest near z₀


@pytest.mark.parametrize("low", [0.02, 0.1])
@pytest.mark.parametrize("times", [2, 10])
def test_a_larger_beta_gives_a_lower_loss_to_pairs_in_the_right_order(low, times):
    pairs = plane()
    small, large = (LOSSES["sigmoid"](pairs, LossSettings(beta=b)) for b in (low, low * times))
    order = pairs.delta_chosen - pairs.delta_rejected
    assert (large < small)[order > 1e-6].all()
    assert (large > small)[order < -1e-6].all()
    assert (LOSSES["robust"](pairs, LossSettings(beta=1.0, smoothing=0.2)) < 0).any()


def test_public_cases_of_a_batch():
    """trl#1236's log row: margins 16.1752 and −5.0013; DPO of the mean margin would be .00374."""
    zero = torch.zeros(2, dtype=torch.float64)
    margins = torch.tensor([16.1752, -5.0013], dtype=torch.float64)
    pairs = Pairs(margins, zero, zero, zero, zero + 5, zero + 5)
    loss = LOSSES["sigmoid"](pairs, LossSettings(beta=1.0))
    assert loss.mean().item() == pytest.approx(2.504, abs=1e-3)
    mean = replace(pairs, chosen=margins.mean().expand(2))
    assert LOSSES["sigmoid"](mean, LossSettings(beta=1.0))[0].item() == pytest.approx(0.00374, abs=1e-5)
    other = replace(pairs, chosen=torch.tensor([15.7239, -0.5499]).double())
    assert LOSSES["sigmoid"](other, LossSettings(beta=1.0)).mean().item() == pytest.approx(0.5027, abs=1e-4)
    tiny = replace(pairs, chosen=torch.tensor([15.3169, 17.2446]).double())
    made = LOSSES["sigmoid"](tiny, LossSettings(beta=1.0))
    assert made.tolist() == pytest.approx([2.228e-7, 3.24e-8], rel=1e-3)
    assert "e-07" in f"{float(made.mean()):.4g}"  # as the page prints it: not 0.0


def test_public_case_of_a_chosen_answer_that_lost_while_the_margin_grew():
    """direct-preference-optimization#36: rewards −2.3276 and −9.3534 at β = .1."""
    zero = torch.zeros(1, dtype=torch.float64)
    pairs = Pairs(zero - 23.276, zero - 93.534, zero, zero, zero + 5, zero + 5)
    found = graded(LOSSES["sigmoid"], pairs, LossSettings(beta=0.1))
    assert found.loss.item() == pytest.approx(0.000888, abs=1e-6)
    assert found.by_chosen.item() < 0  # the derivative still points up


def test_public_case_of_ipo_by_both_conventions():
    """trl#1677, torchtune#1291: 9.0 from sums, 22.09 from means by token."""
    values = [torch.tensor([x], dtype=torch.float64) for x in (-10.0, -14.0, -11.0, -13.0, 5.0, 10.0)]
    pairs = Pairs(*values)
    for by_token, expected in ((False, 9.0), (True, 22.09)):
        made = LOSSES["ipo"](pairs, LossSettings(ipo_by_token=by_token))
        assert made.item() == pytest.approx(expected)


@pytest.mark.parametrize(("mean", "odds"), [(-1e-9, 20.7233), (-1e-4, 9.210290), (-0.5, 0.432752)])
def test_public_case_of_orpos_odds_near_certainty(mean, odds):
    x = torch.tensor([mean], dtype=torch.float64)
    assert float(x - torch.log(-torch.expm1(x))) == pytest.approx(odds, abs=1e-4)
    pairs = Pairs(3 * x, 0 * x - 3 * math.log(2), x, x, 0 * x + 3, 0 * x + 3)  # against even odds
    loss = LOSSES["orpo"](pairs, LossSettings(odds_weight=1.0))
    assert loss.item() == pytest.approx(-mean + math.log1p(math.exp(-odds)), rel=1e-6)


def test_a_certain_answer_has_finite_odds_and_no_minus_zero():
    zero = torch.zeros(2, dtype=torch.float64)
    pairs = Pairs(zero, torch.tensor([-3.0, 0.0]).double(), zero, zero, zero + 3, zero + 3)
    found = graded(LOSSES["orpo"], pairs, LossSettings())
    for values in (found.loss, found.by_chosen, found.by_rejected):
        assert values.isfinite().all()
    assert not str(found.loss[0].item()).startswith("-")


@pytest.mark.parametrize(("desirable", "undesirable"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_kto_with_one_class_empty_has_no_nan(desirable, undesirable):
    """trl#1380, #1447: a batch without chosen or without rejected answers."""
    settings = LossSettings(desirable=desirable, undesirable=undesirable, kl=0.0)
    found = graded(LOSSES["kto"], plane(), settings)
    for values in (found.loss, found.by_chosen, found.by_rejected):
        assert values.isfinite().all()
    assert bool(found.by_chosen.any()) == (desirable > 0)
