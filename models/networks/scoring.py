"""How probable a network finds each token of some answers to a prompt.

    log π(y | x) = Σ_t log π(y_t | x, y_<t)

Prompt and answer are tokenized apart, as chat templates do, so that no token lies across the border.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from models.errors import InputError
from models.networks.loading import Network
from models.networks.tokens import labels, once, tokenize
from models.runtime.settings import settings

MOST_ANSWERS = 16


@dataclass(frozen=True, eq=False)
class AnswerScore:
    """One answer behind its prompt, as plain arrays. Log-probabilities are natural logarithms."""

    token_ids: Int[np.ndarray, " token"]
    labels: tuple[str, ...]  # each token, readable; see models.networks.tokens.labels
    log_probabilities: Float[np.ndarray, " token"]  # float64, at temperature 1, over the whole vocabulary

    @property
    def total(self) -> float:
        """Log π(y | x): the sum over the answer's tokens."""
        return float(self.log_probabilities.sum())

    @property
    def mean(self) -> float:
        """The same by token, as SimPO and ORPO take it."""
        return float(self.log_probabilities.mean())


@dataclass(frozen=True, eq=False)
class AnswerBatch:
    """Prompt and answer one after the other, one row an answer, filled up at the right."""

    token_ids: Int[Tensor, "answers token"]
    is_answer: Bool[Tensor, "answers token"]


def score(network: Network, prompt: str, answers: tuple[str, ...]) -> tuple[AnswerScore, ...]:
    """Score each answer to the prompt, in one forward pass.

    Raises InputError for an encoder, for an empty prompt or answer, and where prompt and answer are
    longer together than the network or the settings take.
    """
    batch = answer_batch(network, prompt, answers)
    with torch.no_grad():
        found = answer_log_probabilities(network.model, batch).double().cpu().numpy()
    return tuple(
        AnswerScore(
            ids[mask].numpy(), labels(network.tokenizer, tuple(ids[mask].tolist())), row[mask[1:].numpy()]
        )
        for ids, mask, row in zip(batch.token_ids, batch.is_answer, found, strict=True)
    )


def answer_log_probabilities(
    model: torch.nn.Module, batch: AnswerBatch
) -> Float[Tensor, "answers predicted"]:
    """Log π of each token but the first given those before it; 0 outside the answers. Differentiable.

    What fills a row up stands behind the answer, where no causal network looks.
    """
    device = next(model.parameters()).device
    ids, mask = batch.token_ids.to(device), batch.is_answer.to(device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    return chosen.masked_fill(~mask[:, 1:], 0.0)


def answer_batch(network: Network, prompt: str, answers: tuple[str, ...]) -> AnswerBatch:
    """Tokens of the prompt with each answer. Raises InputError as ``score`` does."""
    if network.entry.kind != "causal":
        raise InputError(
            "{name} is an encoder: it reads a text in both directions and does not answer it.",
            name=network.entry.name,
        )
    if not 1 <= len(answers) <= MOST_ANSWERS:
        raise InputError(
            "There are {count} answers; from 1 to {most} are accepted.",
            count=len(answers),
            most=MOST_ANSWERS,
        )
    first = _prompt_ids(network.tokenizer, prompt)
    rows = [_answer_ids(network.tokenizer, answer, number) for number, answer in enumerate(answers, 1)]
    most = min(network.context, settings().text_tokens)
    for number, row in enumerate(rows, 1):
        if len(first) + len(row) > most:
            raise InputError(
                "Prompt and answer {number} make {count} tokens together; at most {most} are accepted.",
                number=number,
                count=len(first) + len(row),
                most=most,
            )
    length = len(first) + max(map(len, rows))
    ids, is_answer = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length).bool()
    for index, row in enumerate(rows):
        end = len(first) + len(row)
        ids[index, :end] = torch.tensor(first + row)
        is_answer[index, len(first) : end] = True
    return AnswerBatch(ids, is_answer)


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """With the special tokens that the tokenizer puts in front, without those that would end a text."""
    tokenize(tokenizer, prompt, settings().text_characters)  # for what it refuses
    encoding = tokenizer.backend_tokenizer.encode(prompt)
    ids, special = list(once(encoding)), encoding.special_tokens_mask
    while special.pop():
        ids.pop()
    return ids


def _answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, number: int) -> list[int]:
    if not answer.strip():
        raise InputError("Answer {number} is empty; type at least one word.", number=number)
    tokenize(tokenizer, answer, settings().text_characters)  # for what it refuses
    return tokenizer.backend_tokenizer.encode(answer, add_special_tokens=False).ids
