"""What a trained network is worth: its loss on texts, and whether its known heads have formed."""

from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from models.head_finder import score_repeats, score_text
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tracing import trace
from models.networks.training_data import start_token_of, windows_with_overlap

PERIOD, COPIES, SEEDS = 60, 4, (0, 1, 2)  # repeated random tokens for the induction score


def nats_per_character(
    network: PreTrainedModel, tokenizer: Tokenizer, text: str, context: int, stride: int
) -> float:
    """Loss on a text, in nats for each of its characters, tokens of every length alike.

    Windows of ``context`` tokens overlap so that each token is scored once, behind at least
    ``context − stride`` tokens where the text has so many. Divided by characters, networks with
    different vocabularies can be compared.
    """
    tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)
    start = start_token_of(tokenizer)
    total = 0.0
    with torch.inference_mode():
        for window, fresh in windows_with_overlap(tokens, context, stride, start):
            window = window.to(network.device)
            logits = network(window[None]).logits[0, :-1].float()
            total += float(cross_entropy(logits, window[1:], reduction="none")[-fresh:].double().sum())
    return total / len(text)


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


def passage_losses(network: Network, stride: int) -> dict[str, float]:
    """Nats per character on each shipped passage, by name."""
    tokenizer = network.tokenizer.backend_tokenizer
    return {
        passage.name: round(
            nats_per_character(network.model, tokenizer, passage.text, network.context, stride), 4
        )
        for passage in passages()
    }
