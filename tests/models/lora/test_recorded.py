"""Recorded fine-tunings are what a run of their settings comes to."""

from dataclasses import replace

import pytest

from components.panels.lora.real import RealNetwork
from models.lora.fine_tuning import FineTuning, fine_tune
from models.lora.recorded import OPENING, RUNS, nearest, recorded


def test_the_page_opens_on_a_recorded_run_of_its_own_settings():
    assert RealNetwork.at().asked == OPENING
    assert RealNetwork.at(method="full", real_rate="0.001").asked in RUNS
    assert RealNetwork.at(qlora=True).asked in RUNS


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.domain} {run.method} {run.learning_rate}")
def test_a_recorded_run_is_whole(run):
    taken = recorded(run)
    assert taken.step == run.steps == int(taken.steps[-1])
    assert len(taken.steps) == len(taken.new) == len(taken.old) > 3
    assert not taken.is_finished  # its matrices are not kept, so it is checked against nothing


@pytest.mark.slow
@pytest.mark.parametrize("run", [RUNS[0], RUNS[4], RUNS[7]], ids=["lora", "full", "qlora"])
def test_a_recorded_run_begins_as_a_run_does(run):
    taken = recorded(run)
    for seen in fine_tune(run):
        measured = len(seen.steps)
        assert seen.steps.tolist() == taken.steps[:measured].tolist()
        assert seen.new.tolist() == pytest.approx(taken.new[:measured].tolist(), abs=2e-3)
        assert seen.old.tolist() == pytest.approx(taken.old[:measured].tolist(), abs=2e-3)
        assert seen.trained == taken.trained
        if measured > 1:
            return


def test_other_settings_show_the_first_run_of_their_domain():
    asked = FineTuning(domain="arithmetic", rank=3)
    assert recorded(asked) is None
    assert nearest(asked) == replace(OPENING, domain="arithmetic")
    assert nearest(RUNS[4]) == RUNS[4]
