"""What a trained network is worth: its loss on texts, and whether its known heads have formed."""

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.windows import start_token_of, windows_with_overlap


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


def passage_losses(network: Network, stride: int) -> dict[str, float]:
    """Nats per character on each shipped passage, by name."""
    tokenizer = network.tokenizer.backend_tokenizer
    return {
        passage.name: round(
            nats_per_character(network.model, tokenizer, passage.text, network.context, stride), 4
        )
        for passage in passages()
    }
