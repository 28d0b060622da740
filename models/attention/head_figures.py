"""Whether a network's known heads have formed: the strongest of each kind, and by how much."""

from typing import Any

import torch

from models.attention.head_finder import score_repeats, score_text
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tracing import trace

PERIOD, COPIES, SEEDS = 60, 4, (0, 1, 2)  # repeated random tokens for the induction score


def head_figures(network: Network) -> dict[str, Any]:
    """The strongest previous-token, induction and first-token heads, with their mean weights.

    On random tokens, several times over, for a few seeds: there only position and copying are left
    to go by. And on the beginnings of the English passages, where heads have more to do.
    """
    repeats = [score_repeats(network, PERIOD, COPIES, seed) for seed in SEEDS]
    texts = [passage.text for passage in passages() if passage.language == "en"]
    on_text = [score_text(trace(network, text)).scores for text in texts]
    found = {
        "previous_token": [found.scores.previous_token for found in repeats],
        "induction": [found.induction for found in repeats],
        "previous_token_on_text": [scores.previous_token for scores in on_text],
        "first_token_on_text": [scores.first_token for scores in on_text],
    }
    figures: dict[str, Any] = {}
    for name, scores in found.items():
        mean = torch.stack(scores).mean(0)
        figures[f"{name}_head"] = [int(index) for index in divmod(int(mean.argmax()), mean.shape[1])]
        figures[f"{name}_weight"] = round(float(mean.max()), 4)
    return figures
