"""The next token, over the whole vocabulary: the likeliest, and what an intervention changed."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.errors import InputError


def top_tokens(
    logits: Float[Tensor, " vocabulary"], k: int
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The k likeliest tokens, best first, and their probabilities over the whole vocabulary.

    Raises InputError for a k that the vocabulary does not have, and for unusable logits.
    """
    _check_k(k, len(logits))
    probabilities, ids = log_probabilities(logits).exp().topk(k)
    return ids, probabilities


@dataclass(frozen=True, eq=False)
class NextTokenChange:
    """The next token before and after a change. Ranks begin at 1; equal logits share one."""

    ids: Int[Tensor, " tokens"]  # the top k before, then those of the top k after that are not among them
    before: Float[Tensor, " tokens"]  # probability over the whole vocabulary
    after: Float[Tensor, " tokens"]
    rank_before: Int[Tensor, " tokens"]
    rank_after: Int[Tensor, " tokens"]
    kl: float  # KL(before ‖ after) in nats, over the whole vocabulary

    @property
    def rank_change(self) -> Int[Tensor, " tokens"]:
        """Places gained; negative for places lost."""
        return self.rank_before - self.rank_after


def compare_next_token(
    before: Float[Tensor, " vocabulary"], after: Float[Tensor, " other_vocabulary"], k: int
) -> NextTokenChange:
    """What became of the likeliest next tokens; ``before`` and ``after`` are logits.

    Raises InputError for two different vocabularies, for a k that they do not have, and for
    unusable logits.
    """
    if len(before) != len(after):
        raise InputError(
            "Vocabularies of {before} and {after} tokens cannot be compared; they must be the same.",
            before=len(before),
            after=len(after),
        )
    top_before, _ = top_tokens(before, k)
    top_after, _ = top_tokens(after, k)
    ids = torch.cat([top_before, top_after[~torch.isin(top_after, top_before)]])
    log_p, log_q = log_probabilities(before), log_probabilities(after)
    return NextTokenChange(
        ids=ids,
        before=log_p[ids].exp(),
        after=log_q[ids].exp(),
        rank_before=ranks(before, ids),
        rank_after=ranks(after, ids),
        kl=kl_divergence(log_p, log_q),
    )


def text_losses(
    logits: Float[Tensor, "token vocabulary"], token_ids: Int[Tensor, " token"]
) -> Float[Tensor, " predicted"]:
    """Cross-entropy of each token but the first given those before it, in nats.

    Raises InputError for a text of one token, which leaves nothing to predict.
    """
    if len(token_ids) < 2:
        raise InputError("The text has one token; at least two are needed to predict one.")
    return cross_entropy(logits[:-1].double(), token_ids[1:], reduction="none")


def log_probabilities(logits: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
    """Ln softmax(logits), in float64, so that a small change is not lost in a difference.

    A logit of −∞ is a token that cannot come. Raises InputError for NaN, for +∞, and when no token
    can come.
    """
    if logits.isnan().any() or not logits.max().isfinite():
        raise InputError("The scores for the next token must be numbers, and the largest of them finite.")
    return logits.double().log_softmax(dim=-1)


def kl_divergence(log_p: Float[Tensor, " vocabulary"], log_q: Float[Tensor, " vocabulary"]) -> float:
    """KL(p‖q) = Σ p (ln p − ln q) in nats; infinite where q excludes what p allows.

    Tokens with p = 0 add nothing, also where q = 0 (torch's kl_div gives NaN there).
    """
    terms = torch.where(log_p == -torch.inf, 0.0, log_p.exp() * (log_p - log_q))
    return terms.sum().clamp(min=0.0).item()  # below 0 by rounding only


def ranks(logits: Float[Tensor, " vocabulary"], ids: Int[Tensor, " tokens"]) -> Int[Tensor, " tokens"]:
    """1 + the number of tokens with a larger logit."""
    return 1 + (logits[None, :] > logits[ids, None]).sum(dim=-1)


def _check_k(k: int, vocabulary: int) -> None:
    if not 1 <= k <= vocabulary:
        raise InputError(
            "{count} tokens cannot be listed; between 1 and {most} can be.", count=k, most=vocabulary
        )
