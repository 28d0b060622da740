"""Scripts of the masks page: padded batches, packed rows, and a text that streams through a cache."""

from typing import Any

import torch
from transformers import PreTrainedModel

from components.take.parts.network import taken
from components.take.script import Named, Script, script
from components.take.source import model_of
from models.masks.packing import (
    Average,
    Conversation,
    Forgotten,
    PackedPass,
    packed_pass,
    separate_rows,
)
from models.masks.padding import (
    Given,
    PaddedBatch,
    Side,
    alone_logits,
    batch_logits,
    differences,
    pad,
)
from models.masks.streaming import KeyCache, decode, losses, stream_logits
from models.networks.recording import ATTENTION

Rows = tuple[tuple[int, ...], ...]


def padding(
    network: str,
    rows: Rows,
    pad_token: int,
    side: Side,
    given: Given,
    batch: PaddedBatch,
    changes: list[torch.Tensor],
) -> Script:
    """``changes``: of the logits of each real token, against each prompt alone."""
    prints = {
        "position ids, first row": batch.position_ids[0],
        "position ids, second row": batch.position_ids[1],
        "changes, first row": changes[0],
        "changes, second row": changes[1],
    }
    # Where nothing is forgotten, what is printed is rounding, of which no digit is the same elsewhere.
    tolerance = {
        name: 10.0 if 0 < float(values.max()) < 1e-3 and name.startswith("changes") else 1e-5
        for name, values in prints.items()
    }
    values: dict[str, Any] = {"rows": rows, "pad_token": pad_token, "side": side, "given": given}
    return script(padded_prompts, prints, model=model_of(network), **values, tolerance=tolerance)


def padded_prompts(model: PreTrainedModel, rows: Rows, pad_token: int, side: Side, given: Given) -> Named:
    """Two prompts of different length as one batch.

    Prints the position ids of both rows, and for each real token the largest change of a logit against
    the prompt alone. Where nothing is forgotten that is rounding.
    """
    batch = pad(rows, pad_token, side)
    changes = differences(batch_logits(model, batch, given), batch, alone_logits(model, rows))
    return {
        "position ids, first row": batch.position_ids[0],
        "position ids, second row": batch.position_ids[1],
        "changes, first row": changes[0],
        "changes, second row": changes[1],
    }


def packing(
    network: str,
    conversations: list[Conversation],
    forgotten: Forgotten,
    average: Average,
    done: PackedPass,
) -> Script:
    prints = {
        "loss in rows of their own": done.separate,
        "loss of the packed row": done.loss,
    }
    given: dict[str, Any] = {"conversations": conversations, "forgotten": forgotten, "average": average}
    return script(packed_conversations, prints, model=model_of(network), **given)


def packed_conversations(
    model: PreTrainedModel, conversations: list[Conversation], forgotten: Forgotten, average: Average
) -> Named:
    """Several conversations in one row, and in rows of their own.

    Prints the loss of both in nats per token; ``forgotten`` says what is done wrong in the packed row.
    """
    separate = separate_rows(model, conversations)
    done = packed_pass(model, conversations, separate, forgotten, average)
    return {
        "loss in rows of their own": done.separate,
        "loss of the packed row": done.loss,
    }


def stream(
    network: str,
    token_ids: tuple[int, ...],
    cache: KeyCache,
    prefill: int,
    means: tuple[float, float, float],
    decoded: float,
) -> Script:
    """``means``: losses after the cache is full, with all keys, with the window alone, with the cache;
    ``decoded``: the mean over the tokens that were read one by one.
    """
    names = ("all keys kept", "window alone", "sinks and window")
    prints = dict(zip(names, means, strict=True)) | {"decoded token by token": decoded}
    given: dict[str, Any] = {"token_ids": list(token_ids), "cache": cache, "prefill": prefill}
    return script(streamed, prints, model=model_of(network), **given)


def streamed(model: PreTrainedModel, token_ids: list[int], cache: KeyCache, prefill: int) -> Named:
    """A long text through a cache that keeps its first keys and the latest.

    Prints mean losses in nats: from the place on where the cache is full, with three caches in one pass
    each; and of the tokens that are read one by one with transformers' own cache.
    """
    model.set_attn_implementation(ATTENTION)
    network = taken(model)
    ids = torch.tensor(token_ids)
    full = min(cache.size or 0, len(ids) - 2)
    caches = {
        "all keys kept": KeyCache(),
        "window alone": KeyCache(cache.window),
        "sinks and window": cache,
    }
    means = {
        name: losses(stream_logits(network, ids, kept), ids)[full:].mean() for name, kept in caches.items()
    }
    decoded = torch.tensor([step.loss for step in decode(network, ids, prefill, cache)])
    return {**means, "decoded token by token": decoded.mean()}
