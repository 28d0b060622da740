"""Answers of a network to a prompt: sampled token by token with a cache of keys and values."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from models.errors import InputError
from models.networks.loading import Network
from models.networks.tokens import tokenize

MOST_ANSWERS = 64
MOST_TEMPERATURE = 10.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Answers to one prompt, as NumPy arrays. After an end token, a row is filled up with it."""

    prompt_ids: Int[np.ndarray, " prompt"]  # special tokens included
    token_ids: Int[np.ndarray, "answer new"]
    log_probabilities: Float[np.ndarray, "answer new"]  # of each token when it was drawn; 0 after the end
    lengths: Int[np.ndarray, " answer"]  # tokens up to the end token, that included
    texts: tuple[str, ...]  # without special tokens


def generate(
    network: Network, prompt: str, count: int, new_tokens: int, temperature: float, seed: int
) -> Samples:
    """Draw ``count`` answers of ``new_tokens`` tokens; the same seed draws the same ones.

    Each token comes from softmax(logits / temperature), whose log-probabilities are noted (nats). At
    temperature 0 the likeliest token is taken, and its log-probability is that at temperature 1.
    Raises InputError on an encoder, on settings out of range, on a prompt that cannot be read, and on
    one that leaves no room for the answer in the network's context.
    """
    if network.entry.kind != "causal":
        raise InputError("{name} is an encoder: it cannot go on with a text.", name=network.entry.name)
    ids = prompt_ids(network.tokenizer, prompt, network.context)
    check_sampling(len(ids), count, new_tokens, temperature, network.context)
    generator = torch.Generator().manual_seed(seed)
    tokens, chosen = sample(network.model, torch.tensor(ids), count, new_tokens, temperature, generator)
    lengths = answer_lengths(tokens, end_tokens(network.model))
    return Samples(
        np.array(ids),
        tokens.numpy(),
        chosen.float().numpy(),
        lengths.numpy(),
        texts_of(network.tokenizer, tokens, lengths),
    )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, most_tokens: int) -> tuple[int, ...]:
    """The prompt's tokens behind the start token, where there is one; none is put after them.

    Raises InputError on a prompt that cannot be read, or of more than ``most_tokens``.
    """
    found = tokenize(tokenizer, prompt, most_tokens)
    if found.total > most_tokens:
        raise InputError(
            "The prompt has {count} tokens; at most {most} are accepted.",
            count=found.total,
            most=most_tokens,
        )
    return found.token_ids


def check_sampling(prompt: int, count: int, new_tokens: int, temperature: float, context: int) -> None:
    """Raises InputError, with one sentence, on what cannot be sampled."""
    if not 1 <= count <= MOST_ANSWERS:
        raise InputError("From 1 to {most} answers are accepted.", most=MOST_ANSWERS)
    if not 0 <= temperature <= MOST_TEMPERATURE:  # False for NaN
        raise InputError("A temperature from 0 to {most} is accepted.", most=f"{MOST_TEMPERATURE:g}")
    if new_tokens < 1 or prompt + new_tokens > context:
        raise InputError(
            "A prompt of {prompt} tokens leaves room for 1 to {room} new ones; {asked} were asked for.",
            prompt=prompt,
            room=max(1, context - prompt),
            asked=new_tokens,
        )


def sample(
    model: PreTrainedModel,
    prompt: Int[Tensor, " prompt"],
    count: int,
    new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "answer new"], Float[Tensor, "answer new"]]:
    """Tokens and their log-probabilities, on the CPU. The prompt is read once, whatever ``count``.

    Drawn on the CPU by ``generator`` alone, so that a device changes nothing but rounding. After an
    end token of the model, a row repeats it with log-probability 0.
    """
    cache = DynamicCache(config=model.config)
    ends = end_tokens(model)
    is_over = torch.zeros(count, dtype=torch.bool)
    tokens: list[Tensor] = []
    chosen: list[Tensor] = []
    with torch.no_grad():
        output = model(input_ids=prompt[None].to(model.device), past_key_values=cache, use_cache=True)
        logits = output.logits[:, -1].expand(count, -1)
        cache.batch_repeat_interleave(count)
        for step in range(new_tokens):
            token, log_probability = _draw(logits.cpu().float(), temperature, generator)
            if step:
                token = torch.where(is_over, tokens[-1], token)
            tokens.append(token)
            chosen.append(log_probability.masked_fill(is_over, 0.0))
            is_over |= torch.isin(token, ends)
            if step < new_tokens - 1:
                read = token[:, None].to(model.device)
                logits = model(input_ids=read, past_key_values=cache, use_cache=True).logits[:, -1]
    return torch.stack(tokens, dim=1), torch.stack(chosen, dim=1)


def _draw(
    logits: Float[Tensor, "answer vocabulary"], temperature: float, generator: torch.Generator
) -> tuple[Int[Tensor, " answer"], Float[Tensor, " answer"]]:
    """One token an answer, and its log-probability."""
    log_probabilities = (logits / (temperature or 1.0)).log_softmax(dim=-1)
    if temperature == 0:
        token = logits.argmax(dim=-1)
    else:
        token = torch.multinomial(log_probabilities.exp(), 1, generator=generator)[:, 0]
    return token, log_probabilities.gather(1, token[:, None])[:, 0]


def end_tokens(model: PreTrainedModel) -> Int[Tensor, " end"]:
    """Token ids after which the model's answers are over; empty where it has none."""
    end = model.config.eos_token_id
    return torch.tensor([] if end is None else [end] if isinstance(end, int) else end, dtype=torch.long)


def answer_lengths(tokens: Int[Tensor, "answer new"], ends: Int[Tensor, " end"]) -> Int[Tensor, " answer"]:
    """Tokens up to the first end token, that included; all where there is none."""
    is_end = torch.isin(tokens, ends)
    first = is_end.int().argmax(dim=1) + 1
    return torch.where(is_end.any(dim=1), first, tokens.shape[1])


def texts_of(
    tokenizer: PreTrainedTokenizerBase, tokens: Int[Tensor, "answer new"], lengths: Int[Tensor, " answer"]
) -> tuple[str, ...]:
    """The answers as text, special tokens left out, spaces as they are."""
    rows = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    return tuple(tokenizer.backend_tokenizer.decode(row, skip_special_tokens=True) for row in rows)
