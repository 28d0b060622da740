"""Controls that several views of the policy page share, and the names of their options."""

from dataclasses import dataclass

import streamlit as st
import torch
from torch.nn.functional import layer_norm

from components import controls
from components.panels.network.reading import LABEL_LETTERS, ReadsNetwork
from components.refusal import plain
from components.settings import View, number, one_of, text
from components.words import _, mark
from models.policy.group_advantages import METHODS
from models.policy.losses import AGGREGATIONS, Aggregation
from models.policy.recorded import PROMPT

METHOD_NAMES = {
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "rloo": "RLOO",
    "reinforce": "REINFORCE",
    "reinforce++": "REINFORCE++",
    "reinforce++ baseline": "REINFORCE++ baseline",
}
LONGEST = 512  # tokens of an answer, as Dr. GRPO's constant and DAPO's penalty begin with


def method_label(name: str) -> str:
    return _("GRPO, deviation of the batch") if name == "batch" else METHOD_NAMES[name]


def aggregation_label(name: str) -> str:
    return {
        "sequence_mean": _("mean of the answers' means (GRPO)"),
        "token_mean": _("mean over all tokens (DAPO, BNPO)"),
        "constant": _("constant length (Dr. GRPO)"),
        "sequence_sum": _("mean of the answers' sums (RLOO, LUSPO)"),
    }[name]


SHORT_NAMES = {
    "sequence_mean": "GRPO",
    "token_mean": "DAPO, BNPO",
    "constant": "Dr. GRPO",
    "sequence_sum": "RLOO, LUSPO",
}


def normed_by_torch(row: torch.Tensor) -> torch.Tensor:
    """Rewards of a group less their mean, over the population's deviation, by torch's layer norm.

    They are brought to deviation 1 before: layer norm adds its ε to a variance that may be smaller.
    """
    deviation = row.std(correction=0)
    scaled = row / deviation if deviation > 0 else row
    return layer_norm(scaled, (len(row),), eps=1e-20)


@dataclass(frozen=True)
class Seeded(View):
    """A view on something random."""

    seed: int = number(0, 9_999, 0, label=mark("Seed"), place="more")


@dataclass(frozen=True)
class TakesMethod(View):
    """A view whose rewards become advantages by one of several methods."""

    method: str = one_of(tuple(METHODS), "grpo", label=mark("Advantage"), label_of=method_label)

    @property
    def divides(self) -> bool:
        """Whether the method divides by a deviation."""
        return METHODS[self.method].scale != "none"


@dataclass(frozen=True)
class Averages(View):
    """A view whose loss is some average over tokens."""

    aggregation: Aggregation = one_of(
        AGGREGATIONS, label=mark("Average over tokens"), label_of=aggregation_label
    )


@dataclass(frozen=True)
class LongestAnswer(Averages):
    """One where the longest answer that is allowed may count."""

    longest: int = number(
        1,
        100_000,
        LONGEST,
        label=mark("Longest answer L"),
        place="more",
        off=lambda view: "" if view.uses_longest else mark("needs the average by a constant length"),
    )

    @property
    def uses_longest(self) -> bool:
        return self.aggregation == "constant"


@dataclass(frozen=True)
class Prompted(ReadsNetwork):
    """A view on answers that a network gives to a prompt."""

    prompt: str = text(
        PROMPT,
        label=mark("Prompt"),
        lines=3,
        most=10_000,
        place="head",
    )

    def head_line(self) -> None:
        words = " ".join(self.prompt.split())
        start = words if len(words) <= LABEL_LETTERS else words[: LABEL_LETTERS - 1] + "…"
        label = f"{plain(self.network)} · {plain(start)}"
        with st.popover(label, icon=":material/description:", width="content", key="loupe_text"):
            self.choose_network()
            controls.draw(self, "prompt")
