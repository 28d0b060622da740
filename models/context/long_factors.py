"""Search LongRoPE's divisors for an embedded network: ``python -m models.context.long_factors``.

They are written beside the network's weights, with what they were searched on.
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path

import torch
from tqdm import tqdm

from models.context.longrope_search import search
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.loading import load
from models.networks.windows import split_text, start_token_of, text_batch
from models.rotary.scaling import RopeSettings

FILE = EMBEDDED / DEFAULT / "long_factors.json"


@lru_cache(maxsize=1)
def long_factors() -> tuple[float, ...]:
    """The divisors that were found for the default network."""
    return tuple(json.loads(FILE.read_text(encoding="utf-8"))["long_factor"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="the text that the network learned")
    parser.add_argument("--factor", type=float, default=8.0)
    parser.add_argument("--texts", type=int, default=4, help="windows to measure on")
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    network = load(DEFAULT)
    length = int(network.context * asked.factor)
    backend = network.tokenizer.backend_tokenizer
    learned = split_text(asked.text.read_text(encoding="utf-8")).training
    ids = torch.tensor(backend.encode(learned, add_special_tokens=False).ids)
    generator = torch.Generator().manual_seed(asked.seed)
    texts = text_batch(ids, asked.texts, length, start_token_of(backend), generator)
    rope = RopeSettings(
        "default",
        network.head_width,
        network.model.config.rope_parameters["rope_theta"],
        longest=length,
        trained=network.context,
        factor=asked.factor,
    )
    steps = search(DEFAULT, rope, texts, asked.generations, asked.seed)
    for found in (bar := tqdm(steps, total=asked.generations)):
        bar.set_postfix(loss=f"{found.loss:.4f}")
    settings = {"factor": asked.factor, "texts": asked.texts, "tokens": length, "seed": asked.seed}
    measured = {"generations": asked.generations, "nats_per_token": round(found.loss, 4)}
    divisors = [round(divisor, 4) for divisor in found.divisors]
    FILE.write_text(json.dumps({"long_factor": divisors, **settings, **measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
