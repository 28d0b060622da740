"""Cross-entropy of the next token, position by position: what every loss of a text is an average of."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.errors import InputError

IGNORED_LABEL = -100  # torch's cross_entropy skips these


def token_losses(
    logits: Float[Tensor, "*batch tokens vocabulary"], labels: Int[Tensor, "*batch tokens"]
) -> Float[Tensor, "*batch predicted"]:
    """−ln p of each label but the first under the logits of the position before, in nats.

    Entry t is the loss of token t + 1; NaN where its label is IGNORED_LABEL. In float32 at least.
    Raises InputError for a text of one token, which leaves nothing to predict, and for a label that is
    no token of the vocabulary.
    """
    if labels.shape[-1] < 2:
        raise InputError("The text has one token; at least two are needed to predict one.")
    known = (labels == IGNORED_LABEL) | ((labels >= 0) & (labels < logits.shape[-1]))
    if not known.all():
        raise InputError(
            "Label {label} is no token of a vocabulary of {tokens}.",
            label=int(labels[~known][0]),
            tokens=logits.shape[-1],
        )
    predicting, later = logits[..., :-1, :], labels[..., 1:]
    predicting = predicting.to(torch.promote_types(logits.dtype, torch.float32))
    losses = cross_entropy(
        predicting.flatten(0, -2), later.flatten(), reduction="none", ignore_index=IGNORED_LABEL
    )
    return losses.reshape(later.shape).masked_fill(later == IGNORED_LABEL, torch.nan)
