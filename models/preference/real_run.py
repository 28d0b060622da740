"""A few real preference steps on a network: a copy is trained, the network itself is the reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from models.errors import InputError
from models.networks.loading import Network, fresh_copy, load
from models.networks.scoring import AnswerBatch, AnswerScore, answer_batch, score
from models.networks.tokens import labels
from models.preference.losses import OVER_THE_BATCH, LossSettings, Pairs
from models.preference.relatives import LOSSES

MOST_STEPS = 50
CONTINUATION = 16  # tokens that the policy is asked for, greedily
LARGEST_TRAINED = 200_000_000  # parameters; a copy, its gradients and Adam's two moments lie in memory


@dataclass(frozen=True)
class Duel:
    """One pair on one network, and how it is trained. Zero steps only score."""

    network: str
    prompt: str
    chosen: str
    rejected: str
    loss: str = "sigmoid"
    settings: LossSettings = field(default_factory=LossSettings)
    steps: int = 10
    learning_rate: float = 1e-4
    noise: float = 0.0  # of the reference: its matrices get so much of their own deviation as noise
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES or self.loss in OVER_THE_BATCH:
            raise InputError("A single pair cannot be trained with {name}.", name=repr(self.loss))
        if not (0 <= self.steps <= MOST_STEPS and 0 < self.learning_rate <= 1 and 0 <= self.noise <= 1):
            raise InputError(
                "A run takes at most {most} steps, a learning rate above 0 and at most 1, "
                "and noise from 0 to 1.",
                most=MOST_STEPS,
            )


@dataclass(frozen=True, eq=False)
class TokenPull:
    """One answer under the present policy: each token, and what the loss asks of it."""

    score: AnswerScore
    by_log_probability: Float[np.ndarray, " token"]  # ∂L/∂log π of the token: alike for all that are summed
    by_logits: Float[np.ndarray, " token"]  # ‖∂L/∂logits‖ at its place: small where the token is certain


@dataclass(frozen=True, eq=False)
class Progress:
    """A run so far; curves hold one value a step, from before the first on."""

    step: int
    losses: Float[np.ndarray, " step"]
    chosen: Float[np.ndarray, " step"]  # log π(y_w), summed over its tokens
    rejected: Float[np.ndarray, " step"]
    reference: tuple[AnswerScore, AnswerScore]
    pulls: tuple[TokenPull, TokenPull]
    continuation: str  # what the policy says to the prompt by itself


def train_on_pair(duel: Duel) -> Iterator[Progress]:
    """Score the pair, then take AdamW steps on it, yielding before each and after the last.

    The policy is a copy: nothing that other sessions use is touched. Raises InputError before any work
    where the texts or the network cannot be used.
    """
    # in the copy's own precision: rounded otherwise, policy and reference would differ before any step
    network = load(duel.network, "cpu", torch.float32)
    answers = (duel.chosen, duel.rejected)
    batch = answer_batch(network, duel.prompt, answers)
    if duel.steps and (network.entry.parameters or 0) > LARGEST_TRAINED:
        raise InputError(
            "{name} is too large to be trained here; networks up to {most} parameters are. "
            "With 0 steps it can be scored.",
            name=network.entry.name,
            most=LARGEST_TRAINED,
        )
    chosen, rejected = _reference_scores(duel, network, answers)
    policy = fresh_copy(duel.network).requires_grad_(True)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=duel.learning_rate, weight_decay=0.0)
    curves: list[tuple[float, float, float]] = []
    for step in range(duel.steps + 1):
        optimizer.zero_grad()
        loss, pulls = _backward(duel, policy, network, batch, (chosen, rejected))
        curves.append((loss, pulls[0].score.total, pulls[1].score.total))
        losses, first, second = (np.array(curve) for curve in zip(*curves, strict=True))
        said = _continuation(policy, network, batch)
        yield Progress(step, losses, first, second, (chosen, rejected), pulls, said)
        if step < duel.steps:
            if not math.isfinite(loss):
                raise InputError(
                    "The loss is no longer a finite number: the learning rate is too high for this run."
                )
            optimizer.step()


def _reference_scores(
    duel: Duel, network: Network, answers: tuple[str, ...]
) -> tuple[AnswerScore, AnswerScore]:
    """Both answers under the network as it is, or under a copy with noise on its matrices."""
    if duel.noise == 0:
        first, second = score(network, duel.prompt, answers)
        return first, second
    copy = fresh_copy(duel.network)
    generator = torch.Generator().manual_seed(duel.seed)
    with torch.no_grad():
        for matrix in (p for p in copy.parameters() if p.dim() > 1):
            matrix.add_(duel.noise * matrix.std() * torch.randn(matrix.shape, generator=generator))
        batch = answer_batch(network, duel.prompt, answers)
        found, _ = _token_log_probabilities(copy, batch)
    first, second = _scores(network, batch, found)
    return first, second


def _token_log_probabilities(model: PreTrainedModel, batch: AnswerBatch) -> tuple[Tensor, Tensor]:
    """Log π of every token but the first, 0 outside the answers; and the logits that say so."""
    logits = model(input_ids=batch.token_ids, use_cache=False).logits[:, :-1]
    chosen = logits.log_softmax(-1).gather(-1, batch.token_ids[:, 1:, None])[..., 0]
    return chosen.masked_fill(~batch.is_answer[:, 1:], 0.0), logits


def _scores(network: Network, batch: AnswerBatch, found: Tensor) -> list[AnswerScore]:
    return [
        AnswerScore(
            ids[mask].numpy(),
            labels(network.tokenizer, tuple(ids[mask].tolist())),
            row[mask[1:]].double().numpy(),
        )
        for ids, mask, row in zip(batch.token_ids, batch.is_answer, found.detach(), strict=True)
    ]


def _backward(
    duel: Duel,
    policy: PreTrainedModel,
    network: Network,
    batch: AnswerBatch,
    reference: tuple[AnswerScore, AnswerScore],
) -> tuple[float, tuple[TokenPull, TokenPull]]:
    """The loss of the pair, its gradients left on the policy, and what each token got of them."""
    found, logits = _token_log_probabilities(policy, batch)
    found.retain_grad()
    logits.retain_grad()
    totals, lengths = found.sum(1), batch.is_answer.sum(1).float()
    fixed = torch.tensor([[part.total] for part in reference])
    pairs = Pairs(totals[:1], totals[1:], fixed[0], fixed[1], lengths[:1], lengths[1:])
    loss = LOSSES[duel.loss](pairs, duel.settings).sum()
    loss.backward()
    by_token, by_logits = found.grad, logits.grad
    if by_token is None or by_logits is None:
        raise RuntimeError("A loss without a gradient.")
    pulls = [
        TokenPull(part, by_token[row][mask].numpy(), by_logits[row][mask].norm(dim=-1).numpy())
        for row, (part, mask) in enumerate(
            zip(_scores(network, batch, found), batch.is_answer[:, 1:], strict=True)
        )
    ]
    return loss.item(), (pulls[0], pulls[1])


def _continuation(policy: PreTrainedModel, network: Network, batch: AnswerBatch) -> str:
    """The likeliest next tokens after the prompt, one by one."""
    start = int(batch.is_answer[0].long().argmax())
    ids = batch.token_ids[:1, :start]
    with torch.no_grad():
        for _ in range(min(CONTINUATION, network.context - start)):
            logits = policy(input_ids=ids, use_cache=False).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return str(network.tokenizer.decode(ids[0, start:]))
