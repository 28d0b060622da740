"""Runs of the bit budget and the sensitivity map that were measured before, to be shown until one's own.

``python -m models.quantization.recorded`` measures them again: loupe-llama on one sentence, in
symmetric integers of every width in groups of 64.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from models.networks.loading import load
from models.quantization.bit_budget import Cost, part_costs
from models.quantization.integers import BITS
from models.quantization.quantized_network import Sensitivity, Weight, sensitivities, token_ids
from models.quantization.weight_formats import Setting

PATH = Path(__file__).parents[2] / "assets" / "recorded" / "quantization.json"
NETWORK = "loupe-llama"
TEXT = "The cat sat on the mat because the cat was tired."
SETTING = Setting()  # with every number of bits


@cache
def _read() -> dict[str, Any]:
    held: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return held


def recorded_sensitivities(network: str, text: str, setting: Setting) -> tuple[Sensitivity, ...]:
    """Of every matrix, at exactly these settings; nothing where none was recorded."""
    if (network, text, setting) != (NETWORK, TEXT, replace(SETTING, bits=setting.bits)):
        return ()
    return tuple(
        Sensitivity(Weight(item["layer"], item["module"], item["name"]), item["kl"], item["added_loss"])
        for item in _read()["sensitivities"][str(setting.bits)]
    )


def recorded_costs(network: str, text: str) -> tuple[Cost, ...]:
    """Of every part at every number of bits; nothing where none was recorded."""
    if (network, text) != (NETWORK, TEXT):
        return ()
    return tuple(Cost(item["part"], item["bits"], item["kl"]) for item in _read()["costs"])


def record() -> None:
    """Measure both runs anew and write them down."""
    network = load(NETWORK)
    tokens = token_ids(network, TEXT)
    measured = {
        bits: [
            {**vars(found.weight), "kl": found.kl, "added_loss": found.added_loss}
            for found in sensitivities(network, tokens, replace(SETTING, bits=bits))
        ]
        for bits in BITS
    }
    costs = [vars(cost) for cost in part_costs(network, tokens, SETTING)]
    PATH.parent.mkdir(exist_ok=True)
    held = {"sensitivities": measured, "costs": costs}
    PATH.write_text(json.dumps(held, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
