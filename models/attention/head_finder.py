"""Find heads by what they do: scores of every head on a text, and on repeated random tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.attention.head_scores import HeadScores, head_scores, repeated_token_induction
from models.networks.loading import Network
from models.networks.tracing import Trace, trace_ids
from models.networks.windows import repeated_tokens


@dataclass(frozen=True, eq=False)
class FoundHeads:
    """Scores of all heads, and the induction score that fits the tokens they were measured on."""

    scores: HeadScores
    induction: Float[Tensor, "layers heads"]  # on repeats: the weight on exactly the right token


def score_text(trace: Trace) -> FoundHeads:
    """Scores on the text that was traced."""
    scores = _scores(trace)
    return FoundHeads(scores, scores.induction)


def score_repeats(network: Network, period: int, copies: int, seed: int) -> FoundHeads:
    """Scores on one random sequence of ``period`` different tokens, ``copies`` times over.

    No text and no grammar is left in it: from the second copy on, only copying can help. Olsson et
    al. 2022, "In-context Learning and Induction Heads". The copies are fewer where the network's
    context is too short for them; raises InputError where not even a second one fits.
    """
    tokenizer = network.tokenizer
    start = tokenizer.bos_token_id
    special = set(tokenizer.all_special_ids)
    vocabulary = [token for token in range(min(network.vocabulary, len(tokenizer))) if token not in special]
    period = min(period, len(vocabulary))
    tokens = repeated_tokens(vocabulary, period, copies, start, seed)
    traced = trace_ids(network, torch.tensor(tokens[: network.context]))
    probabilities = [record.probabilities for record in traced.layers]
    induction = repeated_token_induction(probabilities, period, start=0 if start is None else 1)
    return FoundHeads(_scores(traced), induction)


def _scores(trace: Trace) -> HeadScores:
    masks = [record.visible.reshape(-1, *record.visible.shape[-2:])[0] for record in trace.layers]
    return head_scores([record.probabilities for record in trace.layers], trace.token_ids, masks)
