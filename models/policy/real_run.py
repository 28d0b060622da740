"""Real GRPO steps on a copy of a network, with a reward that a few lines of Python can check."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.loading import Network, fresh_copy, load
from models.networks.sampling import (
    answer_lengths,
    check_sampling,
    end_tokens,
    prompt_ids,
    sample,
    texts_of,
)
from models.networks.tokens import labels
from models.policy.group_advantages import METHODS, advantages, check_lengths
from models.policy.losses import PolicyLoss, Rollout, check_loss, gradients, kl_terms

RewardName = Literal["quote", "word", "lipogram"]
REWARD_NAMES: tuple[RewardName, ...] = get_args(RewardName)
MOST_STEPS = 60
MOST_ANSWERS = 16
GRADIENT_NORM = 1.0
GROUP_LOSS = PolicyLoss(aggregation="sequence_mean", longest=32)  # GRPO as it was published, β = 0
QUOTES = ('"', "”")


@dataclass(frozen=True)
class PolicyRun:
    """One run. ``word`` is what the "word" reward looks for."""

    prompt: str
    network: str = DEFAULT
    reward: RewardName = "quote"
    word: str = "sea"
    answers: int = 8
    new_tokens: int = 32
    temperature: float = 1.0
    advantage: str = "grpo"  # a name of models.policy.group_advantages.METHODS
    loss: PolicyLoss = GROUP_LOSS
    updates: int = 1  # μ: on each batch of answers
    learning_rate: float = 1e-4
    steps: int = 10
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Answers:
    """What one step sampled and what it did with it; on the CPU, padding where ``mask`` is 0."""

    texts: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]  # each answer's tokens, readable
    rewards: Float[Tensor, " answers"]
    advantages: Float[Tensor, " answers"]
    weights: Float[Tensor, "answers tokens"]  # −∂loss/∂ln π of each token: above 0 it becomes likelier
    ratios: Float[Tensor, "answers tokens"]  # π/π_old after the update
    mask: Float[Tensor, "answers tokens"]
    step: int
    loss: float  # of the first update: the KL term included
    gradient_norm: float  # of the network's parameters, before it is clipped
    kl: float  # k3 to the network as it ships, nats a token
    seconds: float


def check_run(run: PolicyRun) -> int:
    """The prompt's tokens. Raises InputError, with one sentence, on a run that cannot be."""
    network = load(run.network)
    if network.entry.kind != "causal":
        raise InputError("{name} is an encoder: it cannot go on with a text.", name=run.network)
    if not 2 <= run.answers <= MOST_ANSWERS:
        raise InputError("A group here has from 2 to {most} answers.", most=MOST_ANSWERS)
    if not (0 < run.learning_rate <= 1 and 1 <= run.steps <= MOST_STEPS and 1 <= run.updates <= 8):
        raise InputError(
            "A run takes 1 to {most} steps of 1 to 8 updates, with a learning rate above 0 and at most 1.",
            most=MOST_STEPS,
        )
    if run.temperature == 0:
        raise InputError("At temperature 0 all answers are the same; choose a higher one.")
    if run.reward == "word" and not run.word.strip():
        raise InputError("Type the word that the reward looks for.")
    check_loss(run.loss)
    count = len(prompt_ids(network.tokenizer, run.prompt, network.context))
    check_sampling(count, run.answers, run.new_tokens, run.temperature, network.context)
    return count


def reward_of(text: str, reward: RewardName, word: str) -> float:
    """What an answer earns.

    "quote": 1 where it closes a quotation mark; "word": 1 where it contains the word; "lipogram": the
    share of its words without the letter e.
    """
    if reward == "quote":
        return float(any(mark in text for mark in QUOTES))
    if reward == "word":
        return float(word.strip().lower() in text.lower())
    words = re.findall(r"[^\W\d_]+", text)
    return sum("e" not in word.lower() for word in words) / max(1, len(words))


def train(run: PolicyRun) -> Iterator[Answers]:
    """Run GRPO, and yield each step's answers. Raises InputError before any work.

    The network is a copy: nothing that other sessions use is touched. Closing the generator ends it.
    """
    check_run(run)
    network = load(run.network)
    model = fresh_copy(run.network).requires_grad_()
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(run.seed)
    prompt = torch.tensor(prompt_ids(network.tokenizer, run.prompt, network.context))
    for step in range(run.steps):
        began = time.perf_counter()
        tokens, _ = sample(model, prompt, run.answers, run.new_tokens, run.temperature, generator)
        yield _step(run, network, model, optimizer, prompt, tokens, step, began)


def _step(
    run: PolicyRun,
    network: Network,
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    prompt: Int[Tensor, " prompt"],
    tokens: Int[Tensor, "answers tokens"],
    step: int,
    began: float,
) -> Answers:
    """Rewards, advantages and the updates on one group of answers."""
    lengths = answer_lengths(tokens, end_tokens(model))
    mask = (torch.arange(run.new_tokens) < lengths[:, None]).float()
    texts = texts_of(network.tokenizer, tokens, lengths)
    rewards = torch.tensor([reward_of(text, run.reward, run.word) for text in texts])
    found = group_advantages(run, rewards, lengths)
    with torch.no_grad():
        old = answer_log_probabilities(model, prompt, tokens, run.temperature)
        reference = answer_log_probabilities(network.model, prompt, tokens, run.temperature)
    first: tuple[float, float, Tensor] | None = None
    for _update in range(run.updates):
        log_p = answer_log_probabilities(model, prompt, tokens, run.temperature)
        rollout = Rollout(log_p.detach(), old, reference, found, mask)
        parts, of_policy, of_kl = gradients(rollout, run.loss)
        optimizer.zero_grad()
        log_p.backward(of_policy + of_kl)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM))
        optimizer.step()
        first = first or (float(parts.total), norm, -(of_policy + of_kl))
    assert first is not None
    with torch.no_grad():
        after = answer_log_probabilities(model, prompt, tokens, run.temperature)
    kl = (kl_terms(old, reference, "k3") * mask).sum() / mask.sum()
    return Answers(
        texts,
        tuple(
            _labels(network.tokenizer, row[:length]) for row, length in zip(tokens, lengths, strict=True)
        ),
        rewards,
        found,
        first[2],
        (after - old).exp(),
        mask,
        step,
        first[0],
        first[1],
        float(kl),
        time.perf_counter() - began,
    )


def _labels(tokenizer: PreTrainedTokenizerBase, row: Int[Tensor, " tokens"]) -> tuple[str, ...]:
    return labels(tokenizer, tuple(row.tolist()))


def group_advantages(
    run: PolicyRun, rewards: Float[Tensor, " answers"], lengths: Int[Tensor, " answers"]
) -> Float[Tensor, " answers"]:
    """Advantages of the one group that a step samples."""
    counted = lengths.float()[None]
    check_lengths(counted)
    return advantages(rewards[None], METHODS[run.advantage], counted)[0]


def answer_log_probabilities(
    model: PreTrainedModel,
    prompt: Int[Tensor, " prompt"],
    tokens: Int[Tensor, "answers tokens"],
    temperature: float,
) -> Float[Tensor, "answers tokens"]:
    """Ln π of each answer's tokens at that temperature, in one pass; nats, on the CPU in float32."""
    ids = torch.cat([prompt.expand(len(tokens), -1), tokens], dim=1).to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[:, len(prompt) - 1 : -1]
    scores = logits.float() / temperature
    return -cross_entropy(scores.transpose(1, 2), ids[:, len(prompt) :], reduction="none").cpu()


def pass_rate(answers: Answers) -> float:
    """Mean reward of a step's answers."""
    return float(answers.rewards.mean())
