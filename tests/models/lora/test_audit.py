"""The audit's findings, and that it sees what it should: golden facts about peft 0.21."""

import math

import pytest
import torch

from models.lora.audit import audit, tiny_network, tokens

FINDINGS = {(finding.name, finding.prepared): finding for finding in audit()}


@pytest.mark.parametrize("name", ["True", "gaussian", "mica"])
def test_a_zero_factor_is_an_exact_no_op(name):
    finding = FINDINGS[name, False]
    assert (finding.output, finding.base, finding.disabled) == (0.0, 0.0, 0.0)
    assert not finding.fell_back


def test_orthogonal_is_a_no_op_but_for_rounding():
    finding = FINDINGS["orthogonal", False]
    assert finding.is_no_op
    assert not finding.changes_base
    assert finding.output > 0


@pytest.mark.parametrize(
    "case",
    [("pissa", False), ("pissa_niter_4", False), ("olora", False), ("corda", True), ("lora_ga", True)],
)
def test_initialisations_that_take_from_the_base_do_not_give_it_back(case):
    finding = FINDINGS[case]
    assert finding.is_no_op
    assert finding.changes_base
    assert not finding.restores
    assert not finding.fell_back


def test_two_random_factors_change_the_output():
    finding = FINDINGS["False", False]
    assert not finding.is_no_op
    assert finding.restores


@pytest.mark.parametrize("name", ["eva", "lora_ga"])
def test_golden_without_preparation_some_fall_back_silently(name):
    assert FINDINGS[name, False].fell_back
    assert not FINDINGS[name, True].fell_back


@pytest.mark.parametrize("name", ["corda", "loftq"])
def test_golden_others_say_so(name):
    finding = FINDINGS[name, False]
    assert finding.refusal
    assert "\n" not in finding.refusal
    assert math.isnan(finding.output)


def test_the_audit_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    audit.__wrapped__()
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(tiny_network()(tokens()).logits, tiny_network()(tokens()).logits)
