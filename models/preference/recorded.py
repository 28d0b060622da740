"""Runs on one pair that were recorded, so that the page shows what to expect before one was waited for.

``python -m models.preference.recorded`` records them anew.
"""

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.networks.catalogue import DEFAULT
from models.networks.scoring import AnswerScore
from models.preference.losses import LossSettings
from models.preference.real_run import Duel, Progress, TokenPull, train_on_pair

PATH = Path(__file__).parents[2] / "assets" / "recorded" / "preference.json"
OPENING = Duel(
    DEFAULT,
    "The old lighthouse keeper looked at the sea and said,",
    " 'I will go to the harbour in the morning.'",
    " 'I will go to the harbour in the evening.'",
    settings=LossSettings(smoothing=0.1),  # as the page's slider stands, which DPO does not read
    steps=12,
)
RUNS = (  # what the page opens with, and what its lesson leads to
    OPENING,
    replace(OPENING, loss="apo_zero"),
    replace(OPENING, learning_rate=3e-4),
)


def recorded(run: Duel) -> Progress | None:
    """Where a run of exactly these settings ended."""
    return _all().get(run)


@cache
def _all() -> dict[Duel, Progress]:
    return {
        Duel(**item["settings"] | {"settings": LossSettings(**item["settings"]["settings"])}): _progress(
            item
        )
        for item in json.loads(PATH.read_text(encoding="utf-8"))
    }


def _progress(item: dict[str, Any]) -> Progress:
    reference: list[AnswerScore] = []
    pulls: list[TokenPull] = []
    for answer in item["answers"]:
        ids, labels = np.array(answer["token_ids"]), tuple(answer["labels"])
        reference.append(AnswerScore(ids, labels, np.array(answer["reference"])))
        policy = AnswerScore(ids, labels, np.array(answer["policy"]))
        pulls.append(
            TokenPull(policy, np.array(answer["by_log_probability"]), np.array(answer["by_logits"]))
        )
    losses, on_chosen, on_rejected = (np.array(item[name]) for name in ("losses", "chosen", "rejected"))
    return Progress(
        item["step"],
        losses,
        on_chosen,
        on_rejected,
        (reference[0], reference[1]),
        (pulls[0], pulls[1]),
        item["continuation"],
    )


def record() -> None:
    """Run all of them and write down where they ended."""
    taken = []
    for run in RUNS:
        *_, last = train_on_pair(run)
        answers = [
            {
                "token_ids": reference.token_ids.tolist(),
                "labels": reference.labels,
                "reference": reference.log_probabilities.tolist(),
                "policy": pull.score.log_probabilities.tolist(),
                "by_log_probability": pull.by_log_probability.tolist(),
                "by_logits": pull.by_logits.tolist(),
            }
            for reference, pull in zip(last.reference, last.pulls, strict=True)
        ]
        curves = {name: getattr(last, name).tolist() for name in ("losses", "chosen", "rejected")}
        ends = {"step": last.step, "continuation": last.continuation, "answers": answers}
        taken.append({"settings": asdict(run)} | curves | ends)
    PATH.write_text(json.dumps(taken, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the process that serves
    record()
