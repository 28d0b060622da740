"""Scripts of the positions page."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.take.parts.network import taken
from components.take.parts.recorded import Change, record
from components.take.parts.relayout import OtherLayout
from components.take.script import Named, Script, script
from components.take.source import given_network, given_unrotated, model_of, row_of, turn_of
from models.attention.next_token import text_losses
from models.networks.positions import learned_table
from models.networks.rotary import Rotary
from models.networks.tracing import Trace
from models.positions.absolute import cosines_with, rows, sinusoidal
from models.positions.decay import in_phase, mean_cosine_at_distances
from models.positions.encodings import ENCODINGS, EncodedHead, Head, Settings, encode
from models.positions.shuffling import relative_change, shuffled
from models.rotary.rope import Layout, PairScores, Rotation, scores_by_pair

# Why positions ------------------------------------------------------------------------------------


def shuffle(
    network: str, trace: Trace, seed: int, told: bool, causal: bool, change: Sequence[float]
) -> Script:
    """``change``: of all tokens' vectors, before each block and after the last."""
    given = given_network(network, trace) | {"seed": seed, "told": told, "causal": causal}
    # Where nothing tells the order, what is printed is rounding, of which no digit is the same elsewhere.
    tolerance = 1e-3 if max(change) > 1e-3 else 10.0
    return script(shuffled_text, change, tolerance=tolerance, **given)


def shuffled_text(
    model: PreTrainedModel, token_ids: list[int], seed: int, told: bool, causal: bool
) -> list[float]:
    """A network reads a text, and the same tokens in another order.

    ``told``: whether it is told their positions; ``causal``: whether a token reads only earlier ones.
    Prints how far the tokens' vectors move, each against itself: before each block and after the last.
    """
    n = len(token_ids)
    order = shuffled(n, seed)
    visible = torch.ones(n, n).bool()
    change = Change(visible=visible.tril() if causal else visible)
    positions = (torch.arange(n) if told else torch.zeros(n).long())[None]
    plain = record(model, token_ids, change, position_ids=positions)
    mixed = record(model, torch.tensor(token_ids)[order].tolist(), change, position_ids=positions)
    return [
        relative_change(before[order], after).item()
        for before, after in zip(plain.hidden, mixed.hidden, strict=True)
    ]


# Added vectors ------------------------------------------------------------------------------------


def sines(width: int, base: float, length: int, position: int, table: Tensor) -> Script:
    prints = {"its vector": table[position], "cosines": cosines_with(table, position)}
    return script(sinusoidal_positions, prints, length=length, width=width, base=base, position=position)


def sinusoidal_positions(length: int, width: int, base: float, position: int) -> Named:
    """Vectors for positions: sines and cosines.

    Prints the vector of one position, and its cosine with that of every position.
    """
    table = sinusoidal(length, width, base)
    return {"its vector": table[position], "cosines": cosines_with(table, position)}


def learned(network: str, length: int, position: int, table: Tensor) -> Script:
    prints = {"its vector": table[position], "cosines": cosines_with(table, position)}
    return script(learned_positions, prints, model=model_of(network), length=length, position=position)


def learned_positions(model: PreTrainedModel, length: int, position: int) -> Named:
    """Vectors for positions that a network has learned.

    Prints the vector of one position, and its cosine with that of every position.
    """
    table = rows(learned_table(taken(model)), length)
    return {"its vector": table[position], "cosines": cosines_with(table, position)}


# One head, rotated --------------------------------------------------------------------------------


def rotate(
    network: str,
    trace: Trace,
    head: tuple[int, int],
    rotary: Rotary,
    tokens: tuple[int, int],
    at: tuple[int, int],
    scores: PairScores,
) -> Script:
    """``tokens``: the query and the key; ``at``: the positions at which they meet."""
    prints = {"by pair": scores.pairs[0, 0], "q·k": scores.total[0, 0]}
    given = given_unrotated(network, trace, *head, rotary)
    del given["visible"]
    query, key = (row_of(given[name], row) for name, row in zip(("query", "key"), tokens, strict=True))
    return script(
        query_meets_key,
        prints,
        **given | {"query": query, "key": key},
        frequency=rotary.frequency,
        layout=rotary.layout,
        factor=rotary.factor,
        query_at=at[0],
        key_at=at[1],
    )


def query_meets_key(
    query: Tensor,
    key: Tensor,
    frequency: Tensor,
    layout: Layout,
    factor: float,
    query_at: int,
    key_at: int,
) -> Named:
    """A query and a key under rotary embedding.

    Prints what each pair of dimensions adds to their score, and the score.
    """
    scores = scores_by_pair(
        query[None],
        key[None],
        torch.tensor([query_at]),
        torch.tensor([key_at]),
        frequency,
        layout,
        factor,
    )
    return {"by pair": scores.pairs[0, 0], "q·k": scores.total[0, 0]}


def decay(
    network: str,
    trace: Trace,
    head: tuple[int, int],
    rotary: Rotary,
    base: float,
    distances: Tensor,
    curves: tuple[Tensor, Tensor],
) -> Script:
    """``curves``: all pairs in phase, and the mean of this head's queries and keys."""
    prints = {"in phase": curves[0], "this head": curves[1]}
    given = given_unrotated(network, trace, *head, rotary)
    places = {"farthest": int(distances[-1]), "places": len(distances)}
    frequency, layout = rotary.frequency_at(base), rotary.layout
    return script(score_by_distance, prints, **given, frequency=frequency, layout=layout, **places)


def score_by_distance(
    query: Tensor,
    key: Tensor,
    visible: Tensor,
    frequency: Tensor,
    layout: Layout,
    farthest: int,
    places: int,
) -> Named:
    """How the scores of a head fall, or do not fall, with distance under rotary embedding.

    Prints cosines at distances from 0 to the farthest: of a query with itself, all pairs in phase; and
    the mean over the head's queries and keys.
    """
    distances = torch.linspace(0, farthest, places).round().long()
    return {
        "in phase": in_phase(distances, frequency),
        "this head": mean_cosine_at_distances(query, key, visible, distances, frequency, layout),
    }


def layout(
    network: str,
    base: Trace,
    changed: Trace,
    head: tuple[int, int],
    rotary: Rotary,
    swapped: frozenset[str],
) -> Script:
    """``changed``: the pass in which ``swapped`` are rotated in the other layout."""
    layer, number = head
    prints = {"last row": changed.layers[layer].raw[number][-1]}
    given = given_network(network, base) | {"turn": turn_of(base, rotary), "swapped": swapped}
    given |= {"layer": layer, "head": number}
    if changed.logits is None:
        return script(scores_in_other_layout, prints, **given)
    prints["mean loss"] = text_losses(changed.logits, changed.token_ids).mean()
    return script(network_in_other_layout, prints, **given)


def network_in_other_layout(
    model: PreTrainedModel,
    token_ids: list[int],
    turn: Rotation,
    swapped: frozenset[str],
    layer: int,
    head: int,
) -> Named:
    """A network whose queries or keys are rotated in the wrong pairs of dimensions.

    Prints the last token's raw scores in one head, and the mean loss of the text in nats.
    """
    recorded = record(model, token_ids, rewrite=OtherLayout(turn, swapped))
    held = recorded.layers[layer]
    return {
        "last row": held.query[head, -1] @ held.key[head].T,
        "mean loss": text_losses(recorded.logits, torch.tensor(token_ids)).mean(),
    }


def scores_in_other_layout(
    model: PreTrainedModel,
    token_ids: list[int],
    turn: Rotation,
    swapped: frozenset[str],
    layer: int,
    head: int,
) -> Named:
    """A network that reads, whose queries or keys are rotated in the wrong pairs of dimensions.

    Prints the last token's raw scores in one head.
    """
    held = record(model, token_ids, rewrite=OtherLayout(turn, swapped)).layers[layer]
    return {"last row": held.query[head, -1] @ held.key[head].T}


def compare(
    network: str,
    trace: Trace,
    head: tuple[int, int],
    settings: Settings,
    found: Mapping[str, EncodedHead],
) -> Script:
    """``found``: the head under each encoding, by its name."""
    prints = {name: result.profile for name, result in found.items()}
    given = given_unrotated(network, trace, *head, settings.rotary)
    record = trace.layers[head[0]]
    given |= {"index": head[1], "heads": len(record.query), "scale": record.scale}
    return script(encodings_of_head, prints, **given, settings=settings)


def encodings_of_head(
    query: Tensor,
    key: Tensor,
    visible: Tensor,
    index: int,
    heads: int,
    scale: float,
    settings: Settings,
) -> Named:
    """The queries and keys of one head under every position encoding.

    Prints what each encoding adds to a scaled score, the mean at each distance. A learned table is
    there in its principal components, as many as a head has dimensions.
    """
    plain = Head(index, heads, query, key, visible, scale)
    names = [name for name in ENCODINGS if name != "learned" or settings.table is not None]
    return {name: encode(plain, name, settings).profile for name in names}
