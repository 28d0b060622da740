"""Controls that several views of the attention page share."""

from dataclasses import dataclass

from components.panels.network.heads import OpensHead
from components.settings import View, number
from components.words import mark


@dataclass(frozen=True)
class Seeded(View):
    """A view on something random."""

    seed: int = number(0, 9_999, 0, label=mark("Seed"))


AttentionHead = OpensHead
