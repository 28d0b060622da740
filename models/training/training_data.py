"""What the embedded networks are trained on: their tokenizer, and copies of random tokens."""

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

from models.networks.windows import IGNORED_LABEL, START_TOKEN


def train_tokenizer(text: str, vocabulary_size: int) -> Tokenizer:
    """Byte-level byte-pair encoding of ``text``; every encoding begins with the start token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[START_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START_TOKEN} $A", special_tokens=[(START_TOKEN, tokenizer.token_to_id(START_TOKEN))]
    )
    return tokenizer


def copy_batch(
    rows: int,
    length: int,
    periods: tuple[int, int],
    vocabulary_size: int,
    start_token: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
    """Rows that repeat a short random sequence, and labels from the second copy on.

    The first copy cannot be predicted, so its labels are ignored: counted in the loss, it drowns
    the signal that forms an induction head (Olsson et al. 2022, "In-context Learning and Induction
    Heads"). ``periods`` are the shortest and longest period drawn.
    """
    period = torch.randint(periods[0], periods[1] + 1, (rows, 1), generator=generator)
    pattern = torch.randint(0, vocabulary_size, (rows, periods[1]), generator=generator)
    position = torch.arange(length - 1)[None, :].expand(rows, -1)
    copies = pattern.gather(1, position % period)
    labels = copies.masked_fill(position < period, IGNORED_LABEL)
    start = torch.full((rows, 1), start_token)
    return torch.cat([start, copies], 1), torch.cat([torch.full_like(start, IGNORED_LABEL), labels], 1)
