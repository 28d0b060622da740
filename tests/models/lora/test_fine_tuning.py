"""Fine-tuning with peft: what is saved gives the same loss elsewhere, and nothing shared is touched."""

import io
import zipfile

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from models.errors import InputError
from models.lora import fine_tuning
from models.lora.fine_tuning import (
    FineTuning,
    adapted_model,
    check,
    fine_tune,
    held_out_loss,
    round_base,
    target_weights,
    texts,
)
from models.lora.initialisations import INITIALISATIONS
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.loading import fresh_copy, load


def finished(**settings):
    *_, last = fine_tune(FineTuning(**{"steps": 4, "rank": 4, **settings}))
    return last


def plain():
    """The shipped network as anyone would load it."""
    return AutoModelForCausalLM.from_pretrained(EMBEDDED / DEFAULT).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"initialisation": "pissa", "scaling": "alpha/sqrt(r)"},
        {"initialisation": "milora"},
        {"initialisation": "olora", "dora": True},
        {"initialisation": "b_random", "targets": ("q_proj", "down_proj"), "domain": "arithmetic"},
        {"four_bit": True, "ratio": 4.0},
    ],
)
def test_a_saved_adapter_loads_with_plain_peft_and_gives_the_pages_loss(settings, tmp_path):
    run = finished(**settings)
    zipfile.ZipFile(io.BytesIO(run.adapter)).extractall(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    base = plain()
    if settings.get("four_bit"):
        round_base(base)
    model = PeftModel.from_pretrained(base, tmp_path).eval()
    domain = settings.get("domain", "python")
    assert held_out_loss(model, texts(domain).held_out) == pytest.approx(float(run.new[-1]), abs=2e-4)
    assert held_out_loss(model, texts("prose").held_out) == pytest.approx(float(run.old[-1]), abs=2e-4)
    assert str(tmp_path.parent) not in (tmp_path / "adapter_config.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", INITIALISATIONS)
def test_every_initialisation_starts_where_it_should(name):
    base, model = plain(), fresh_copy(DEFAULT)
    expected = held_out_loss(base, texts("python").held_out[:2])
    model = adapted_model(FineTuning(initialisation=name, rank=4), model)
    found = held_out_loss(model, texts("python").held_out[:2])
    assert (abs(found - expected) < 1e-3) == (name != "random")


@pytest.mark.slow
def test_training_learns_the_new_domain():
    run = finished(steps=12, domain="arithmetic", learning_rate=1e-2)
    assert run.new[-1] < run.new[0] - 1
    assert run.old[-1] > run.old[0]
    assert run.steps.tolist() == list(range(13))
    assert run.is_finished


def test_full_fine_tuning_trains_everything_and_saves_no_adapter():
    run = finished(method="full", learning_rate=1e-3)
    assert run.trained == load(DEFAULT).entry.parameters
    assert run.adapter == b""
    assert set(run.after) == set(run.before)


@pytest.mark.slow
def test_the_weights_of_a_run_give_its_loss():
    run = finished(initialisation="pissa", learning_rate=1e-2)
    model = plain()
    for name, weight in target_weights(model, tuple({n.rpartition(".")[2] for n in run.after})).items():
        assert_close(weight, run.before[name])
        weight.copy_(run.after[name])
    assert held_out_loss(model, texts("python").held_out) == pytest.approx(float(run.new[-1]), abs=2e-4)


@pytest.mark.slow
def test_runs_repeat_and_leave_the_shared_network_alone():
    network = load(DEFAULT).model
    before = {name: p.clone() for name, p in network.named_parameters()}
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first, second = finished(seed=3), finished(seed=3)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first.new, second.new)
    assert not torch.equal(first.new, finished(seed=4).new)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert not any(p.requires_grad for p in network.parameters())


def test_progress_comes_before_the_end_and_a_closed_run_stops():
    run = fine_tune(FineTuning(steps=50), every=1)
    first, second = next(run), next(run)
    assert (first.step, second.step) == (0, 1)
    assert not second.is_finished
    run.close()
    assert next(run, None) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": ()}, "No matrix is chosen"),
        ({"rank": 0}, "at least 1"),
        ({"rank": 65}, "between 1 and 64"),
        ({"rank": 3, "initialisation": "orthogonal"}, "even rank"),
        ({"alpha": 0.0}, "greater than 0"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"steps": 501}, "1 to 500 steps"),
        ({"four_bit": True, "initialisation": "pissa"}, "4-bit base"),
    ],
)
def test_bad_settings_are_refused_before_any_work(settings, words):
    with pytest.raises(InputError, match=words):
        check(FineTuning(**settings))
    with pytest.raises(InputError):
        next(fine_tune(FineTuning(**settings)))


def test_a_diverging_run_is_stopped_with_a_sentence(monkeypatch):
    run = fine_tune(FineTuning(steps=2), every=1)
    next(run)
    monkeypatch.setattr(fine_tuning, "_loss", lambda model, tokens: torch.tensor(torch.nan))
    with pytest.raises(InputError, match="learning rate is too high"):
        next(run)
