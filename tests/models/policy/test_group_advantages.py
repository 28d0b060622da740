"""Advantages: TRL's own lines, published vectors, and what must hold whatever the rewards."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn.functional import batch_norm
from torch.testing import assert_close
from trl.rewards import get_soft_overlong_punishment

from models.errors import InputError
from models.policy.group_advantages import (
    GRPO,
    METHODS,
    advantages,
    baseline,
    is_dead,
    soft_overlong,
)
from models.policy.libraries import convention_of
from tests.models.policy.trl_policy import grpo_advantages, rloo_advantages

REWARDS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(2, 9)),
    elements=st.floats(-10, 10).map(lambda x: round(x, 3)),
).map(torch.from_numpy)


@pytest.mark.slow
@given(REWARDS)
def test_grpo_is_trls_own_whatever_it_divides_by(rewards):
    for method, name in (("grpo", "group"), ("dr_grpo", "none"), ("batch", "batch")):
        assert_close(advantages(rewards, METHODS[method]), grpo_advantages(rewards, name))


@given(REWARDS)
def test_rloo_is_trls_own(rewards):
    assert_close(advantages(rewards, METHODS["rloo"]), rloo_advantages(rewards, normalize=False))
    normalized = replace(METHODS["rloo"], scale="whiten")
    assert_close(advantages(rewards, normalized), rloo_advantages(rewards, normalize=True))


@pytest.mark.parametrize(("single", "expected"), [("zero", 0.0), ("raw", 0.7)])
def test_a_group_of_one_is_nothing_or_the_reward_itself(single, expected):
    rewards = torch.tensor([[0.7], [0.7]], dtype=torch.float64)
    found = advantages(rewards, replace(GRPO, single=single, epsilon=0.0 if single == "raw" else 1e-4))
    assert_close(found, torch.full_like(rewards, expected))
    assert advantages(rewards, replace(GRPO, single="undefined")).isnan().all()


def test_a_group_of_one_in_trl_is_nothing():
    rewards = torch.tensor([[0.7], [0.2]], dtype=torch.float64)
    assert_close(advantages(rewards), grpo_advantages(rewards, "group"))
    assert_close(advantages(rewards, METHODS["rloo"]), rloo_advantages(rewards, normalize=False))


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1, 0, 0, 0], [1.4997, -0.4999, -0.4999, -0.4999]),
        ([1, 1, 0, 0], [0.8659, 0.8659, -0.8659, -0.8659]),
        ([1, 0, 0, 0, 0, 0, 0, 0], [2.4742] + 7 * [-0.3535]),
    ],
)
def test_published_vectors_of_the_libraries_default(rewards, expected):
    found = advantages(torch.tensor([rewards], dtype=torch.float64))[0]
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


def test_published_vectors_of_other_conventions():
    one = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)
    assert advantages(one, replace(GRPO, ddof=0))[0, 0].item() == pytest.approx(1.7317, abs=1e-4)
    assert advantages(one, METHODS["rloo"])[0].numpy() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    close = torch.tensor([[1.0, 1.00001]], dtype=torch.float64)
    assert advantages(close, convention_of("TRL 1.16", "grpo"))[0, 1].item() == pytest.approx(
        0.0467, abs=1e-4
    )
    assert advantages(close, convention_of("verl", "grpo"))[0, 1].item() == pytest.approx(0.62, abs=5e-3)


@given(REWARDS, st.integers(0, 3))
def test_whitened_by_token_is_torchs_batch_norm_of_the_tokens(rewards, seed):
    """REINFORCE++: every token of an answer carries its advantage; moments over all tokens."""
    lengths = torch.randint(1, 9, rewards.shape, generator=torch.Generator().manual_seed(seed)).double()
    tokens = rewards.flatten().repeat_interleave(lengths.flatten().long())
    count = len(tokens)
    if tokens.std(correction=0) < 1e-2:
        return  # ε decides
    first = lengths.flatten().long().cumsum(0) - lengths.flatten().long()
    population = batch_norm(tokens[:, None], None, None, training=True, eps=1e-8)[first, 0]
    for library, factor in (("verl", ((count - 1) / count) ** 0.5), ("OpenRLHF", 1.0)):
        found = advantages(rewards, convention_of(library, "reinforce++"), lengths)
        assert_close(found.flatten(), factor * population, rtol=1e-3, atol=1e-3)


@given(REWARDS)
def test_a_shift_of_a_groups_rewards_changes_nothing_with_a_baseline(rewards):
    shift = torch.arange(len(rewards), dtype=torch.float64)[:, None]
    for method in ("grpo", "dr_grpo", "rloo", "reinforce++ baseline"):
        convention = METHODS[method]
        assert_close(
            advantages(rewards + shift, convention), advantages(rewards, convention), atol=1e-6, rtol=1e-6
        )


@given(REWARDS)
def test_leave_one_out_is_the_group_mean_times_a_constant(rewards):
    count = rewards.shape[1]
    expected = count / (count - 1) * advantages(rewards, METHODS["dr_grpo"])
    assert_close(advantages(rewards, METHODS["rloo"]), expected)


@given(REWARDS)
def test_a_dead_group_has_no_advantage(rewards):
    rewards[0] = rewards[0, 0]
    assert is_dead(rewards)[0]
    for method in ("grpo", "dr_grpo", "batch", "rloo"):
        assert advantages(rewards, METHODS[method])[0].abs().max() < 1e-6


@st.composite
def ragged(draw):
    """Rewards, lengths and a mask of groups of 1 to 6 answers; what is masked is anything."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    shape = len(sizes), max(sizes)
    rewards = torch.randint(-9, 9, shape, generator=generator).double()
    lengths = torch.randint(1, 9, shape, generator=generator).double()
    mask = torch.arange(shape[1]) < torch.tensor(sizes)[:, None]
    return rewards.where(mask, torch.inf), lengths.where(mask, -3.0), mask


@given(ragged())
def test_groups_of_several_sizes_are_pandas_groups(table):
    """Means, deviations and ranks by group as pandas' groupby finds them."""
    rewards, lengths, mask = table
    group = mask.nonzero()[:, 0].numpy()
    frame = pd.Series(rewards[mask].numpy())
    by_group = frame.groupby(group)
    count = by_group.transform("count")
    deviation = by_group.transform("std").fillna(0.0)
    centred = frame - by_group.transform("mean")
    others = (by_group.transform("sum") - frame) / (count - 1)
    expected = {
        "grpo": centred / (deviation + 1e-4),
        "dr_grpo": centred,
        "batch": centred / ((frame.std() if len(frame) > 1 else 0.0) + 1e-4),
        "rloo": (frame - others).where(count > 1, 0.0),
    }
    for method, values in expected.items():
        made = advantages(rewards, METHODS[method], lengths, mask)
        assert made[~mask].isnan().all()
        assert made[mask].numpy() == pytest.approx(values.to_numpy(), abs=1e-9), method
    alive = by_group.std(ddof=0) > 1e-8
    assert is_dead(rewards, mask).tolist() == (~alive).tolist()


@given(ragged())
def test_whitening_counts_the_tokens_of_the_answers_that_there_are(table):
    rewards, lengths, mask = table
    tokens = rewards[mask].repeat_interleave(lengths[mask].long())
    spread = float(tokens.std()) if len(tokens) > 1 else 0.0
    made = advantages(rewards, METHODS["reinforce++"], lengths, mask)
    assert_close(made[mask], (rewards[mask] - tokens.mean()) / (spread + 1e-4))


@given(REWARDS)
def test_a_mask_over_all_cells_changes_nothing(rewards):
    mask = torch.ones_like(rewards, dtype=torch.bool)
    for convention in METHODS.values():
        assert torch.equal(advantages(rewards, convention), advantages(rewards, convention, None, mask))


def test_a_group_without_an_answer_is_refused_and_one_alone_may_be_undefined():
    rewards = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    with pytest.raises(InputError, match="row 2 has no answer"):
        advantages(rewards, GRPO, None, torch.tensor([[True, True], [False, False]]))
    alone = advantages(
        rewards, replace(GRPO, single="undefined"), None, torch.tensor([[True] * 2, [True, False]])
    )
    assert alone.isnan().tolist() == [[False, False], [True, True]]


def test_without_a_baseline_nothing_is_subtracted():
    rewards = torch.tensor([[1.0, 0.0]])
    assert not baseline(rewards, METHODS["reinforce"]).any()
    assert_close(advantages(rewards, METHODS["reinforce"]), rewards)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(1, 20))
def test_the_overlong_penalty_is_trls(lengths, cache):
    theirs = get_soft_overlong_punishment(max_completion_len=20, soft_punish_cache=cache)
    expected = theirs([[0] * length for length in lengths])
    found = soft_overlong(torch.tensor([lengths], dtype=torch.float64), 20.0, float(cache))
    assert found[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([[0.0, 1.0], [2.0, float("nan")]], "row 2, column 2"),
        ([[float("inf"), 1.0]], "row 1, column 1"),
        ([[0.0]] * 2_000, "2000 groups"),
        ([[]], "0 answers"),
    ],
)
def test_what_is_no_table_of_rewards_is_refused(rewards, words):
    with pytest.raises(InputError, match=words):
        advantages(torch.tensor(rewards))


def test_lengths_and_the_cache_are_checked():
    ones = torch.ones(2, 2)
    with pytest.raises(InputError, match=r"row 1, column 2 is 0;"):
        advantages(ones, METHODS["reinforce++"], torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    with pytest.raises(InputError, match="cache"):
        soft_overlong(ones, 10.0, 11.0)


@given(REWARDS, st.integers(0, 3))
def test_reinforce_with_a_baseline_counts_tokens_once_the_groups_mean_is_gone(rewards, seed):
    """REINFORCE++ baseline: rewards less their group's mean, then whitened over the tokens of the batch."""
    lengths = torch.randint(1, 9, rewards.shape, generator=torch.Generator().manual_seed(seed)).double()
    counts = lengths.flatten().long()
    centred = rewards - rewards.mean(dim=1, keepdim=True) if rewards.shape[1] > 1 else 0 * rewards
    tokens = centred.flatten().repeat_interleave(counts)
    if tokens.std(correction=0) < 1e-2:
        return  # ε decides
    whitened = batch_norm(tokens[:, None], None, None, training=True, eps=1e-8)[
        counts.cumsum(0) - counts, 0
    ]
    found = advantages(rewards, convention_of("OpenRLHF", "reinforce++ baseline"), lengths)
    kept = found.isfinite().flatten()
    assert_close(found.flatten()[kept], whitened[kept], rtol=1e-3, atol=1e-3)


def test_lengths_change_reinforce_with_a_baseline():
    rewards = torch.tensor([[1.0, 0.0, 0.25], [0.5, -1.0, 2.0]], dtype=torch.float64)
    even, uneven = torch.full((2, 3), 7.0).double(), torch.tensor([[1.0, 90, 1], [50, 1, 1]]).double()
    for method in ("reinforce++", "reinforce++ baseline"):
        by_answer, by_token = (advantages(rewards, METHODS[method], lengths) for lengths in (even, uneven))
        assert (by_answer - by_token).abs().min() > 0.05
