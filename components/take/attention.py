"""Scripts of the attention page."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.take.parts.rewired import hidden_states
from components.take.script import Named, Script, script
from components.take.source import given_head, given_network, given_queries
from models.attention.depth import attention_entropy, rank_one_residual
from models.attention.dot_product import (
    contributions,
    explain_cell,
    hide_sink,
    scaled_dot_product_attention_steps,
)
from models.attention.head_finder import FoundHeads, Repeats
from models.attention.head_scores import head_scores, repeated_token_induction
from models.attention.head_view import Stage, head_view
from models.attention.softmax import (
    DotProductStatistics,
    SoftmaxEdit,
    cosine_statistics,
    dot_product_statistics,
    edited_softmax,
    jacobian_frobenius_norm,
)
from models.networks.anatomy import PRE_NORM
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import Trace
from models.numerics.attention_costs import attention_parameters, key_of_head, kv_cache_bytes_per_token

# Heads at work ------------------------------------------------------------------------------------


def heads_at_work(
    network: str,
    trace: Trace,
    change: Intervention,
    cell: tuple[int, int, int, int],
    stage: Stage,
    without_sink: bool,
) -> Script:
    """One head at the chosen stage; ``cell`` is its layer, head, query and key."""
    layer, head, row, column = cell
    record = trace.layers[layer]
    key_head = record.key_of_head[head]
    visible = (record.visible if record.visible.ndim == 2 else record.visible[head])[row]
    steps = explain_cell(
        record.query[head, row],
        record.key[key_head],
        visible,
        record.scale,
        column,
        record.value[key_head],
        record.softcap,
    )
    shown = head_view(trace, layer, head, stage, without_sink).values[row][visible]
    prints = {
        "q·k": steps.dot,
        "scaled": steps.scaled,
        "weight": steps.probability,
        f"row {row}, {stage}": shown.nan_to_num(0.0),
    }
    given = given_head(network, trace, change, layer, head)
    chosen = {"row": row, "column": column, "without_sink": without_sink}
    if stage != "contribution":
        return script(head_at_work, prints, **given, **chosen, stage=stage, softcap=record.softcap)
    output_weight = record.output_weight[head]
    return script(
        head_contribution, prints, **given, output_weight=output_weight, **chosen, softcap=record.softcap
    )


def head_at_work(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scale: float,
    row: int,
    column: int,
    without_sink: bool,
    stage: str,
    softcap: float | None,
) -> Named:
    """One head of a network: what the token of a row reads from those that it may read.

    Prints how the weight of one column comes about, and the whole row at one stage.
    """
    steps = scaled_dot_product_attention_steps(query[None], key[None], value[None], visible, scale, softcap)
    weights = hide_sink(steps.probabilities) if without_sink else steps.probabilities
    stages = {"raw": steps.raw, "scaled": steps.scaled, "masked": steps.masked, "softmax": weights}
    return {
        "q·k": steps.raw[0, row, column],
        "scaled": steps.scaled[0, row, column],
        "weight": steps.probabilities[0, row, column],
        f"row {row}, {stage}": stages[stage][0, row][visible[row]],
    }


def head_contribution(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scale: float,
    output_weight: Tensor,
    row: int,
    column: int,
    without_sink: bool,
    softcap: float | None,
) -> Named:
    """One head of a network: how much the tokens of a row add, ‖α·vW_O‖, and not only their weight.

    Prints how the weight of one column comes about, and the contributions of the whole row.
    """
    steps = scaled_dot_product_attention_steps(query[None], key[None], value[None], visible, scale, softcap)
    weights = hide_sink(steps.probabilities) if without_sink else steps.probabilities
    lengths = contributions(weights, value[None], output_weight[None])
    return {
        "q·k": steps.raw[0, row, column],
        "scaled": steps.scaled[0, row, column],
        "weight": steps.probabilities[0, row, column],
        f"row {row}, contribution": lengths[0, row][visible[row]],
    }


# Head finder --------------------------------------------------------------------------------------


def heads_on_text(network: str, trace: Trace, found: FoundHeads) -> Script:
    prints = _scores(found)
    return script(heads_found, prints, **given_queries(network, trace))


def heads_on_repeats(network: str, repeats: Repeats, found: FoundHeads) -> Script:
    given = given_queries(network, repeats.trace)
    return script(
        heads_found_on_repeats, _scores(found), **given, period=repeats.period, start=repeats.start
    )


def _scores(found: FoundHeads) -> dict[str, Tensor]:
    return {
        "previous token": found.scores.previous_token,
        "induction": found.induction,
        "first token": found.scores.first_token,
        "entropy": found.scores.entropy,
    }


def heads_found(
    query: Tensor, key: Tensor, visible: Tensor, scale: float, token_ids: Sequence[int]
) -> Named:
    """What every head of a network does on a text.

    Prints scores, a list of heads for each layer: the mean weight on the token before, on what followed
    the same token earlier (induction), on the first token, and the entropy of the weights in nats.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~visible, -torch.inf)
    found = head_scores(scores.softmax(dim=-1), torch.tensor(token_ids))
    return {
        "previous token": found.previous_token,
        "induction": found.induction,
        "first token": found.first_token,
        "entropy": found.entropy,
    }


def heads_found_on_repeats(
    query: Tensor,
    key: Tensor,
    visible: Tensor,
    scale: float,
    token_ids: Sequence[int],
    period: int,
    start: int,
) -> Named:
    """What every head of a network does on random tokens that are repeated.

    Prints scores, a list of heads for each layer: the mean weight on the token before, on what followed
    the same token earlier (induction), on the first token, and the entropy of the weights in nats.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~visible, -torch.inf)
    probabilities = scores.softmax(dim=-1)
    found = head_scores(probabilities, torch.tensor(token_ids))
    return {
        "previous token": found.previous_token,
        "induction": repeated_token_induction(probabilities, period, start),
        "first token": found.first_token,
        "entropy": found.entropy,
    }


# Entropy and rank ---------------------------------------------------------------------------------


def rank_by_depth(
    network: str,
    trace: Trace,
    curves: Mapping[str, Sequence[float]],
    distance: Literal["best", "mean"],
) -> Script:
    """``curves``: of the network as it is ("whole"), and without parts of its blocks."""
    entropies = [attention_entropy(record.probabilities).mean(-1) for record in trace.layers]
    model_type = load(network).model.config.model_type
    given = given_network(network, trace)
    if model_type not in PRE_NORM or model_type == "gpt_neox":  # its blocks are put together otherwise
        by_head = {"entropy by layer and head": torch.stack(entropies)}
        return script(entropy_by_depth, by_head, **given_queries(network, trace))
    prints = {
        "the network as it is": curves["whole"],
        "without MLPs": curves["no_mlp"],
        "without skip connections": curves["no_residual"],
        "with neither": curves["neither"],
    }
    return script(distance_by_depth, prints, tolerance=1e-4, **given, distance=distance)


def distance_by_depth(
    model: PreTrainedModel, token_ids: list[int], distance: Literal["best", "mean"]
) -> Named:
    """How near all tokens of a network come to one another with depth.

    Prints the distance of the hidden states from rank 1, before each block and after the last: of the
    network as it is, without MLPs, without skip connections, and with neither.
    """
    whole = hidden_states(model, token_ids)
    no_mlp = hidden_states(model, token_ids, mlp=False)
    no_residual = hidden_states(model, token_ids, residual=False)
    neither = hidden_states(model, token_ids, residual=False, mlp=False)
    return {
        "the network as it is": [rank_one_residual(state, distance) for state in whole],
        "without MLPs": [rank_one_residual(state, distance) for state in no_mlp],
        "without skip connections": [rank_one_residual(state, distance) for state in no_residual],
        "with neither": [rank_one_residual(state, distance) for state in neither],
    }


def entropy_by_depth(query: Tensor, key: Tensor, visible: Tensor, scale: float) -> Named:
    """How widely every head of a network spreads its weights.

    Prints the mean entropy of each head in nats, a list of heads for each layer.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~visible, -torch.inf)
    return {"entropy by layer and head": attention_entropy(scores.softmax(dim=-1)).mean(dim=-1)}


# Without a network --------------------------------------------------------------------------------


def dot_products(
    found: Mapping[str, DotProductStatistics], width: int, samples: int, keys: int, seed: int
) -> Script:
    prints = {
        f"{way}: {name}": getattr(row, attribute)
        for way, row in found.items()
        for name, attribute in (
            ("variance", "variance"),
            ("largest weight", "largest_weight"),
            ("gradient", "median_gradient_norm"),
        )
    }
    return script(dot_products_of_width, prints, width=width, samples=samples, keys=keys, seed=seed)


def dot_products_of_width(width: int, samples: int, keys: int, seed: int) -> Named:
    """Why attention divides by √d_k: random queries and keys of one width.

    Prints the variance of their products, the mean largest weight of softmax, and the median norm of
    its gradient: divided by √d_k (scaled), not divided (plain), and divided by the norms (cosine).
    """
    scaled = dot_product_statistics(width, samples, keys, 0.5, seed)
    plain = dot_product_statistics(width, samples, keys, 0.0, seed)
    cosine = cosine_statistics(width, samples, keys, seed)
    ways = {"scaled": scaled, "plain": plain, "cosine": cosine}
    return {
        f"{way}: {name}": number
        for way, row in ways.items()
        for name, number in (
            ("variance", row.variance),
            ("largest weight", row.largest_weight),
            ("gradient", row.median_gradient_norm),
        )
    }


def softmax(logits: Tensor, edit: SoftmaxEdit) -> Script:
    edited = edited_softmax(logits, edit)
    prints = {"weights": edited, "norm of the Jacobian": jacobian_frobenius_norm(edited)}
    return script(softmax_of_logits, prints, logits=logits, edit=edit)


def softmax_of_logits(logits: Tensor, edit: SoftmaxEdit) -> Named:
    """Softmax of a few logits that are shifted, multiplied, or taken twice.

    Prints the weights, and how much a change of the logits can change them: ‖diag(p) − ppᵀ‖.
    """
    weights = edited_softmax(logits, edit)
    return {"weights": weights, "norm of the Jacobian": jacobian_frobenius_norm(weights)}


def sharing(heads: int, key_heads: int, layers: int, width: int, bytes_per_number: int) -> Script:
    head_width = max(1, width // heads)
    prints = {
        "key head of each head": key_of_head(heads, key_heads),
        "bytes of cache per token": kv_cache_bytes_per_token(
            layers, key_heads, head_width, bytes_per_number
        ),
        "parameters of a layer": attention_parameters(width, heads, key_heads, head_width).total,
    }
    return script(
        shared_keys,
        prints,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        layers=layers,
        width=width,
        bytes_per_number=bytes_per_number,
    )


def shared_keys(
    heads: int, key_heads: int, head_width: int, layers: int, width: int, bytes_per_number: int
) -> Named:
    """Which query heads share a key head, and what that saves.

    Prints the key head that each head reads, the bytes that a token adds to the cache, and the
    parameters of a layer's projections.
    """
    cache = kv_cache_bytes_per_token(layers, key_heads, head_width, bytes_per_number)
    return {
        "key head of each head": key_of_head(heads, key_heads),
        "bytes of cache per token": cache,
        "parameters of a layer": attention_parameters(width, heads, key_heads, head_width).total,
    }
