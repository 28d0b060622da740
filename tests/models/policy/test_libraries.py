"""Conventions by library and method: TRL's own lines, and the statements of verl and OpenRLHF."""

import inspect
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from trl.trainer import grpo_trainer, rloo_trainer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.rloo_config import RLOOConfig

from models.policy.group_advantages import METHODS
from models.policy.libraries import (
    LIBRARIES,
    LIBRARY_METHODS,
    OPENRLHF,
    TRL,
    VERL,
    convention_of,
    in_library,
    library_advantages,
    takes,
)
from tests.models.policy import library_statements as statements
from tests.models.policy.trl_policy import grpo_advantages, rloo_advantages

THERE = {  # what each library has; the rest of the product it has not
    TRL: {"grpo", "dr_grpo", "batch", "rloo"},
    VERL: {"grpo", "dr_grpo", "rloo", "reinforce++", "reinforce++ baseline"},
    OPENRLHF: {"grpo", "dr_grpo", "rloo", "reinforce++", "reinforce++ baseline"},
}
PAIRS = list(itertools.product(LIBRARIES, METHODS))


@st.composite
def batches(draw):
    """Rewards of groups of one size, and lengths; sometimes rewards that all agree."""
    groups, answers = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    rewards = torch.randint(-3, 4, (groups, answers), generator=generator).double()
    rewards = rewards * draw(st.sampled_from([0.0, 1e-5, 1.0]))
    lengths = torch.randint(1, 9, (groups, answers), generator=generator).double()
    return rewards, lengths


def tokens_of(lengths: torch.Tensor) -> torch.Tensor:
    flat = lengths.flatten()[:, None]
    return (torch.arange(int(lengths.max()))[None] < flat).double()


def theirs(library: str, method: str, rewards: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The same advantages by the library's own statements."""
    if library == TRL:
        if method == "rloo":
            return rloo_advantages(rewards, normalize=False)
        names = {"grpo": "group", "dr_grpo": "none", "batch": "batch"}
        return grpo_advantages(rewards, names[method])
    index = [row for row in range(len(rewards)) for _ in range(rewards.shape[1])]
    mask = tokens_of(lengths)
    if library == VERL:
        name = {
            "grpo": "grpo",
            "dr_grpo": "grpo",
            "rloo": "rloo",
            "reinforce++": "reinforce_plus_plus",
            "reinforce++ baseline": "reinforce_plus_plus_baseline",
        }[method]
        flat = statements.verl(name, rewards.flatten(), index, mask, by_std=method != "dr_grpo")
    else:
        name = in_library(library, method).setting.split()[-1]
        flat = statements.openrlhf(name, rewards.flatten(), mask, rewards.shape[1])
    return flat.view_as(rewards)


@pytest.mark.parametrize(("library", "method"), PAIRS)
def test_every_pair_is_there_or_not_as_the_library_says(library, method):
    there = in_library(library, method)
    assert (there is not None) == (method in THERE[library]), (library, method)
    if there is None:
        assert convention_of(library, method) is None
        return
    if library == TRL:
        module = grpo_trainer if "grpo" in there.place else rloo_trainer
        assert module.__file__.endswith(there.place.partition(",")[0])
        assert there.place.partition(", ")[2] in inspect.getsource(module)
        if there.setting.startswith("scale_rewards"):
            assert there.setting.split('"')[1] in inspect.getsource(
                GRPOConfig.__post_init__
            ) + inspect.getsource(module)
        assert there.trains_alone is False
        config = GRPOConfig if module is grpo_trainer else RLOOConfig
        assert "at least 2 generations" in inspect.getsource(config.__post_init__)
        assert float(there.kl.rpartition("= ")[2]) == config.__dataclass_fields__["beta"].default
    if library == VERL:
        name = there.setting.rpartition("=")[2]
        assert name in statements.VERL_ESTIMATORS or there.setting == "norm_adv_by_std_in_grpo=False"
    if library == OPENRLHF:
        assert there.setting.split()[-1] in statements.OPENRLHF_ESTIMATORS


def test_no_library_has_plain_reinforce():
    """Verl's estimators hold none; OpenRLHF's "reinforce" whitens, which makes it REINFORCE++."""
    assert not [library for library in LIBRARIES if in_library(library, "reinforce")]
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.float64)
    lengths = torch.tensor([[10.0, 20, 30, 40], [5, 5, 5, 5]], dtype=torch.float64)
    made = library_advantages(OPENRLHF, "reinforce++", rewards, lengths, lengths > 0)
    assert made[0, 0].item() == pytest.approx(2.2361, abs=1e-4)
    assert made[0, 1].item() == pytest.approx(-0.4472, abs=1e-4)
    assert in_library(OPENRLHF, "reinforce++").setting.endswith("reinforce")


@pytest.mark.slow
@pytest.mark.parametrize(("library", "method"), list(LIBRARY_METHODS))
@given(batches())
def test_advantages_are_those_of_the_librarys_own_statements(library, method, batch):
    rewards, lengths = batch
    made = library_advantages(library, method, rewards, lengths, lengths > 0)
    # verl adds 1e-8 to the number of tokens, and divides what that leaves by √1e-8 where all rewards agree
    slack = 1e-4 * float(rewards.abs().max() / lengths.sum()) if library == VERL else 0.0
    assert_close(made, theirs(library, method, rewards, lengths), atol=1e-6 + slack, rtol=1e-6)


@pytest.mark.parametrize(("library", "method"), list(LIBRARY_METHODS))
def test_a_group_of_one_is_what_the_library_makes_of_it(library, method):
    """OpenRLHF refuses it where a baseline is needed, and only there; REINFORCE++ whitens it."""
    rewards = torch.tensor([[0.7], [0.2], [0.1]], dtype=torch.float64)
    lengths = torch.tensor([[3.0], [1.0], [2.0]], dtype=torch.float64)
    made = library_advantages(library, method, rewards, lengths, lengths > 0)
    there = in_library(library, method)
    if library == OPENRLHF and method != "reinforce++":
        assert made.isnan().all()
        assert not there.trains_alone
        with pytest.raises(AssertionError, match="n_samples_per_prompt > 1"):
            theirs(library, method, rewards, lengths)
        return
    assert_close(made, theirs(library, method, rewards, lengths), atol=1e-6, rtol=1e-6)
    assert there.trains_alone == (library != TRL)


@pytest.mark.parametrize(("library", "method"), list(LIBRARY_METHODS))
def test_one_token_in_the_whole_batch(library, method):
    """Verl's sample variance refuses it; the population's, and what does not whiten, take it."""
    one = torch.ones(1, 1, dtype=torch.float64)
    made = library_advantages(library, method, one, one, one > 0)
    if library == VERL and method.startswith("reinforce++"):
        assert made is None
        with pytest.raises(ValueError, match="sum of the mask is one"):
            theirs(library, method, one, one)
        assert library_advantages(library, method, one, 2 * one, one > 0) is not None
    else:
        assert made is not None


def test_libraries_that_lay_groups_out_by_one_size_take_no_other():
    mask = torch.tensor([[True, True], [True, False]])
    lengths = torch.ones(2, 2, dtype=torch.float64)
    fits = {pair for pair, there in LIBRARY_METHODS.items() if takes(there, lengths, mask)}
    assert fits == {(VERL, method) for method in THERE[VERL]} | {(OPENRLHF, "reinforce++")}


def test_each_pair_names_its_own_loss():
    """TRL's RLOO trainer takes whole-sequence ratios; verl clips a second time."""
    assert in_library(TRL, "rloo").loss.level == "sequence_sum"
    assert in_library(TRL, "grpo").loss.level == "token"
    assert {in_library(VERL, method).loss.dual_clip for method in THERE[VERL]} == {3.0}
    assert {in_library(OPENRLHF, method).loss.dual_clip for method in THERE[OPENRLHF]} == {None}
