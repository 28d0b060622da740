"""Preference losses against TRL's own trainers, published numbers, autograd and finite differences."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from models.errors import InputError
from models.preference.losses import (
    DIVERGENCES,
    OVER_THE_BATCH,
    TRL_LOSSES,
    LossSettings,
    Pairs,
    dpo_weight,
    graded,
    mixture,
    sigmoid,
)
from models.preference.relatives import (
    LOSSES,
    WITH_DIVERGENCE,
    WITH_SMOOTHING,
    WITHOUT_REFERENCE,
    cdpo,
    kto,
    kto_halves,
    length_desensitized,
    log_odds_ratio,
    orpo,
    simpo,
    wpo_weight,
)
from tests.models.preference.trl_preference import by_token, trl_dpo_loss, trl_kto_loss

ONE = ([-10.0], [-14.0], [-11.0], [-13.0], [5.0], [10.0])


def pairs_of(columns, dtype=torch.float64) -> Pairs:
    return Pairs(*(torch.tensor(column, dtype=dtype) for column in columns))


def random_pairs(seed: int, count: int = 9) -> Pairs:
    """Answers of 1 to 12 tokens whose Δ lies within about ±6."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 13, (2, count), generator=generator).double()
    reference = -lengths * (0.3 + 2 * torch.rand(2, count, generator=generator, dtype=torch.float64)) - 6.5
    policy = reference + 6 * (2 * torch.rand(2, count, generator=generator, dtype=torch.float64) - 1)
    return Pairs(*policy, *reference, *lengths)


def trl_of(pairs: Pairs, names, settings, **changes):
    """TRL's loss of the same pairs, with random shares for the tokens, and its gradients and metrics."""
    chosen, rejected = (x.clone().requires_grad_() for x in (pairs.chosen, pairs.rejected))
    lengths = torch.cat([pairs.chosen_length, pairs.rejected_length])
    generator = torch.Generator().manual_seed(0)
    tokens, mask = by_token(torch.cat([chosen, rejected]), lengths, generator)
    reference, _ = by_token(
        torch.cat([pairs.reference_chosen, pairs.reference_rejected]), lengths, generator
    )
    loss, metrics = trl_dpo_loss(tokens, reference, mask, names, settings, **changes)
    by_chosen, by_rejected = torch.autograd.grad(
        loss, (chosen, rejected), allow_unused=True, materialize_grads=True
    )
    return SimpleNamespace(loss=loss, by_chosen=by_chosen, by_rejected=by_rejected, metrics=metrics)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TRL_LOSSES)
def test_every_loss_of_trl_and_its_gradients(name, seed):
    pairs = random_pairs(seed)
    settings = LossSettings(beta=(0.05, 0.1, 0.5)[seed], smoothing=(1e-3, 0.1, 0.3)[seed])
    theirs, ours = trl_of(pairs, (name,), settings), graded(TRL_LOSSES[name], pairs, settings)
    torch.testing.assert_close(ours.loss.mean(), theirs.loss, rtol=1e-6, atol=1e-7)  # its ε is a float32
    torch.testing.assert_close(ours.by_chosen / len(pairs), theirs.by_chosen, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours.by_rejected / len(pairs), theirs.by_rejected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("name", TRL_LOSSES)
def test_every_divergence_as_trl_takes_it(name, divergence):
    pairs = random_pairs(4)
    single = Pairs(*(column.float() for column in vars(pairs).values()))  # trl clamps in float32 only
    settings = LossSettings(smoothing=0.01, divergence=divergence, alpha=0.3)
    theirs, ours = trl_of(single, (name,), settings), TRL_LOSSES[name](single, settings)
    torch.testing.assert_close(ours.mean(), theirs.loss, rtol=2e-5, atol=1e-5)
    moved = not torch.allclose(ours, TRL_LOSSES[name](single, LossSettings(smoothing=0.01)))
    assert moved == (divergence != "reverse_kl" and name in WITH_DIVERGENCE)


def test_the_logged_rewards_margins_and_accuracies():
    pairs, settings = random_pairs(5), LossSettings(beta=0.2)
    metrics = trl_of(pairs, ("sigmoid",), settings).metrics
    rewards = 0.2 * pairs.delta_chosen, 0.2 * pairs.delta_rejected
    assert metrics["rewards/chosen"] == [pytest.approx(float(rewards[0].mean()))]
    assert metrics["rewards/margins"] == [pytest.approx(float((rewards[0] - rewards[1]).mean()))]
    assert metrics["rewards/accuracies"] == [pytest.approx(float((rewards[0] > rewards[1]).float().mean()))]


def test_several_losses_with_weights():
    pairs, settings = random_pairs(6), LossSettings(beta=0.3)
    weights = {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    theirs = trl_of(pairs, tuple(weights), settings, loss_weights=list(weights.values()))
    ours = mixture({TRL_LOSSES[name]: weight for name, weight in weights.items()})(pairs, settings)
    torch.testing.assert_close(ours.mean(), theirs.loss)


@pytest.mark.parametrize("seed", range(3))
def test_length_desensitized_sums(seed):
    pairs, settings = random_pairs(seed), LossSettings()
    lengths = torch.cat([pairs.chosen_length, pairs.rejected_length])
    generator = torch.Generator().manual_seed(seed)
    tokens, mask = by_token(torch.cat([pairs.chosen, pairs.rejected]), lengths, generator)
    reference, _ = by_token(
        torch.cat([pairs.reference_chosen, pairs.reference_rejected]), lengths, generator
    )
    theirs, _ = trl_dpo_loss(tokens, reference, mask, ("sigmoid",), settings, ld_alpha=0.4)
    shared = torch.minimum(pairs.chosen_length, pairs.rejected_length).long().repeat(2)
    policy, base = (length_desensitized(x, mask, shared, 0.4).chunk(2) for x in (tokens, reference))
    ours = sigmoid(Pairs(*policy, *base, pairs.chosen_length, pairs.rejected_length), settings)
    torch.testing.assert_close(ours.mean(), theirs)
    torch.testing.assert_close(
        length_desensitized(tokens, mask, shared, 1.0), torch.cat([pairs.chosen, pairs.rejected])
    )


def test_wpo_weights():
    pairs, settings = random_pairs(7), LossSettings()
    lengths = torch.cat([pairs.chosen_length, pairs.rejected_length])
    generator = torch.Generator().manual_seed(1)
    tokens, mask = by_token(torch.cat([pairs.chosen, pairs.rejected]), lengths, generator)
    reference, _ = by_token(
        torch.cat([pairs.reference_chosen, pairs.reference_rejected]), lengths, generator
    )
    squares = -torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    theirs, _ = trl_dpo_loss(
        tokens, reference, mask, ("sigmoid",), settings, squares=squares, use_weighting=True
    )
    chosen, rejected = wpo_weight(tokens, squares, mask).chunk(2)
    torch.testing.assert_close((sigmoid(pairs, settings) * chosen * rejected).mean(), theirs)


@pytest.mark.parametrize("seed", range(3))
def test_simpo_and_conservative_dpo_against_cpo_trainer(seed):
    pairs, settings = random_pairs(seed), LossSettings(beta=2.0, smoothing=0.1, gamma=0.8)
    trainer = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        simpo_gamma=settings.gamma,
        beta=settings.beta,
        label_smoothing=settings.smoothing,
        accelerator=SimpleNamespace(device="cpu"),
    )
    means = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    losses, *_ = CPOTrainer.cpo_loss(trainer, *means)
    torch.testing.assert_close(simpo(pairs, settings), losses)
    trainer.loss_type = "sigmoid"  # without a reference; Δ in place of log π makes it cDPO
    losses, *_ = CPOTrainer.cpo_loss(trainer, pairs.delta_chosen, pairs.delta_rejected)
    torch.testing.assert_close(cdpo(pairs, settings), losses)


@pytest.mark.parametrize("seed", range(3))
def test_orpo_against_its_trainer(seed):
    pairs, settings = random_pairs(seed), LossSettings(odds_weight=0.3)
    trainer = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    means = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    losses, _, _, _, log_odds = ORPOTrainer.odds_ratio_loss(trainer, *means)
    torch.testing.assert_close(orpo(pairs, settings).float(), (-means[0] - losses).float())
    torch.testing.assert_close(log_odds_ratio(pairs).mean().float(), log_odds)


@pytest.mark.parametrize("seed", range(3))
def test_kto_against_its_trainer(seed):
    pairs = random_pairs(seed)
    generator = torch.Generator().manual_seed(seed)
    differences = torch.randn(9, generator=generator, dtype=torch.float64)
    settings = LossSettings(kl=max(0.0, float(differences.mean())), desirable=1.3, undesirable=0.7)
    theirs = trl_kto_loss(pairs, settings, differences, generator)
    torch.testing.assert_close(kto(pairs, settings).mean(), theirs)


VECTORS = {
    "sigmoid": 0.598139,
    "hinge": 0.8,
    "ipo": 22.09,
    "exo_pair": 2.422015,
    "nca_pair": 1.338793,
    "robust": 0.573139,
    "cdpo": 0.618139,
    "bco_pair": 1.288793,
    "sppo_hard": 32.0,
    "apo_zero": 0.950042,
    "apo_down": 0.975145,
    "discopop": 0.814763,
    "sigmoid_norm": 0.678260,
    "simpo": 2.305083,
}
SETTINGS = {
    "exo_pair": LossSettings(smoothing=1e-3),
    "robust": LossSettings(smoothing=0.1),
    "cdpo": LossSettings(smoothing=0.1),
    "simpo": LossSettings(beta=2.0, gamma=1.0),
}


@pytest.mark.parametrize("name", VECTORS)
def test_known_values_of_one_pair(name):
    loss = LOSSES[name](pairs_of(ONE), SETTINGS.get(name, LossSettings()))
    assert loss.item() == pytest.approx(VECTORS[name], abs=1e-6)


def test_further_known_values():
    pairs = pairs_of(ONE)
    assert LOSSES["ipo"](pairs, LossSettings(ipo_by_token=False)).item() == pytest.approx(9.0)
    chosen, rejected = kto_halves(pairs, LossSettings(kl=0.5))
    assert (chosen.item(), rejected.item()) == pytest.approx((0.487503, 0.462570), abs=1e-6)
    assert log_odds_ratio(pairs).item() == pytest.approx(-0.737741, abs=1e-6)
    assert graded(sigmoid, pairs, LossSettings()).by_chosen.item() == pytest.approx(-0.045017, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name):
    pairs, settings = random_pairs(8, 5), LossSettings(beta=0.3, smoothing=0.1, kl=0.4, gamma=0.2)

    def total(chosen, rejected):
        kept = pairs.reference_chosen, pairs.reference_rejected, pairs.chosen_length, pairs.rejected_length
        return LOSSES[name](Pairs(chosen, rejected, *kept), settings).sum()

    inputs = tuple(x.clone().requires_grad_() for x in (pairs.chosen, pairs.rejected))
    assert torch.autograd.gradcheck(total, inputs)


@given(
    st.lists(st.tuples(*[st.floats(-50, -0.1)] * 4), min_size=1, max_size=6),
    st.floats(0.01, 5.0),
    st.floats(0.0, 0.4),
)
def test_dpo_is_cross_entropy_and_its_gradient_has_a_closed_form(rows, beta, smoothing):
    columns = [list(column) for column in zip(*rows, strict=True)]
    pairs = pairs_of((*columns, [1.0] * len(rows), [1.0] * len(rows)))
    settings = LossSettings(beta=beta, smoothing=smoothing)
    z = beta * (pairs.delta_chosen - pairs.delta_rejected)
    target = torch.full_like(z, 1 - smoothing)
    torch.testing.assert_close(
        cdpo(pairs, settings), binary_cross_entropy_with_logits(z, target, reduction="none")
    )
    found = graded(sigmoid, pairs, settings)
    torch.testing.assert_close(found.by_chosen, -beta * dpo_weight(z))
    torch.testing.assert_close(found.by_rejected, beta * dpo_weight(z))


@pytest.mark.parametrize("beta", [0.01, 0.1, 3.0])
def test_any_dpo_begins_at_ln_2(beta):
    pairs = random_pairs(9)
    start = Pairs(
        pairs.reference_chosen,
        pairs.reference_rejected,
        pairs.reference_chosen,
        pairs.reference_rejected,
        pairs.chosen_length,
        pairs.rejected_length,
    )
    assert sigmoid(start, LossSettings(beta=beta)).tolist() == pytest.approx([math.log(2)] * 9)


@pytest.mark.parametrize("name", LOSSES)
def test_what_the_lists_of_conventions_say(name):
    pairs, base = random_pairs(10), LossSettings(smoothing=0.05)
    loss = LOSSES[name](pairs, base)
    assert (not torch.allclose(loss, LOSSES[name](pairs, LossSettings(smoothing=0.2)))) == (
        name in WITH_SMOOTHING
    )
    shifted = Pairs(
        pairs.chosen,
        pairs.rejected,
        pairs.reference_chosen - 1,
        pairs.reference_rejected - 3,
        pairs.chosen_length,
        pairs.rejected_length,
    )
    assert torch.allclose(loss, LOSSES[name](shifted, base)) == (name in WITHOUT_REFERENCE)
    alone = [LOSSES[name](pairs_of([[x] for x in row]), base) for row in zip(*columns(pairs), strict=True)]
    assert (not torch.allclose(loss, torch.cat(alone))) == (name in OVER_THE_BATCH)


def columns(pairs: Pairs) -> list[list[float]]:
    return [column.tolist() for column in vars(pairs).values()]


@pytest.mark.parametrize(
    "bad",
    [
        {"beta": 0.0},
        {"beta": -1.0},
        {"beta": float("nan")},
        {"beta": 1e9},
        {"smoothing": 0.5},
        {"smoothing": -0.1},
        {"smoothing": float("inf")},
        {"tau": 0.0},
        {"kl": -1.0},
        {"desirable": -1.0},
    ],
)
def test_settings_that_are_none(bad):
    with pytest.raises(InputError):
        LossSettings(**bad)


def test_exo_without_smoothing_is_refused():
    with pytest.raises(InputError, match="exo_pair"):
        LOSSES["exo_pair"](pairs_of(ONE), LossSettings())


@pytest.mark.parametrize("name", LOSSES)
def test_large_log_ratios_stay_finite(name):
    pairs = pairs_of(([-1.0, -900.0], [-900.0, -1.0], [-400.0] * 2, [-400.0] * 2, [5.0] * 2, [5.0] * 2))
    found = graded(LOSSES[name], pairs, LossSettings(smoothing=0.01))
    assert found.loss.isfinite().all()
    assert found.by_chosen.isfinite().all()
    assert found.by_rejected.isfinite().all()
