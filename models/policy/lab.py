"""A small policy trained live: several algorithms and seeds as one batch, on the same random numbers.

The policy is a table of logits, [prompt, last token, next token]. Token 0 ends the answer, each other
one is a word. An answer is right if its last word is the prompt's own; prompts differ in how likely
that is at first. Actions are drawn by inverting the distribution with uniform numbers that all
algorithms of a seed share.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.policy.group_advantages import METHODS, ZERO, advantages, is_dead
from models.policy.losses import PolicyLoss, Rollout, kl_terms, token_losses, token_weights

Reward = Literal["right", "hackable", "hard"]
REWARDS: tuple[Reward, ...] = get_args(Reward)
WORDS = 5  # and the end
PROMPTS = 6
LONGEST = 12  # tokens of an answer
LENGTH_BONUS = 0.6  # of the hackable reward, for an answer of LONGEST tokens
MOST_STEPS = 400


@dataclass(frozen=True)
class Algorithm:
    """How advantages are made and what loss they go into."""

    advantage: str  # a name of models.policy.group_advantages.METHODS
    loss: PolicyLoss
    dynamic: bool = False  # DAPO's dynamic sampling: the mean is over living groups only


CLIP = PolicyLoss(aggregation="sequence_mean", longest=LONGEST)
ALGORITHMS: dict[str, Algorithm] = {
    "GRPO": Algorithm("grpo", CLIP),
    "Dr. GRPO": Algorithm("dr_grpo", replace(CLIP, aggregation="constant")),
    "DAPO": Algorithm("grpo", replace(CLIP, aggregation="token_mean", epsilon_high=0.28), dynamic=True),
    "GSPO": Algorithm("grpo", replace(CLIP, level="sequence", epsilon_low=3e-2, epsilon_high=4e-2)),
    "CISPO": Algorithm("grpo", replace(CLIP, kind="cispo", aggregation="token_mean", cap=5.0)),
    "SAPO": Algorithm("grpo", replace(CLIP, kind="sapo")),
    "RLOO": Algorithm("rloo", replace(CLIP, level="sequence_sum")),
    "REINFORCE++": Algorithm("reinforce++", replace(CLIP, aggregation="token_mean")),
    "REINFORCE": Algorithm("reinforce", replace(CLIP, kind="reinforce", aggregation="token_mean")),
}


@dataclass(frozen=True)
class Lab:
    """One experiment."""

    algorithms: tuple[str, ...] = ("GRPO", "Dr. GRPO", "RLOO")
    reward: Reward = "right"
    answers: int = 8  # G
    rate: float = 0.05  # of Adam on the logits
    epochs: int = 2  # updates on each batch of answers: from the second on ρ leaves 1
    beta: float = 0.0
    entropy: float = 0.0
    steps: int = 120
    seeds: int = 6
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """What one step saw, by algorithm and seed."""

    right: Float[Tensor, "algorithms seeds"]  # share of answers that end in the right word
    reward: Float[Tensor, "algorithms seeds"]
    length: Float[Tensor, "algorithms seeds"]  # tokens, the end included
    wrong_length: Float[Tensor, "algorithms seeds"]  # of wrong answers; NaN where there are none
    entropy: Float[Tensor, "algorithms seeds"]  # nats a token
    kl: Float[Tensor, "algorithms seeds"]  # k3 to the first policy, nats a token
    dead: Float[Tensor, "algorithms seeds"]  # share of groups whose rewards agree
    clipped: Float[Tensor, "algorithms seeds"]  # share of tokens with |ρ − 1| > 0.2 after the last update


def check(lab: Lab) -> None:
    """Raises InputError, with one sentence, on an experiment that cannot be run."""
    unknown = [name for name in lab.algorithms if name not in ALGORITHMS]
    if unknown or not lab.algorithms:
        raise InputError("Choose at least one algorithm of the list.")
    if not (2 <= lab.answers <= 64 and 1 <= lab.seeds <= 16 and 1 <= lab.steps <= MOST_STEPS):
        raise InputError(
            "A group has 2 to 64 answers; up to 16 seeds and {most} steps are accepted.", most=MOST_STEPS
        )
    if not (0 < lab.rate <= 10 and 1 <= lab.epochs <= 8 and 0 <= lab.beta <= 10 and 0 <= lab.entropy <= 10):
        raise InputError("The learning rate must lie above 0 and at most 10, with 1 to 8 updates a batch.")


def first_logits(seed: int, reward: Reward) -> Float[Tensor, "prompts last next"]:
    """The policy at the start: some noise, and each prompt's own word rarer than the one before's.

    With the "hard" reward the own word is rare everywhere, so that nearly every group is all wrong.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = 0.3 * torch.randn(PROMPTS, WORDS + 1, WORDS + 1, generator=generator)
    for prompt in range(PROMPTS):
        rarity = 3.5 if reward == "hard" else 0.4 * prompt
        logits[prompt, :, own_word(prompt)] -= rarity
    logits[:, 0, 0] -= 4.0  # an answer rarely begins with its end
    return logits


def own_word(prompt: int) -> int:
    return 1 + prompt % WORDS


def train(lab: Lab) -> Iterator[Step]:
    """Run it, and yield what each step saw. Raises InputError before any work."""
    check(lab)
    count = len(lab.algorithms)
    starts = torch.stack([first_logits(lab.seed + seed, lab.reward) for seed in range(lab.seeds)])
    logits = starts.expand(count, *starts.shape).clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=lab.rate)
    generator = torch.Generator().manual_seed(lab.seed)
    for _step in range(lab.steps):
        uniform = torch.rand(lab.seeds, PROMPTS, lab.answers, LONGEST, generator=generator)
        before = logits.detach().clone()
        tokens = sample(before, uniform)
        mask = answer_mask(tokens)
        rewards, right = reward_of(tokens, mask, lab.reward)
        old = log_probabilities(before, tokens)
        first = log_probabilities(starts.expand_as(before), tokens)
        batch = _batch(lab, tokens, mask, rewards, old, first)
        for _epoch in range(lab.epochs):
            _update(lab, logits, batch, optimizer)
        yield _seen(before, logits.detach(), batch, rewards, right)


def sample(
    logits: Float[Tensor, "algorithms seeds prompts last next"],
    uniform: Float[Tensor, "seeds prompts answers tokens"],
) -> Int[Tensor, "algorithms seeds prompts answers tokens"]:
    """Answers by inverting the distribution of each next token; all tokens after an end are ends."""
    edges = logits.softmax(-1).cumsum(-1)[..., :-1]  # a uniform number above the last edge is the last word
    shape = (len(logits), *uniform.shape[:3])
    last, is_over = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    tokens = []
    for step in range(uniform.shape[-1]):
        index = last[..., None].expand(*shape, edges.shape[-1])
        chosen = (uniform[..., step, None] > edges.gather(3, index)).sum(-1)
        last = torch.where(is_over, 0, chosen)
        is_over = is_over | (last == 0)
        tokens.append(last)
    return torch.stack(tokens, dim=-1)


def answer_mask(
    tokens: Int[Tensor, "*batch tokens"],
) -> Bool[Tensor, "*batch tokens"]:
    """Tokens up to the first end, that included."""
    ended_before = (tokens == 0).cumsum(-1) - (tokens == 0).long()
    return ended_before == 0


def reward_of(
    tokens: Int[Tensor, "algorithms seeds prompts answers tokens"],
    mask: Bool[Tensor, "algorithms seeds prompts answers tokens"],
    reward: Reward,
) -> tuple[
    Float[Tensor, "algorithms seeds prompts answers"], Float[Tensor, "algorithms seeds prompts answers"]
]:
    """The reward, and whether the answer is right: it ends, and its last word is the prompt's own.

    "hackable" adds LENGTH_BONUS · length/LONGEST, right or wrong, as a judge does that likes long answers.
    """
    length = mask.sum(-1)
    has_end = (tokens == 0).any(-1)
    last = tokens.gather(-1, (length - 2).clamp(min=0)[..., None])[..., 0]
    own = torch.tensor([own_word(prompt) for prompt in range(PROMPTS)])[:, None]
    right = (has_end & (last == own)).float()
    bonus = LENGTH_BONUS * length / LONGEST if reward == "hackable" else 0.0
    return right + bonus, right


def log_probabilities(
    logits: Float[Tensor, "algorithms seeds prompts last next"],
    tokens: Int[Tensor, "algorithms seeds prompts answers tokens"],
) -> Float[Tensor, "algorithms seeds prompts answers tokens"]:
    """Ln π of each token given the one before it; the first follows token 0."""
    before = torch.cat([torch.zeros_like(tokens[..., :1]), tokens[..., :-1]], dim=-1)
    table = logits.log_softmax(-1).flatten(-2)
    place = (before * logits.shape[-1] + tokens).flatten(-2)
    return table.gather(-1, place).unflatten(-1, tokens.shape[-2:])


@dataclass(frozen=True, eq=False)
class _Batch:
    """The answers of one step, and what does not change while the policy is updated on them."""

    tokens: Int[Tensor, "algorithms seeds prompts answers tokens"]
    mask: Bool[Tensor, "algorithms seeds prompts answers tokens"]
    advantages: Float[Tensor, "algorithms seeds prompts answers"]
    weights: Float[Tensor, "algorithms seeds prompts answers tokens"]  # what each token counts
    old: Float[Tensor, "algorithms seeds prompts answers tokens"]
    first: Float[Tensor, "algorithms seeds prompts answers tokens"]


def _batch(lab: Lab, tokens: Tensor, mask: Tensor, rewards: Tensor, old: Tensor, first: Tensor) -> _Batch:
    made, weights = torch.zeros_like(rewards), torch.zeros_like(old)
    for place, name in enumerate(lab.algorithms):
        algorithm = ALGORITHMS[name]
        for seed in range(lab.seeds):
            here = rewards[place, seed]
            counted = mask[place, seed].float()
            made[place, seed] = advantages(here, METHODS[algorithm.advantage], counted.sum(-1))
            if algorithm.dynamic:
                counted = counted * ~is_dead(here)[:, None, None]
            loss = algorithm.loss
            flat = token_weights(counted.flatten(0, 1), loss.aggregation, loss.longest)
            weights[place, seed] = flat.view_as(counted)
    return _Batch(tokens, mask, made, weights, old, first)


def _update(lab: Lab, logits: Tensor, batch: _Batch, optimizer: torch.optim.Optimizer) -> None:
    """One step of Adam. Losses of algorithms and seeds are added: each has logits of its own."""
    with torch.enable_grad():
        log_p = log_probabilities(logits, batch.tokens)
        total = -lab.entropy * _entropy(logits).sum()
        for place, name in enumerate(lab.algorithms):
            rollout = Rollout(
                log_p[place].flatten(0, 2),
                batch.old[place].flatten(0, 2),
                batch.first[place].flatten(0, 2),
                batch.advantages[place].flatten(),
                batch.mask[place].float().flatten(0, 2),
            )
            each = token_losses(rollout, ALGORITHMS[name].loss)
            if lab.beta:
                each = each + lab.beta * kl_terms(rollout.log_p, rollout.reference, "k3")
            total = total + (each * batch.weights[place].flatten(0, 2)).sum()
        (logits.grad,) = torch.autograd.grad(total, logits)
    optimizer.step()


def _entropy(logits: Tensor) -> Float[Tensor, "algorithms seeds"]:
    """Mean entropy of the next token over prompts and last tokens, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean((2, 3))


def _seen(before: Tensor, after: Tensor, batch: _Batch, rewards: Tensor, right: Tensor) -> Step:
    mask, wrong = batch.mask, 1 - right
    length, count = mask.sum(-1).float(), mask.sum((2, 3, 4))
    ratio = (log_probabilities(after, batch.tokens) - batch.old).exp()
    return Step(
        right.mean((2, 3)),
        rewards.mean((2, 3)),
        length.mean((2, 3)),
        (length * wrong).sum((2, 3)) / wrong.sum((2, 3)),
        _entropy(before),
        (kl_terms(batch.old, batch.first, "k3") * mask).sum((2, 3, 4)) / count,
        (rewards.std(-1, correction=0) <= ZERO).float().mean(-1),
        (((ratio - 1).abs() > 0.2) & mask).sum((2, 3, 4)) / count,
    )
