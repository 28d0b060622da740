"""What the policy lesson asserts, at its links and at other settings of the same views."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from components.panels.policy.conventions import LibraryConventions, advantages_by_library, checks
from components.panels.policy.conventions import settings_table as library_table
from components.panels.policy.gae import GeneralisedAdvantages
from components.panels.policy.group import GroupCalculator, average_table
from components.panels.policy.learning import LiveLearning
from components.panels.policy.zero_loss import LossOfZero, verdict
from components.panels.policy.zero_loss import surrogate_check as zero_check
from models.policy.dead_groups import dead_share, deadness
from models.policy.gae import advantages as gae
from models.policy.group_advantages import METHODS, advantages
from models.policy.kl_estimators import gradient_of, pair, true_gradients, value_of
from models.policy.lab import train as learn
from models.policy.libraries import LIBRARIES
from models.policy.losses import (
    AGGREGATIONS,
    Rollout,
    gradients,
    is_clipped,
    kl_terms,
    ratios,
    token_weights,
)
from tests.pages.screen import all_links

LENGTHS = ("10", "40, 120, 90, 60", "3, 3, 3, 200")
REWARDS = ("1, 0, 0, 0", "0, 1, 1, 0", "0.2, 0.9, 0.4, 1")


def first_update(view: LossOfZero) -> tuple[float, float, float, float]:
    """Values of the policy's part and of β·KL, and the lengths of their gradients."""
    parts, policy, kl = view.taken_apart()[0]
    return float(parts.policy), float(parts.kl), float(policy.norm()), float(kl.norm())


@pytest.mark.parametrize("rewards", REWARDS)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "rloo", "batch"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_loss_zero_is_0_where_answers_weigh_the_same_and_a_record_of_lengths_elsewhere(
    aggregation, method, lengths, rewards
):
    view = LossOfZero.at(group=rewards, tokens=lengths, method=method, aggregation=aggregation)
    value, _, push, _ = first_update(view)
    made, counts = view.advantages, view.lengths
    assert push > 1e-4  # its gradient never is 0
    expected = {
        "sequence_mean": 0.0,
        "token_mean": -float((made * counts).sum() / counts.sum()),
        "constant": -float((made * counts).sum() / (len(made) * counts.max())),
        "sequence_sum": -float((made * counts).sum() / len(made)),
    }[aggregation]
    assert value == pytest.approx(expected, abs=1e-12)
    alike = aggregation == "sequence_mean" or len(counts.unique()) == 1
    assert (abs(value) < 1e-9) == alike
    assert zero_check(view.rollouts(1)[0], view.loss, view.taken_apart()[0][1]).holds


def test_the_public_example_of_a_loss_that_is_not_0():
    """trl#2995: one right and short answer of four; what three averages make of it."""
    query = "policy_view=zero&policy_tokens=40%2C120%2C90%2C60&policy_aggregation="
    found = {name: first_update(LossOfZero.from_query(query + name))[0] for name in AGGREGATIONS}
    assert found["sequence_mean"] == pytest.approx(0, abs=1e-12)
    assert found["token_mean"] == pytest.approx(0.2418871, abs=1e-6)
    longest = {"longest": 512}
    view = LossOfZero.at(tokens="40,120,90,60", aggregation="constant")
    value = gradients(view.rollouts(1)[0], replace(view.loss, **longest))[0].policy
    assert float(value) == pytest.approx(0.0366138, abs=1e-6)
    (link,) = {link.query for link in all_links("policy") if "policy_tokens" in link.query}
    assert first_update(LossOfZero.from_query(link))[0] > 0.2


@pytest.mark.parametrize("link", ["rewards=1%2C0%2C0%2C0&policy_lengths=40%2C120%2C90%2C60"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_group_calculator_says_the_same_as_the_lesson(link, aggregation):
    view = GroupCalculator.from_query(
        f"policy_{link}&policy_ratios=1%2C1%2C1%2C1&policy_aggregation={aggregation}"
    )
    values = average_table(view.loss, view.computed())
    row = values.iloc[AGGREGATIONS.index(aggregation), 1]
    assert (abs(float(row)) < 1e-6) == (aggregation == "sequence_mean")


@pytest.mark.parametrize("group", ["1, 1, 1, 1", "0, 0", "1, 0, 0, 0", "0.7"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("away", [0.0, 0.1])
@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("tokens", ["10", "4"])
def test_the_verdict_reads_value_and_gradient_of_both_parts(tokens, method, away, beta, group):
    view = LossOfZero.at(group=group, beta=beta, away=away, method=method, tokens=tokens)
    value, kl, push, pull = first_update(view)
    said = verdict(view.advantages, *view.taken_apart()[0])
    expected = {
        "Nothing is learned": push < 1e-6 and pull < 1e-6,
        "The reward teaches nothing": push < 1e-6 <= pull,
        "The loss is 0 and learning": push >= 1e-6 and abs(value) < 1e-6 and abs(kl) < 1e-6,
        "β·KL alone": push >= 1e-6 and abs(value) < 1e-6 and abs(kl) >= 1e-6,
        "The loss is not 0": push >= 1e-6 and abs(value) >= 1e-6,
    }
    assert [words for words, holds in expected.items() if holds and words in said] == [
        words for words, holds in expected.items() if holds
    ], said
    assert ("do not add up to 0" in said) == (
        push >= 1e-6 and abs(value) >= 1e-6 and abs(float(view.advantages.sum())) > 1e-6
    )


@pytest.mark.parametrize("updates", [2, 8])
@pytest.mark.parametrize("move", [0.05, 0.3])
def test_from_the_second_update_on_the_value_moves(move, updates):
    values = [float(p.policy) for p, _, _ in LossOfZero.at(updates=updates, move=move).taken_apart()]
    assert abs(values[0]) < 1e-12
    assert all(abs(value) > 1e-4 for value in values[1:])
    kl = [float(p.kl) for p, _, _ in LossOfZero.at(updates=updates, beta=0.1, away=0.0).taken_apart()]
    assert kl[0] == 0
    assert kl[-1] > kl[0]


# The group calculator: what a reward moves, baselines, deviations, ε


@pytest.mark.parametrize(
    ("methods", "reach"),
    [
        (("grpo", "dr_grpo", "rloo"), "row"),
        (("batch", "reinforce++", "reinforce++ baseline"), "table"),
        (("reinforce",), "cell"),
    ],
)
def test_a_dragged_reward_moves_its_row_the_table_or_its_cell(methods, reach):
    for method in methods:
        before = GroupCalculator.at(method=method, cell="1.1")
        after = before.with_(reward=before.reward - 0.35)
        moved = (after.computed().advantages - before.computed().advantages).abs() > 1e-9
        expected = torch.zeros_like(moved)
        expected[{"row": 0, "table": slice(None), "cell": (0, 0)}[reach]] = True
        if method in ("batch", "reinforce++ baseline"):
            dead = before.computed().advantages.abs().nan_to_num() < 1e-9  # a 0 stays one
            expected = expected & (~dead | (torch.arange(len(dead))[:, None] == 0))
        assert torch.equal(moved, expected & before.groups.mask), method


@pytest.mark.parametrize("rewards", ["1,0,0,0", "0.3,0.1,0.9", "1,1,0,0,0,0,0,0"])
def test_rloo_is_grpo_without_division_times_a_constant(rewards):
    count = rewards.count(",") + 1
    query = {"rewards": rewards, "lengths": ",".join(["9"] * count), "ratios": ",".join(["1"] * count)}
    text = "&".join(f"policy_{key}={value}" for key, value in query.items())
    made = {
        m: GroupCalculator.from_query(f"{text}&policy_method={m}").computed() for m in ("dr_grpo", "rloo")
    }
    ratio = made["rloo"].advantages / made["dr_grpo"].advantages
    assert ratio.numpy() == pytest.approx(count / (count - 1))
    if rewards == "1,0,0,0":  # tinker-cookbook#579: .75 and −.25 against 1 and −.3333
        assert made["dr_grpo"].advantages[0].tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])
        assert made["rloo"].advantages[0].tolist() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize(("right", "of"), [(1, 8), (7, 8), (4, 8), (2, 6)])
def test_division_boosts_prompts_solved_nearly_always_or_nearly_never(right, of):
    rewards = torch.tensor([[1.0] * right + [0.0] * (of - right)], dtype=torch.float64)
    divided, plain = (advantages(rewards, METHODS[name]) for name in ("grpo", "dr_grpo"))
    boost = float((divided / plain)[0, 0])
    half = torch.tensor([[1.0] * (of // 2) + [0.0] * (of // 2)], dtype=torch.float64)
    least = float((advantages(half, METHODS["grpo"]) / advantages(half, METHODS["dr_grpo"]))[0, 0])
    assert boost >= least - 1e-9
    if (right, of) == (1, 8):
        assert float(divided[0, 0]) == pytest.approx(2.47, abs=0.005)
        assert float(plain[0, 0]) == 0.875


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_a_group_that_is_all_wrong_teaches_by_its_baseline_and_its_reward(method, wrong):
    rewards = torch.tensor([[1.0, 0.0, 1.0], [wrong] * 3], dtype=torch.float64)
    made = advantages(rewards, METHODS[method], torch.full((2, 3), 5.0).double())[1]
    if METHODS[method].baseline != "none":
        assert made.abs().max() < 1e-9
    elif method == "reinforce++":
        assert (made < -0.1).all()
    else:
        assert made.tolist() == [wrong] * 3  # 0 teaches nothing, −1 does


def test_the_linked_group_is_all_wrong():
    view = GroupCalculator.from_query("policy_cell=3.1")
    rewards = view.groups.rewards[2][view.groups.mask[2]]
    assert rewards.unique().tolist() == [0.0]
    assert (view.with_(method="reinforce++").computed().advantages[2] < 0).all()


# Libraries


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize(
    ("rewards", "lengths"),
    [
        ("1,0,0,0;1,1,0,0", "10,20,30,40;5,5,5,5"),
        ("0.7;0.2", "3;9"),
        ("1,0,0;1,0", "1,2,3;4,5"),
        ("1", "1"),
        ("1,1.0001;1,1", "7,7;7,7"),
        ("0,1e-12;1,1", "7,7;7,7"),
        ("0,1000000;5,1", "7.5,7;7,70000"),
        ("1,1;1,1", "1,1;1,1"),
    ],
)
def test_the_librarys_table_and_its_numbers_are_made_from_the_same_convention(rewards, lengths, method):
    ratios = ";".join(",".join("1" for _ in row.split(",")) for row in rewards.split(";"))
    view = LibraryConventions.from_query(
        f"policy_rewards={rewards}&policy_lengths={lengths}&policy_ratios={ratios}"
        f"&policy_method={method.replace('+', '%2B').replace(' ', '%20')}"
    )
    assert view.method == method
    by_library = advantages_by_library(view.groups, method)
    table = library_table(method, view.groups, by_library).set_index("Library")
    assert isinstance(table, pd.DataFrame)
    for library in LIBRARIES:
        said = " ".join(map(str, table.loc[library]))
        nothing = by_library[library] is None
        refusal = any(words in said for words in ("not there", "one size only", "one token"))
        assert nothing == refusal, (library, said)
        if not nothing and by_library[library].isnan()[view.groups.mask].any():
            assert table.loc[library, "A group of one gives"] == "refused"
    assert all(check.holds for check in checks(method, view.groups, by_library))


def test_only_openrlhfs_name_for_reinforce_is_another_method():
    table = library_table("reinforce", LibraryConventions.at().groups, dict.fromkeys(LIBRARIES))
    assert table["Method"].tolist() == [
        "not there",
        "not there",
        "not there: its “reinforce” is REINFORCE++",
    ]


# GAE


@pytest.mark.parametrize("values", ["0.5, 0.55, 0.4, 0.6, 0.7, 0.8", "0, 0, 9, -1, 2, 3"])
@pytest.mark.parametrize("after", ["0", "0.9"])
def test_at_both_ends_of_lambda_gae_is_what_the_lesson_says(after, values):
    view = GeneralisedAdvantages.at(gae_values=values, after=after)
    rewards, critic = view.steps
    returns = rewards.flip(0).cumsum(0).flip(0) + view.bootstrap
    assert view.at_decay(1.0).numpy() == pytest.approx((returns - critic).numpy())
    following = torch.cat([critic[1:], torch.tensor([view.bootstrap], dtype=critic.dtype)])
    assert view.at_decay(0.0).numpy() == pytest.approx((rewards + following - critic).numpy())
    assert (returns == returns[0]).all()  # with the reward at the end only the critic makes tokens differ


def test_an_ended_episode_has_no_value_behind_it_and_a_cut_off_one_has():
    """RoboVerse#814, rlevo#342: reward 1, V = 5, next state 100, γ .99: −4, not +95."""
    one, five = (torch.tensor([value], dtype=torch.float64) for value in (1.0, 5.0))
    assert gae(one, five, 0.99, 0.95).item() == pytest.approx(-4)
    assert gae(one, five, 0.99, 0.95, after=100.0).item() == pytest.approx(95)
    ended, cut = (GeneralisedAdvantages.at(gae_rewards="1", gae_values="5", after=a) for a in ("0", "100"))
    assert ended.at_decay(0.95).item() == -4
    assert cut.with_(discount=0.99).at_decay(0.95).item() == pytest.approx(95)


# Dead groups


@pytest.mark.parametrize(
    ("rate", "size", "expected"), [(0.02, 16, 0.7238), (0.5, 4, 0.125), (0.9, 8, 0.43)]
)
def test_shares_of_dead_groups(rate, size, expected):
    dead = float(deadness(torch.tensor([rate], dtype=torch.float64), size).dead[0])
    assert dead == pytest.approx(expected, abs=2e-3)
    for spread in (0.2, 0.5, 0.8):  # prompts that differ leave more of them
        assert sum(dead_share(rate, spread, size)) > dead


# KL


@pytest.mark.parametrize("distance", [0.1, 0.5, 1.2, 2.0])
def test_k3_is_unbiased_and_its_gradient_is_the_other_directions(distance):
    logits, reference = pair(6, distance, 0)
    log_p, log_r = logits.log_softmax(-1), reference.log_softmax(-1)
    p = log_p.exp()
    true = float((p * (log_p - log_r)).sum())
    means = {k: float((p * kl_terms(log_p, log_r, k)).sum()) for k in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(true)
    assert means["k3"] == pytest.approx(true)
    for k, sign in (("k2", True), ("k3", True), ("k1", False)):
        assert bool((kl_terms(log_p, log_r, k) >= 0).all()) == sign


@pytest.mark.parametrize("distance", [0.1, 0.6, 1.2, 2.0])
@pytest.mark.parametrize("seed", [0, 3])
def test_where_the_kl_stands_decides_its_gradient(seed, distance):
    """Zero for k1 in the loss, the KL's for k2, the other direction's for k3; the ratio mends k1 and k3."""
    logits, reference = pair(6, distance, seed)
    forward, reverse = true_gradients(logits, reference)
    expected = {
        ("k1", "loss"): torch.zeros_like(forward),
        ("k2", "loss"): forward,
        ("k3", "loss"): reverse,
        ("k1", "loss_corrected"): forward,
        ("k3", "loss_corrected"): forward,
        ("k1", "reward"): forward,
    }
    for (estimator, place), gradient in expected.items():
        found = gradient_of(logits, reference, estimator, place).mean
        assert found.numpy() == pytest.approx(gradient.numpy(), abs=1e-12), (estimator, place)
    assert gradient_of(logits, reference, "k2", "loss_corrected").error > 1e-4  # k2 it does not


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_k2_has_little_spread_and_is_biased_once_the_policies_are_apart(seed):
    near, far = ({k: value_of(*pair(6, d, seed), k) for k in ("k1", "k2", "k3")} for d in (0.05, 2.0))
    assert near["k1"].deviation > 5 * near["k2"].deviation
    assert near["k3"].deviation == pytest.approx(near["k2"].deviation, rel=0.25)
    assert abs(far["k2"].bias) > 0.1 * far["k1"].mean > 10 * abs(near["k2"].bias)
    assert abs(far["k3"].bias) < 1e-9


def test_a_difference_of_89_nats_is_finite_in_the_precision_of_the_page():
    """trl#3015: in float32 e^89 overflows; float64, which the page uses, holds it."""
    far, near = torch.tensor([-89.0]), torch.tensor([0.0])
    assert kl_terms(far, near, "k3").isinf().all()
    assert kl_terms(far.double(), near.double(), "k3").isfinite().all()
    assert kl_terms(far + 1, near, "k3").item() == pytest.approx(1.65e38, rel=0.01)


# The clip


@pytest.mark.parametrize(
    ("advantage", "ratio", "binds"),
    [(1, 1.5, True), (-1, 0.5, True), (-1, 1.5, False), (1, 0.5, False), (1, 1.0, False), (-1, 1.0, False)],
)
def test_the_clip_binds_on_the_side_that_the_advantage_pushes_to(advantage, ratio, binds):
    """trl#3144, #3032: the logged share once had its sign turned round. At ρ = 1 nothing is clipped."""
    column = torch.tensor([[math.log(ratio)]], dtype=torch.float64)
    zero, one = torch.zeros_like(column), torch.ones_like(column)
    rollout = Rollout(column, zero, zero, torch.tensor([float(advantage)], dtype=torch.float64), one)
    _, policy, _ = gradients(rollout, GroupCalculator.at().loss)
    assert bool((policy == 0).all()) == binds
    if advantage < 0 and ratio > 1:
        assert float(policy) == pytest.approx(ratio)  # the full, even growing, gradient


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.0, 0.0), (0.01, 0.28)])
def test_with_one_update_a_batch_nothing_is_ever_clipped(low, high):
    """trl#3120, #3757: the ratio is 1, so the clip share is exactly 0, always."""
    rollout = LossOfZero.at(tokens="3, 9, 1, 4").rollouts(1)[0]
    loss = replace(LossOfZero.at().loss, epsilon_low=low, epsilon_high=high)
    assert not is_clipped(ratios(rollout, "token"), rollout.advantages, loss).any()


def test_a_constant_length_divides_by_the_batch_as_well():
    """verl#3741: answers of 3 and 5 tokens with loss 1, L = 10: .8 summed, .4 as TRL's mean of answers."""
    mask = (torch.arange(5) < torch.tensor([[3], [5]])).double()
    weights = token_weights(mask, "constant", 10)
    assert float(weights.sum()) == pytest.approx(0.4)
    assert float(2 * weights.sum()) == pytest.approx(0.8)


# Learning


@pytest.mark.parametrize("seed", [0, 7])
def test_wrong_answers_stay_longer_where_each_answer_is_averaged_first(seed):
    """The link rewards right answers alone, so that nothing but the average speaks for length."""
    (query,) = {link.query for link in all_links("policy") if "policy_task=right" in link.query}
    view = LiveLearning.from_query(query).with_(seed=seed)
    assert view.task == "right"
    steps = list(learn(view.lab))
    lengths = torch.stack([step.wrong_length for step in steps]).nan_to_num()
    counted = torch.stack([1 - step.right for step in steps])  # late in the run few are wrong
    early = (lengths * counted)[20:40].sum((0, 2)) / counted[20:40].sum((0, 2))
    grpo, *others = early.tolist()
    assert view.algorithms[0] == "GRPO"
    assert grpo > 1.1 * max(others)
    assert grpo > float(steps[0].wrong_length.mean())  # it grows first


@pytest.mark.parametrize("epochs", [1, 6])
def test_the_clip_does_not_keep_ratios_inside(epochs):
    view = LiveLearning.at(algorithms=("GRPO",), epochs=epochs, lab_steps=30)
    share = [float(step.clipped.mean()) for step in learn(view.lab)]
    assert (max(share) > 0.01) == (epochs > 1)
