"""Several conversations in one row: who sees whom, which tokens are learned, where positions restart.

The loss is torch's cross entropy of each label under the logits one place before it, labels of −100
left out: what transformers computes from ``labels`` (transformers 5.23, loss/loss_utils.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.errors import InputError
from models.masks.padding import check_positions, pad
from models.networks.recording import attend_in_own_window, attending
from models.networks.tokens import tokenize
from models.numerics.token_losses import IGNORED_LABEL, token_losses

Average = Literal["tokens", "documents"]
AVERAGES: tuple[Average, ...] = get_args(Average)
MOST_CONVERSATIONS = 8
BORDERS = ("=>", "→")  # between prompt and answer


@dataclass(frozen=True)
class Conversation:
    """A prompt, which is given, and an answer, which is learned."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prompt + self.answer


@dataclass(frozen=True)
class Forgotten:
    """What goes wrong while packing; by default nothing."""

    block: bool = False  # every token reads all earlier ones, other conversations' too
    restart: bool = False  # positions go on counting from one conversation into the next
    labels: bool = False  # prompts are learned too


@dataclass(frozen=True, eq=False)
class PackedRow:
    """Conversations behind one another in one row."""

    input_ids: Int[Tensor, " tokens"]
    documents: Int[Tensor, " tokens"]  # which conversation a token belongs to, from 0
    position_ids: Int[Tensor, " tokens"]
    labels: Int[Tensor, " tokens"]  # the token itself, or −100 where it is not learned


def read_conversations(text: str) -> list[tuple[str, str]]:
    """Prompt and answer of each line "prompt => answer"; empty lines are passed over.

    Raises InputError for a line without border, without prompt or answer, and for too many lines.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        border = next((border for border in BORDERS if border in line), None)
        prompt, answer = (part.strip() for part in line.split(border, 1)) if border else (line, "")
        if not prompt or not answer:
            raise InputError("Line {number} is not of the form “prompt => answer”.", number=number)
        pairs.append((prompt, answer))
    if not 1 <= len(pairs) <= MOST_CONVERSATIONS:
        raise InputError(
            "There are {count} conversations; from 1 to {most} are accepted, one on each line.",
            count=len(pairs),
            most=MOST_CONVERSATIONS,
        )
    return pairs


def tokenize_conversations(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], most_tokens: int
) -> list[Conversation]:
    """Each conversation's tokens: start token and prompt, then the answer and the end token.

    Start and end as far as the tokenizer has them. Prompt and answer are tokenized apart, so that
    no token belongs to both. Raises InputError for more than ``most_tokens`` in all.
    """
    end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    conversations = []
    for prompt, answer in pairs:
        encoded = tokenizer.backend_tokenizer.encode(f" {answer}", add_special_tokens=False)
        given = tokenize(tokenizer, prompt, most_tokens).token_ids
        conversations.append(Conversation(given, (*encoded.ids, *end)))
    count = sum(len(conversation.token_ids) for conversation in conversations)
    if count > most_tokens:
        raise InputError(
            "The conversations have {count} tokens together; one row takes {most}.",
            count=count,
            most=most_tokens,
        )
    return conversations


def pack(conversations: Sequence[Conversation], forgotten: Forgotten | None = None) -> PackedRow:
    """One row of all conversations, with labels on answers only and positions that restart."""
    forgotten = forgotten or Forgotten()
    if not conversations:
        raise InputError("A row needs at least one conversation.")
    lengths = torch.tensor([len(conversation.token_ids) for conversation in conversations])
    ids = torch.tensor([token for conversation in conversations for token in conversation.token_ids])
    is_prompt = torch.tensor(
        [
            place < len(conversation.prompt)
            for conversation in conversations
            for place in range(len(conversation.token_ids))
        ]
    )
    position = torch.arange(len(ids))
    if not forgotten.restart:
        position = position - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    labels = ids.clone() if forgotten.labels else ids.masked_fill(is_prompt, IGNORED_LABEL)
    return PackedRow(ids, torch.arange(len(lengths)).repeat_interleave(lengths), position, labels)


def visible_pairs(
    documents: Int[Tensor, " tokens"], forgotten: Forgotten | None = None
) -> Bool[Tensor, "tokens tokens"]:
    """Block-diagonal and causal: a token reads itself and earlier tokens of its own conversation."""
    causal = torch.ones(len(documents), len(documents), dtype=torch.bool).tril()
    if forgotten is not None and forgotten.block:
        return causal
    return causal & (documents[:, None] == documents[None, :])


def masked_logits(
    model: PreTrainedModel,
    input_ids: Int[Tensor, " tokens"],
    position_ids: Int[Tensor, " tokens"],
    visible: Bool[Tensor, "tokens tokens"],
) -> Float[Tensor, "tokens vocabulary"]:
    """The network's logits under a mask of our own, in float32 on the CPU.

    The mask is handed over with four dimensions, added to the scores: transformers takes such a
    mask as it is. Raises InputError for a position beyond those that the network has learned.
    """
    check_positions(model, int(position_ids.max()) + 1)
    hidden = torch.finfo(model.dtype).min
    mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill(~visible, hidden)
    with attending(attend_in_own_window), torch.no_grad():
        output = model(
            input_ids[None].to(model.device),
            attention_mask=mask[None, None].to(model.device),
            position_ids=position_ids[None].to(model.device),
            use_cache=False,
        )
    return output.logits[0].float().cpu()


def packed_logits(
    model: PreTrainedModel, row: PackedRow, forgotten: Forgotten | None = None
) -> Float[Tensor, "tokens vocabulary"]:
    """The logits of a packed row."""
    return masked_logits(model, row.input_ids, row.position_ids, visible_pairs(row.documents, forgotten))


def inferred_logits(model: PreTrainedModel, row: PackedRow) -> Float[Tensor, "tokens vocabulary"]:
    """The same from transformers' own mask: without a mask and a cache it finds the conversations
    where the position ids restart (transformers 5.23, ``find_packed_sequence_indices``).
    """
    with torch.no_grad():
        output = model(
            row.input_ids[None].to(model.device),
            position_ids=row.position_ids[None].to(model.device),
            use_cache=False,
        )
    return output.logits[0].float().cpu()


def losses_of_row(
    logits: Float[Tensor, "tokens vocabulary"], labels: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """The loss of each token in its own place, in nats; NaN for the first and where nothing is learned."""
    losses = token_losses(logits, labels)
    return torch.cat([losses.new_full((1,), torch.nan), losses])


@dataclass(frozen=True, eq=False)
class SeparateRows:
    """What packing is held against: each conversation in a row of its own, put behind one another."""

    logits: Float[Tensor, "tokens vocabulary"]
    losses: Float[Tensor, " tokens"]  # NaN where nothing is learned
    documents: Int[Tensor, " tokens"]


def separate_rows(model: PreTrainedModel, conversations: Sequence[Conversation]) -> SeparateRows:
    """Each conversation by itself, with its own labels. A row's first token is predicted by nothing."""
    rows = [pack([conversation]) for conversation in conversations]
    logits = [packed_logits(model, row) for row in rows]
    losses = [losses_of_row(scores, row.labels) for scores, row in zip(logits, rows, strict=True)]
    return SeparateRows(torch.cat(logits), torch.cat(losses), pack(conversations).documents)


def mean_loss(
    losses: Float[Tensor, " tokens"], documents: Int[Tensor, " tokens"], average: Average = "tokens"
) -> float:
    """The mean over learned tokens; or the mean of the conversations' means, short ones like long ones.

    Raises InputError where no token is learned.
    """
    if losses.isnan().all():
        raise InputError("No token is learned: every label is −100.")
    losses = losses.double()
    if average == "tokens":
        return losses.nanmean().item()
    means = torch.stack([losses[documents == document].nanmean() for document in documents.unique()])
    return means.nanmean().item()


@dataclass(frozen=True, eq=False)
class PackedPass:
    """A packed row after its forward pass, beside the same conversations in rows of their own."""

    row: PackedRow
    losses: Float[Tensor, " tokens"]
    loss: float  # nats for each learned token
    separate: float  # the right loss: rows of their own, mean over tokens
    largest: float  # |logit packed − logit of the right row|, over all tokens

    @property
    def cost(self) -> float:
        """How far the loss is off; below 0 where a mistake makes it smaller."""
        return self.loss - self.separate


def packed_pass(
    model: PreTrainedModel,
    conversations: Sequence[Conversation],
    right: SeparateRows,
    forgotten: Forgotten | None = None,
    average: Average = "tokens",
) -> PackedPass:
    """The loss of a packed row, with what is forgotten, beside that of separate rows."""
    row = pack(conversations, forgotten)
    logits = packed_logits(model, row, forgotten)
    losses = losses_of_row(logits, row.labels)
    return PackedPass(
        row,
        losses,
        mean_loss(losses, row.documents, average),
        mean_loss(right.losses, right.documents),
        float((logits - right.logits).abs().max()),
    )


def library_loss(model: PreTrainedModel, conversations: Sequence[Conversation], pad_token: int) -> float:
    """Transformers' own loss of the conversations as a right-padded batch with labels.

    Padding and prompts are labelled −100; the mean is over all learned tokens of the batch.
    """
    batch = pad([conversation.token_ids for conversation in conversations], pad_token, "right")
    labels = torch.full_like(batch.input_ids, IGNORED_LABEL)
    for number, conversation in enumerate(conversations):
        row = pack([conversation])
        labels[number, : len(row.labels)] = row.labels
    with torch.no_grad():
        output = model(
            batch.input_ids.to(model.device),
            attention_mask=batch.attention_mask.to(model.device),
            labels=labels.to(model.device),
            use_cache=False,
        )
    return float(output.loss)
