"""Recorded runs on one pair are what a run of their settings comes to."""

from dataclasses import replace

import numpy as np
import pytest

from components.panels.preference.real import RealNetwork
from models.preference.real_run import train_on_pair
from models.preference.recorded import OPENING, RUNS, recorded


def test_the_page_opens_on_a_recorded_run_of_its_own_settings():
    assert RealNetwork.at().asked == OPENING
    assert RealNetwork.at(loss="apo_zero").asked == RUNS[1]
    assert RealNetwork.at(real_rate="0.0003").asked == RUNS[2]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.loss} {run.learning_rate}")
def test_a_recorded_run_is_whole_and_begins_as_a_run_does(run):
    taken = recorded(run)
    assert taken.step == run.steps
    assert len(taken.losses) == len(taken.chosen) == len(taken.rejected) == run.steps + 1
    first = next(train_on_pair(run))
    assert taken.losses[0] == pytest.approx(first.losses[0], abs=1e-5)
    for kept, now in zip(taken.reference, first.reference, strict=True):
        assert kept.labels == now.labels
        assert kept.log_probabilities == pytest.approx(now.log_probabilities, abs=1e-4)
    for curve, pull in zip((taken.chosen, taken.rejected), taken.pulls, strict=True):
        assert curve[-1] == pytest.approx(pull.score.total, abs=1e-9)


@pytest.mark.slow
def test_a_recorded_run_ends_where_a_run_does():
    *_, last = train_on_pair(replace(OPENING, steps=12))
    taken = recorded(OPENING)
    assert taken.losses == pytest.approx(last.losses, abs=2e-3)
    assert taken.continuation == last.continuation
    for kept, now in zip(taken.pulls, last.pulls, strict=True):
        assert np.allclose(kept.by_logits, now.by_logits, atol=2e-3)


def test_other_settings_have_no_record():
    assert recorded(replace(OPENING, steps=13)) is None
    assert recorded(replace(OPENING, seed=1)) is None
