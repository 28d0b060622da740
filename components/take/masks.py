"""Scripts of the masks page: what a mask does to a network, and what it costs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.take.literals import Written
from components.take.parts.numbers import rounded
from components.take.parts.recorded import Change, record
from components.take.script import PRINT_NAMED, Named, Script, script, script_of
from components.take.source import Given, given_network, is_embedded, model_of
from models.masks.code import Library, flex_code, sdpa_code, transformers_code
from models.masks.costs import MaskCost, Shape, mask_cost
from models.masks.effects import loss_by_position
from models.masks.hiding import fully_masked_row, sdpa
from models.masks.order import shuffled
from models.masks.settings import MaskSettings
from models.networks.loading import load
from models.networks.tokens import TokenizedText
from models.networks.tracing import Trace

# Mask lab -----------------------------------------------------------------------------------------


def mask_lab(
    network: str,
    changed: Trace,
    settings: MaskSettings,
    visible_in: frozenset[int] | None,
    cell: tuple[int, int, int],
) -> Script:
    """``changed`` is the pass under the mask; ``cell`` a layer, a head and a query of it."""
    layer, head, row = cell
    prints = {f"weights of row {row}": changed.layers[layer].probabilities[head, row]}
    given = given_network(network, changed) | {"settings": settings, "visible_in": visible_in}
    chosen = {"layer": layer, "head": head, "row": row}
    if changed.logits is None:
        return script(weights_under_mask, prints, **given, **chosen)
    prints["mean loss"] = loss_by_position(changed.logits, changed.token_ids).mean()
    return script(network_under_mask, prints, **given, **chosen)


def network_under_mask(
    model: PreTrainedModel,
    token_ids: list[int],
    settings: MaskSettings,
    visible_in: frozenset[int] | None,
    layer: int,
    head: int,
    row: int,
) -> Named:
    """A network whose mask is another one.

    Prints the weights of one row of one head, and the mean loss of the next token in nats.
    """
    visible = settings.mask(len(token_ids)).to_tensor(len(token_ids), len(token_ids))
    recorded = record(model, token_ids, Change(visible=visible, visible_in=visible_in))
    losses = loss_by_position(recorded.logits, torch.tensor(token_ids))
    return {
        f"weights of row {row}": recorded.layers[layer].probabilities[head, row],
        "mean loss": losses.mean(),
    }


def weights_under_mask(
    model: PreTrainedModel,
    token_ids: list[int],
    settings: MaskSettings,
    visible_in: frozenset[int] | None,
    layer: int,
    head: int,
    row: int,
) -> Named:
    """A network that reads, and does not write, whose mask is another one.

    Prints the weights of one row of one head.
    """
    visible = settings.mask(len(token_ids)).to_tensor(len(token_ids), len(token_ids))
    recorded = record(model, token_ids, Change(visible=visible, visible_in=visible_in))
    return {f"weights of row {row}": recorded.layers[layer].probabilities[head, row]}


# How to hide --------------------------------------------------------------------------------------


def empty_row(network: str, trace: Trace, layer: int, row: int, lengths: Mapping[str, float]) -> Script:
    """``lengths``: of the first head's output, by the library that computed it."""
    held = trace.layers[layer]
    given: Given = {"query": held.query[:, row : row + 1], "key": held.key, "value": held.value}
    if not is_embedded(network):
        given = given_network(network, trace) | {"layer": layer, "row": row}
        return script(row_of_network_without_keys, lengths, **given, tolerance=1e-4)
    return script(row_without_keys, lengths, **given, scale=held.scale, tolerance=1e-4)


def row_without_keys(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Named:
    """A query that may read no key, as each library computes it.

    Prints the length of its output in the first head: not a number, zero, or that of the mean of all
    values, hidden as they are.
    """
    groups = len(query) // len(key)
    key, value = key.repeat_interleave(groups, dim=0), value.repeat_interleave(groups, dim=0)
    rows = fully_masked_row(query, key, value, scale, 0)
    return {row.name: row.output[0].norm() for row in rows}


def row_of_network_without_keys(
    model: PreTrainedModel, token_ids: list[int], layer: int, row: int
) -> Named:
    """A query that may read no key, as each library computes it.

    Prints the length of its output in the first head: not a number, zero, or that of the mean of all
    values, hidden as they are.
    """
    held = record(model, token_ids).layers[layer]
    rows = fully_masked_row(held.query, held.key, held.value, held.scale, row)
    return {row.name: row.output[0].norm() for row in rows}


# Order --------------------------------------------------------------------------------------------


def order(network: str, trace: Trace, seed: int, curves: Sequence[Sequence[float]]) -> Script:
    prints = dict(
        zip(("causal", "causal, no positions", "bidirectional, no positions"), curves, strict=True)
    )
    return script(order_told, prints, tolerance=1e-3, **given_network(network, trace), seed=seed)


def order_told(model: PreTrainedModel, token_ids: list[int], seed: int) -> Named:
    """Whether a network can tell the order of its tokens: they are shuffled, the two ends in place.

    Prints how far the last token's vector moves at each depth, relative to its length. What should be
    zero is rounding.
    """
    other = shuffled(torch.tensor(token_ids), seed).tolist()
    n = len(token_ids)
    shown = {}
    for name, causal, told in (
        ("causal", True, True),
        ("causal, no positions", True, False),
        ("bidirectional, no positions", False, False),
    ):
        visible = torch.ones(n, n).bool()
        change = Change(visible=visible.tril() if causal else visible)
        positions = (torch.arange(n) if told else torch.zeros(n).long())[None]
        hidden = [record(model, ids, change, position_ids=positions).hidden for ids in (token_ids, other)]
        before, after = (torch.stack(states)[:, -1] for states in hidden)
        shown[name] = (before - after).norm(dim=-1) / before.norm(dim=-1)
    return shown


# Cost ---------------------------------------------------------------------------------------------


def cost(
    found: MaskCost, settings: MaskSettings, length: int, shape: Shape, bytes_per_number: int, block: int
) -> Script:
    prints = {
        "visible pairs": found.pairs,
        "FLOPs of visible pairs": found.flops,
        "FLOPs of a dense kernel": found.dense_flops,
        "blocks computed": found.blocks,
        "keys held at once": found.kept,
        "bytes for them": found.kept_bytes,
    }
    given: Given = {"settings": settings, "length": length, "shape": shape}
    return script(cost_of_mask, prints, **given, bytes_per_number=bytes_per_number, block=block)


def cost_of_mask(
    settings: MaskSettings, length: int, shape: Shape, bytes_per_number: int, block: int
) -> Named:
    """What attention under a mask costs, over all layers of a network.

    Prints pairs of tokens, floating-point operations, blocks of a block-sparse kernel, and what a
    decoder has to keep.
    """
    visible = settings.rule(length).to_tensor(length, length)
    found = mask_cost(visible, shape, bytes_per_number, block)
    return {
        "visible pairs": found.pairs,
        "FLOPs of visible pairs": found.flops,
        "FLOPs of a dense kernel": found.dense_flops,
        "blocks computed": found.blocks,
        "keys held at once": found.kept,
        "bytes for them": found.kept_bytes,
    }


# The mask as code ---------------------------------------------------------------------------------

TOP = 8  # next tokens


def mask_code(network: str, changed: Trace, settings: MaskSettings, library: Library) -> Script:
    """The code that the page shows; with transformers, on a network that the script brings along.

    ``changed`` is the network's pass under the mask.
    """
    mask = settings.mask(changed.tokens_shown)
    ids = tuple(changed.token_ids.tolist())
    first = f"from {rounded.__module__} import {rounded.__name__}\n"
    if library != "transformers":
        text = (sdpa_code if library == "sdpa" else flex_code)(mask, len(ids), *SIZE)
        shown = 'shown = {"last row of the first head": output[0, 0, -1]}\n'
        prints = {"last row of the first head": torch_output(mask.to_tensor(len(ids), len(ids)))[0, 0, -1]}
        return script_of(f"{first}{text}\n{shown}{PRINT_NAMED}", LIBRARY_HEADER, prints)
    written, model = Written(), model_of(network)
    made = written.assignment("model", model)
    tokenized = TokenizedText(ids, changed.text_shown, len(ids))
    lines = transformers_code(mask, load(network).entry, tokenized).splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("from transformers import Auto", "#"))]
    text = "".join(f"{made}\n" if line.startswith("model = ") else line for line in kept)
    imports = "".join(f"{line}\n" for line in sorted(written.imports))
    if changed.logits is None:
        shown = 'shown = {"last token\'s state": states[-1]}\n'
        prints = {"last token's state": changed.hidden[-1][-1]}
    else:
        shown = f'shown = {{"likeliest next tokens": logits[-1].softmax(-1).topk({TOP}).values}}\n'
        prints = {"likeliest next tokens": changed.logits[-1].softmax(-1).topk(TOP).values}
    snippet = f"{first}{imports}{text}\n{shown}{PRINT_NAMED}"
    return script_of(snippet, NETWORK_HEADER, prints, written.data)


LIBRARY_HEADER = """A mask in torch, on random queries, keys and values.

Prints the output of the last row in the first head."""
NETWORK_HEADER = """A network under a mask that is handed to transformers.

Prints the probabilities of the likeliest next tokens; of an encoder, the last token's state."""
SIZE = (2, 16)  # heads and their width, of the random queries, keys and values


def torch_output(visible: Tensor) -> Tensor:
    """What torch makes of the random queries, keys and values of the page's code."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, SIZE[0], len(visible), SIZE[1])
    return sdpa()(query, key, value, visible, SIZE[1] ** -0.5)
