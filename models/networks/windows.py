"""Parts of texts for learning and measuring: what is held out, windows, and repeated random tokens."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

START_TOKEN = "<|start|>"
IGNORED_LABEL = -100  # torch's cross_entropy skips these


@dataclass(frozen=True)
class SplitText:
    """A text in two parts: what is learned from, and what is only measured."""

    training: str
    held_out: str


def split_text(text: str, block_characters: int = 4_000, every: int = 25) -> SplitText:
    """Hold out one block of paragraphs in ``every``, spread evenly over the text.

    Blocks end at line ends, so that no paragraph is torn. Raises ValueError when the text is too
    short to hold out anything.
    """
    blocks: list[str] = []
    block, size = [], 0
    for line in text.splitlines(keepends=True):
        block.append(line)
        size += len(line)
        if size >= block_characters:
            blocks.append("".join(block))
            block, size = [], 0
    if block:
        blocks.append("".join(block))
    if len(blocks) < every:
        raise ValueError(
            f"The text has {len(blocks)} blocks of {block_characters} characters; "
            f"at least {every} are needed to hold one out."
        )
    held_out = blocks[every // 2 :: every]
    training = [block for index, block in enumerate(blocks) if index % every != every // 2]
    return SplitText("".join(training), "".join(held_out))


def start_token_of(tokenizer: Tokenizer) -> int:
    """The start token's id. Raises ValueError on a tokenizer without one."""
    token = tokenizer.token_to_id(START_TOKEN)
    if token is None:
        raise ValueError(f"The tokenizer has no token {START_TOKEN}.")
    return token


def text_batch(
    tokens: Int[Tensor, " text"], rows: int, length: int, start_token: int, generator: torch.Generator
) -> Int[Tensor, "rows length"]:
    """Random windows of a tokenized text, each behind the start token."""
    starts = torch.randint(0, len(tokens) - length + 2, (rows,), generator=generator)
    windows = tokens[starts[:, None] + torch.arange(length - 1)]
    return torch.cat([torch.full((rows, 1), start_token), windows], dim=1)


def repeated_tokens(
    vocabulary: list[int], period: int, copies: int, start_token: int | None, seed: int
) -> list[int]:
    """One random sequence of ``period`` different tokens, ``copies`` times over."""
    pattern = random.Random(seed).sample(vocabulary, period)
    return ([] if start_token is None else [start_token]) + pattern * copies


def windows_with_overlap(
    tokens: Int[Tensor, " text"], length: int, stride: int, start_token: int
) -> Iterator[tuple[Int[Tensor, " window"], int]]:
    """Windows behind the start token, with the number of tokens in each that were not yet scored."""
    scored = 0
    for start in range(0, len(tokens), stride):
        window = tokens[start : start + length - 1]
        end = start + len(window)
        yield torch.cat([torch.tensor([start_token]), window]), end - scored
        scored = end
        if end == len(tokens):
            return
