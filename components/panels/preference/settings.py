"""Which loss, with which conventions: the controls that several views of the page share."""

from collections.abc import Callable
from dataclasses import dataclass

from components.settings import View, number, one_of, slider
from components.words import _, mark
from models.preference.losses import DIVERGENCES, OVER_THE_BATCH, Divergence, LossSettings
from models.preference.relatives import LOSSES, WITH_DIVERGENCE, WITH_SMOOTHING

FIRST = 1e-3  # ε of exo_pair at ε = 0, where it is infinite
NAMES = {
    "sigmoid": "DPO · sigmoid",
    "hinge": "SLiC · hinge",
    "ipo": "IPO · ipo",
    "exo_pair": "EXO · exo_pair",
    "nca_pair": "NCA · nca_pair",
    "robust": "rDPO · robust",
    "bco_pair": "BCO · bco_pair",
    "sppo_hard": "SPPO · sppo_hard",
    "aot": "AOT · aot",
    "aot_unpaired": "AOT · aot_unpaired",
    "apo_zero": "APO · apo_zero",
    "apo_down": "APO · apo_down",
    "discopop": "DiscoPOP · discopop",
    "sft": "SFT · sft",
    "sigmoid_norm": "DPO · sigmoid_norm",
    "cdpo": "cDPO",
    "simpo": "SimPO",
    "orpo": "ORPO",
    "kto": "KTO",
}
DIVERGENCE_NAMES = {
    "reverse_kl": "reverse KL",
    "forward_kl": "forward KL",
    "js_divergence": "Jensen–Shannon",
    "alpha_divergence": "α",
}


def loss_label(name: str) -> str:
    return NAMES[name]


ON_PLANE = tuple(name for name in LOSSES if name not in OVER_THE_BATCH)  # losses of a single pair


def ipo_label(way: str) -> str:
    return _("mean by token (TRL)") if way == "token" else _("sum (paper)")


def needs(*losses: str) -> Callable[[View], bool]:
    """Whether a control is there: only while one of these losses reads it."""
    return lambda view: {getattr(view, name, "") for name in ("loss", "added")} & set(losses) != set()


def losses_of(view: View) -> tuple[str, ...]:
    """All losses where there is a whole table of pairs; elsewhere those of a single pair."""
    return tuple(LOSSES) if view.name == "calculator" else ON_PLANE


@dataclass(frozen=True)
class HasBeta(View):
    """β, which every loss on preferences has."""

    beta: float = slider(0.005, 5.0, 0.1, log=True, label="β", live=lambda view: view.name != "real")


@dataclass(frozen=True)
class HasLoss(HasBeta):
    """A loss, β, and the conventions that this loss reads; each is kept while it is not on screen."""

    loss: str = one_of(losses_of, "sigmoid", label=mark("Loss"), label_of=loss_label)
    divergence: Divergence = one_of(
        DIVERGENCES,
        "reverse_kl",
        label=mark("f-divergence"),
        label_of=DIVERGENCE_NAMES.__getitem__,
        shown=needs(*WITH_DIVERGENCE),
    )
    ipo: str = one_of(
        ("token", "sum"), label=mark("Δ of an answer"), label_of=ipo_label, shown=needs("ipo")
    )
    smoothing: float = slider(
        0.0, 0.49, 0.1, 0.001, label=mark("ε: share of wrong labels"), shown=needs(*WITH_SMOOTHING)
    )
    alpha: float = slider(
        -1.0,
        2.0,
        0.5,
        label=mark("α of the divergence"),
        shown=lambda view: view.loss in WITH_DIVERGENCE and view.divergence == "alpha_divergence",
    )
    tau: float = slider(0.01, 1.0, 0.05, log=True, label="τ", shown=needs("discopop"))
    gamma: float = slider(0.0, 3.0, 1.0, label=mark("γ: target margin"), shown=needs("simpo"))
    odds: float = slider(0.0, 2.0, 0.1, label=mark("λ: weight of the odds ratio"), shown=needs("orpo"))
    kl: float = slider(0.0, 10.0, 0.0, label=mark("z₀: KL to the reference"), shown=needs("kto"))
    desirable: float = slider(0.1, 3.0, 1.0, label=mark("λ_D: weight of chosen"), shown=needs("kto"))
    undesirable: float = slider(0.1, 3.0, 1.0, label=mark("λ_U: weight of rejected"), shown=needs("kto"))

    @property
    def settings(self) -> LossSettings:
        """What the controls say."""
        return LossSettings(
            beta=self.beta,
            smoothing=max(FIRST, self.smoothing) if self.loss == "exo_pair" else self.smoothing,
            divergence=self.divergence,
            alpha=self.alpha,
            ipo_by_token=self.ipo == "token",
            tau=self.tau,
            gamma=self.gamma,
            odds_weight=self.odds,
            kl=self.kl,
            desirable=self.desirable,
            undesirable=self.undesirable,
        )

    @property
    def pair_loss(self) -> str:
        """The loss, where it is one of a single pair; else DPO's."""
        return self.loss if self.loss in ON_PLANE else "sigmoid"


@dataclass(frozen=True)
class ExplainsPair(View):
    """Which pair of the table is explained, from 1."""

    row: int = number(1, 10_000, 1, label=mark("Explain pair"))
