"""A pair, step by step: every loss comes from the numbers that stand above it, for every setting."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from components.formulas import powers
from components.panels.preference.calculator import NOTHING, Asked, Calculator, arithmetic, reward_title
from components.panels.preference.steps import steps
from models.preference.logged import logged
from models.preference.losses import DIVERGENCES, LossSettings, Pairs, graded
from models.preference.relatives import LOSSES, WITH_DIVERGENCE, WITHOUT_REFERENCE
from tests.components.test_formulas import true, written  # noqa: F401
from tests.formulas import relations

SETTINGS = [
    LossSettings(beta=0.37, smoothing=0.13, tau=0.6, gamma=0.8, odds_weight=0.3),
    LossSettings(
        beta=2.3, smoothing=0.31, ipo_by_token=False, gamma=1.7, odds_weight=1.9, kl=4.2, desirable=1.3
    ),
]


def random_pairs(seed: int) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    values = (-6 * torch.rand(4, 4, generator=generator, dtype=torch.float64) - 0.5).unbind()
    lengths = torch.randint(2, 12, (2, 4), generator=generator).double().unbind()
    return Pairs(*values, *lengths)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("settings", SETTINGS, ids=("small", "large"))
@pytest.mark.parametrize("seed", [0, 7])
def test_each_loss_follows_from_what_stands_above_it(loss, settings, seed):
    pairs = random_pairs(seed)
    values = LOSSES[loss](pairs, settings)
    for row in range(len(pairs)):
        lines = steps(loss, pairs, settings, row, float(values[row]))
        tex = powers(r"\begin{aligned}" + r"\\[3pt]".join(lines) + r"\end{aligned}")
        true(tex, 2 if loss != "sft" else 1, digits=4)
        assert ("Δ" in tex or r"\Delta" in tex) == (loss not in WITHOUT_REFERENCE)
        if loss not in ("exo_pair", "discopop"):  # those have letters in their last line
            last = relations(tex, digits=4)[-1]
            assert last.low[0] <= float(values[row]) + 1e-3
            assert last.high[0] == pytest.approx(float(values[row]), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("loss", WITH_DIVERGENCE)
def test_the_divergence_is_named_where_the_loss_reads_it(loss, divergence):
    pairs, settings = random_pairs(2), replace(SETTINGS[0], divergence=divergence)
    value = LOSSES[loss](pairs, settings)
    tex = powers(r"\\".join(steps(loss, pairs, settings, 1, float(value[1]))))
    assert ("f'" in tex) == (divergence != "reverse_kl")
    true(tex, 2, digits=4)


@pytest.mark.parametrize("added", [NOTHING, "sft", "simpo"])
@pytest.mark.parametrize("loss", ["sigmoid", "kto", "orpo"])
def test_an_added_loss_is_added_in_the_open(written, loss, added):  # noqa: F811
    pairs, asked = random_pairs(4), Asked(loss, added, 0.7, SETTINGS[0])
    arithmetic(pairs, asked, graded(asked.function, pairs, asked.settings), 2)
    [tex] = written
    assert (r"\text{all}" in tex) == (added != NOTHING)
    true(tex, 3, digits=4)


def test_published_values_of_simpo_and_kto_on_the_first_pair():
    """SimPO's z is β(m_w − m_l) − γ, not 4; KTO's halves are ±β(Δ − z₀)."""
    view = Calculator.from_query("preference_loss=simpo&preference_beta=2")
    pairs, asked = view.table_pairs(), view.asked
    value = float(LOSSES["simpo"](pairs, asked.settings)[0])
    tex = "".join(steps("simpo", pairs, asked.settings, 0, value))
    m = [
        float(p[0] / n[0])
        for p, n in ((pairs.chosen, pairs.chosen_length), (pairs.rejected, pairs.rejected_length))
    ]
    z = 2 * (m[0] - m[1]) - asked.settings.gamma
    assert f"={z:.5g}" in tex
    assert r"\Delta" not in tex
    view = Calculator.from_query("preference_loss=kto&preference_kl=4&preference_beta=0.5")
    pairs, asked = view.table_pairs(), view.asked
    value = float(LOSSES["kto"](pairs, asked.settings)[0])
    assert value == pytest.approx(0.4467, abs=1e-4)
    tex = "".join(steps("kto", pairs, asked.settings, 0, value))
    deltas = float(pairs.delta_chosen[0]), float(pairs.delta_rejected[0])
    assert f"={0.5 * (deltas[0] - 4):.5g}" in tex
    assert f"={0.5 * (4 - deltas[1]):.5g}" in tex


def test_rewards_are_those_that_the_losss_own_trainer_logs():
    """TRL 1.16 on the default table, SimPO with β = 2: −3.341, −3.440, +.099, −1.67."""
    view = Calculator.from_query("preference_loss=simpo&preference_beta=2")
    pairs, settings = view.table_pairs(), view.settings
    means = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    accelerator = SimpleNamespace(device="cpu")
    cpo = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        simpo_gamma=settings.gamma,
        beta=settings.beta,
        label_smoothing=settings.smoothing,
        accelerator=accelerator,
    )
    _, chosen, rejected = CPOTrainer.cpo_loss(cpo, *means)
    made = logged("simpo", pairs, settings)
    torch.testing.assert_close(made.chosen, chosen)
    torch.testing.assert_close(made.rejected, rejected)
    found = [float(x.mean()) for x in (made.chosen, made.rejected, made.margin, made.log_p_chosen)]
    assert found == pytest.approx([-3.341, -3.440, 0.099, -1.67], abs=1e-3)
    orpo = SimpleNamespace(beta=settings.odds_weight, accelerator=accelerator)
    _, chosen, rejected, *_ = ORPOTrainer.odds_ratio_loss(orpo, *means)
    made = logged("orpo", pairs, settings)
    torch.testing.assert_close(made.chosen.float(), chosen)
    torch.testing.assert_close(made.rejected.float(), rejected)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_other_trainers_log_beta_delta(loss):
    pairs, settings = random_pairs(1), SETTINGS[1]
    made = logged(loss, pairs, settings)
    if loss in ("simpo", "orpo"):
        assert "mean" in reward_title(loss)
        return
    torch.testing.assert_close(made.margin, settings.beta * (pairs.delta_chosen - pairs.delta_rejected))
    torch.testing.assert_close(made.log_p_chosen, pairs.chosen)
    assert re.search("β·Δ", reward_title(loss))
