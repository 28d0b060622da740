"""What a head does, in a few numbers: a head finder.

Scores describe a head on one text. A head that scores high here may do something else elsewhere;
repeated random tokens, where only copying can help, are the fairer trial of an induction head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from models.attention.depth import attention_entropy
from models.errors import InputError

Layers = Float[Tensor, "layers heads tokens tokens"] | Sequence[Float[Tensor, "heads tokens tokens"]]
Mask = Bool[Tensor, "tokens tokens"]
Masks = Mask | Sequence[Mask]  # of all layers, or one a layer


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Scores of every head on one text; all but ``entropy`` lie between 0 and 1.

    NaN where a score has no rows to be a mean of: a text of one token, or one without a repeat.
    """

    previous_token: Float[Tensor, "layers heads"]  # mean of α[i, i−1] over queries i ≥ 1
    first_token: Float[Tensor, "layers heads"]  # mean of α[i, 0] over queries i ≥ 1
    diagonal: Float[Tensor, "layers heads"]  # mean of α[i, i] over all queries
    induction: Float[Tensor, "layers heads"]  # mean weight on what followed earlier occurrences
    entropy: Float[Tensor, "layers heads"]  # nats, mean over all queries
    normalised_entropy: Float[Tensor, "layers heads"]  # 1: weight spread evenly; 0: all on one key


def head_scores(
    probabilities: Layers,
    token_ids: Int[Tensor, " tokens"],
    visible: Masks | None = None,
) -> HeadScores:
    """Score every head of self-attention on one text.

    * previous token, first token, diagonal: the mean weight on that key. The first token is 1 for a
      pure attention sink (Xiao et al. 2023).
    * induction: for a query i whose token occurred before, the summed weight on the tokens j+1 after
      every earlier occurrence j; the mean over such queries. Elhage et al. 2021 and Olsson et al.
      2022, "In-context Learning and Induction Heads" ("prefix matching"), who measure it on repeated
      random tokens. After an immediate repeat the token that followed is the query itself.
    * entropy: H_i = −Σ_j α_ij ln α_ij. Normalised, the mean of H_i / ln n_i, where query i sees n_i
      keys, over queries that see two or more: as early queries of a causal model see few keys, its
      plain entropy is small for that reason alone.

    ``visible`` says which keys each query sees, in all layers or one mask a layer. Without it a layer
    counts as causal where no head gives weight to a later key, and as bidirectional else: a weight of
    exactly 0 may be hidden or only small, so that windows and padding must be told.

    Raises InputError without tokens or layers, and unless there is a mask for each layer.
    """
    if len(token_ids) == 0 or len(probabilities) == 0:
        raise InputError("There is nothing to score; at least one token and one layer are needed.")
    masks = [visible] * len(probabilities) if visible is None or isinstance(visible, Tensor) else visible
    if len(masks) != len(probabilities):
        raise InputError(
            "{masks} masks do not fit {layers} layers; there must be one a layer.",
            masks=len(masks),
            layers=len(probabilities),
        )
    targets = induction_targets(token_ids)
    layers = [_layer_scores(layer, targets, mask) for layer, mask in zip(probabilities, masks, strict=True)]
    return HeadScores(*(torch.stack(scores) for scores in zip(*layers, strict=True)))


def _layer_scores(
    layer: Float[Tensor, "heads tokens tokens"],
    targets: Bool[Tensor, "tokens tokens"],
    visible: Bool[Tensor, "tokens tokens"] | None,
) -> tuple[Float[Tensor, " heads"], ...]:
    """The scores of one layer's heads, in the order of HeadScores. A mean of no rows is NaN."""
    layer = layer.float()
    repeated = targets.any(dim=-1)
    entropy = attention_entropy(layer)
    keys_seen = (_supposed_mask(layer) if visible is None else visible).sum(dim=-1)
    chooses = keys_seen > 1
    return (
        layer.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1),
        layer[:, 1:, 0].mean(dim=-1),
        layer.diagonal(dim1=-2, dim2=-1).mean(dim=-1),
        (layer * targets).sum(dim=-1)[:, repeated].mean(dim=-1),
        entropy.mean(dim=-1),
        (entropy[:, chooses] / keys_seen[chooses].log()).mean(dim=-1),
    )


def _supposed_mask(layer: Float[Tensor, "heads tokens tokens"]) -> Bool[Tensor, "tokens tokens"]:
    """Causal, or every pair where some head gives weight to a later key."""
    every = torch.ones(layer.shape[1:], dtype=torch.bool)
    return every if layer.triu(diagonal=1).any() else every.tril()


def induction_targets(token_ids: Int[Tensor, " tokens"]) -> Bool[Tensor, "tokens tokens"]:
    """Where an induction head looks: [i, j+1] for every earlier j < i with the same token as i."""
    earlier = (token_ids[:, None] == token_ids[None, :]).tril(diagonal=-1)
    return F.pad(earlier, (1, -1))  # one column to the right


def repeated_token_induction(
    probabilities: Layers, period: int, start: int = 1
) -> Float[Tensor, "layers heads"]:
    """The mean of α[i, i−period+1] over the second and later copies of one random sequence.

    The tokens are ``start`` tokens (usually one, the start token) and then copies of one sequence of
    ``period`` different tokens. The target is exactly one key, the token after the latest earlier
    occurrence; over three copies or more a head may also look at an older one, which
    ``head_scores(…).induction`` counts. Olsson et al. 2022.

    Raises InputError when there is no second copy, or not a token of it.
    """
    tokens = probabilities[0].shape[-1]
    if period < 1 or start < 0 or tokens <= start + period:
        raise InputError(
            "{tokens} tokens hold no second copy of {period} tokens behind {start}; "
            "at least {least} are needed.",
            tokens=tokens,
            period=period,
            start=start,
            least=max(start, 0) + max(period, 1) + 1,
        )
    # the diagonal begins at query period−1; the second copy at query start+period
    diagonals = [layer.diagonal(offset=1 - period, dim1=-2, dim2=-1) for layer in probabilities]
    return torch.stack([diagonal[:, start + 1 :].float().mean(dim=-1) for diagonal in diagonals])
