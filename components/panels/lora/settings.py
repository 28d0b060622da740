"""What several views of the LoRA page share: names, the task's dials, and other controls."""

from dataclasses import dataclass

from components.settings import View, number, one_of, several, slider
from components.words import _, mark
from models.lora.adapter import SCALINGS, Scaling
from models.lora.initialisations import INITIALISATIONS
from models.lora.lab import Task
from models.lora.placement import TARGETS

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
WIDTHS = (32, 64, 96)


def initialisation_label(name: str) -> str:
    return {
        "kaiming": _("A random, B zero"),
        "gaussian": _("A Gaussian, B zero"),
        "zero": _("both zero"),
        "random": _("both random"),
        "b_random": _("A zero, B random"),
        "orthogonal": _("orthogonal"),
        "pissa": "PiSSA",
        "milora": "MiLoRA",
        "olora": "OLoRA",
        "full": _("full fine-tuning"),
    }[name]


def place_of(name: str) -> int:
    """Colour and dash of an initialisation, the same in every view."""
    return INITIALISATIONS.index(name) if name in INITIALISATIONS else len(INITIALISATIONS)


def scaling_label(rule: Scaling) -> str:
    return "α/r" if rule == "alpha/r" else "α/√r (rsLoRA)"


def rank_label(rank: int) -> str:
    return _("rank {rank}").format(rank=rank)


@dataclass(frozen=True)
class Seeded(View):
    """The first of the seeds."""

    seed: int = number(0, 9_999, 0, label=mark("First seed"), place="more")


@dataclass(frozen=True)
class Scaled(View):
    """How the adapter's scale follows its rank."""

    scaling: Scaling = one_of(SCALINGS, label=mark("Scale s"), label_of=scaling_label)


@dataclass(frozen=True)
class Targets(View):
    """The matrices that LoRA is put on."""

    targets: tuple[str, ...] = several(TARGETS, TARGETS, label=mark("LoRA on"), most=7)


@dataclass(frozen=True)
class OnTask(Seeded):
    """Four dials of the synthetic task: where ΔW* lies, its rank, its spectrum, its size."""

    alignment: float = slider(
        -1.0, 1.0, 0.0, 0.05, label=mark("ΔW* lies in W₀'s … (−1 smallest, 0 any, 1 largest directions)")
    )
    target: int = slider(1, 32, 8, 1, label=mark("Rank of ΔW*"))
    exponent: float = slider(0.0, 2.0, 1.0, 0.05, label=mark("Decay p of its singular values 1/iᵖ"))
    size: float = slider(0.1, 3.0, 1.0, log=True, label=mark("‖ΔW*‖ as part of ‖W₀‖"))

    def task(self, width: int) -> Task:
        """The task that the dials describe, at this width."""
        return Task(width, min(self.target, width), self.exponent, self.alignment, self.size)
