"""Controls that several views of the optimizers page share: surface, start, optimizers and theirs."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from components.settings import View, number, one_of, several, slider, text
from components.words import _, mark
from models.errors import InputError
from models.optimizers.schedules import SHAPES, Schedule
from models.optimizers.surfaces import SURFACES, Surface, SurfaceChoice, start_in, surface
from models.optimizers.trajectories import KINDS, Choice, Parameter, Run, default
from models.tables import typed_number

V = TypeVar("V", bound=View)

MOST_AT_ONCE = 8
CHOSEN = ("sgd", "momentum", "rmsprop", "adam")
RATE_LOW, RATE_HIGH = 1e-5, 10.0
# Learning rates that show something on the first surface; torch's own and tuned ones are a click away.
RATES = {
    "sgd": 2e-3,
    "momentum": 1e-3,
    "nesterov": 1e-3,
    "adagrad": 0.5,
    "adadelta": 5.0,
    "rmsprop": 0.05,
    "adam": 0.3,
    "adamw": 0.3,
    "nadam": 0.1,
    "radam": 0.003,
    "adamax": 0.2,
    "adafactor": 0.1,
    "rprop": 0.1,
    "lbfgs": 0.5,
    "lion": 0.03,
    "free_sgd": 1e-3,
    "free_adamw": 0.3,
}
EXAMPLE = "sin(x)*cos(y) + (x^2 + y^2)/20"
LONGEST_FORMULA = 1_000  # characters that the field takes; the formula's own limit is said in a sentence
SMALL_WORDS = {
    "momentum": "β",
    "dampening": "dampening",
    "beta1": "β₁",
    "beta2": "β₂",
    "eps": "ε",
    "rho": "ρ",
    "alpha": "α",
    "etaminus": "η⁻",
    "etaplus": "η⁺",
    "momentum_decay": "ψ",
    "beta2_decay": "β₂ decay",
    "d": "d",
    "history_size": "history",
}
OF_RATES = ("own", "torch", "tuned")


def kind_label(kind: str) -> str:
    return KINDS[kind].label


def surface_label(name: str) -> str:
    return {
        "ravine": _("Ravine (quadratic)"),
        "bowl": _("Bowl"),
        "rosenbrock": "Rosenbrock",
        "himmelblau": "Himmelblau",
        "beale": "Beale",
        "rastrigin": "Rastrigin",
        "saddle": _("Saddle"),
        "monkey": _("Monkey saddle"),
        "plateau": _("Plateau"),
        "typed": _("typed by you …"),
    }[name]


def rates_label(rates: str) -> str:
    return {"own": _("as set here"), "torch": _("library's defaults"), "tuned": _("tuned here")}[rates]


def schedule_label(shape: str) -> str:
    return {"constant": _("constant"), "cosine": _("cosine to 0"), "step": _("a tenth each third")}[shape]


def parameter_label(name: str) -> str:
    return _("Weight decay λ") if name == "weight_decay" else SMALL_WORDS[name]


@dataclass(frozen=True)
class Seeded(View):
    """A view on something random."""

    seed: int = number(
        0, 9_999, 0, label=mark("Seed"), place="more", off=lambda view: view.why_seed_is_off()
    )

    def why_seed_is_off(self) -> str:
        """Why another seed would change nothing now; empty where it would."""
        return ""


@dataclass(frozen=True)
class ChoosesOptimizers(View):
    """Which optimizers are compared."""

    chosen: tuple[str, ...] = several(
        list(KINDS), CHOSEN, label=mark("Optimizers"), label_of=kind_label, least=1, most=MOST_AT_ONCE
    )


def with_sliders_of_all(cls: type[V]) -> type[V]:
    """Add a slider for the learning rate and every other setting of every optimizer.

    Those of the chosen one are shown; the others keep their values.
    """
    for kind, entry in KINDS.items():
        sliders = {f"{kind}_rate": _rate_slider(kind)}
        sliders |= {f"{kind}_{item.name}": _slider(kind, item) for item in entry.parameters}
        for name, field in sliders.items():
            cls.__annotations__[name] = float
            setattr(cls, name, field)
    return cls


def _rate_slider(kind: str) -> Any:
    def off(view: "TunesOptimizers") -> str:
        return "" if view.rates == "own" else mark("needs learning rates “as set here”")

    return slider(
        RATE_LOW,
        RATE_HIGH,
        RATES[kind],
        log=True,
        label=lambda view: f"{kind_label(kind)} · " + _("Learning rate η"),
        live=follows,
        shown=lambda view: view.tune == kind and not view.sweeps_rates,
        off=off,
    )


def _slider(kind: str, item: Parameter) -> Any:
    def off(view: "TunesOptimizers") -> str:
        return mark("needs learning rates other than the library's") if view.uses_defaults else ""

    return slider(
        item.low,
        item.high,
        float(item.default),
        1e-12 if item.is_log else item.step,
        log=item.is_log,
        label=lambda view: f"{kind_label(kind)} · {parameter_label(item.name)}",
        live=follows,
        place="more" if item.name == "eps" else "rail",
        shown=lambda view: view.tune == kind,
        off=off,
    )


def follows(view: "TunesOptimizers") -> bool:
    """Whether the figures are redrawn quickly enough to follow a finger."""
    return not view.sweeps_rates and view.rates != "tuned"


@dataclass(frozen=True)
@with_sliders_of_all
class TunesOptimizers(ChoosesOptimizers):
    """The settings of every optimizer, and whether they are used as they stand."""

    sweeps_rates: ClassVar[bool] = False  # the view itself tries all learning rates

    tune: str = one_of(
        lambda view: view.chosen,
        lambda view: view.chosen[-1],
        label=mark("Settings of"),
        label_of=kind_label,
    )
    rates: str = one_of(
        OF_RATES,
        label=mark("Learning rates"),
        label_of=rates_label,
        beside=True,
        shown=lambda view: not view.sweeps_rates,
    )

    @property
    def uses_defaults(self) -> bool:
        return self.rates == "torch" and not self.sweeps_rates

    def choice_of(self, kind: str) -> Choice:
        """The optimizer as its sliders stand, on screen or not."""
        if self.uses_defaults:
            return default(kind)
        values = ((item, getattr(self, f"{kind}_{item.name}")) for item in KINDS[kind].parameters)
        settings = tuple((item.name, value) for item, value in values if value != item.default)
        return Choice(kind, getattr(self, f"{kind}_rate"), settings)


@dataclass(frozen=True)
class Setup:
    """Everything that a path depends on but the optimizer."""

    surface: SurfaceChoice
    start: tuple[float, float]
    run: Run

    @property
    def made(self) -> Surface:
        return surface(self.surface)


def on_ravine(view: "WalksOnSurface") -> bool:
    return view.surface == "ravine"


def sees_signs(view: "WalksOnSurface") -> str:
    return mark("Rprop looks at signs alone") if view.chosen == ("rprop",) else ""


@dataclass(frozen=True)
class WalksOnSurface(TunesOptimizers, Seeded):
    """The surface, where the paths begin, and how long and under what they go on."""

    surface: str = one_of(
        SURFACES, "rosenbrock", label=mark("Surface"), label_of=surface_label, resets=("start",)
    )
    start: str = text(
        "", label=mark("Start x, y"), placeholder=mark("click the plot"), most=60, beside=True
    )
    formula: str = text(
        EXAMPLE, label="f(x, y) =", most=LONGEST_FORMULA, shown=lambda view: view.surface == "typed"
    )
    steps: int = number(10, 1000, 200, label=mark("Steps"))
    condition: float = slider(
        1.0, 1000.0, 20.0, log=True, label=mark("Condition number κ"), live=follows, shown=on_ravine
    )
    degrees: float = slider(
        0.0, 90.0, 0.0, 1.0, unit="°", label=mark("Rotation"), live=follows, shown=on_ravine
    )
    schedule: str = one_of(
        SHAPES, "constant", label=mark("Schedule"), label_of=schedule_label, place="more"
    )
    warmup: int = number(0, 500, 0, label=mark("Warm-up steps"), place="more")
    noise: float = slider(
        0.0,
        20.0,
        0.0,
        0.1,
        label=mark("Gradient noise (standard deviation)"),
        live=follows,
        place="more",
    )
    clip: float = slider(
        0.0,
        50.0,
        0.0,
        0.5,
        label=mark("Clip gradient norm at (0: never)"),
        live=follows,
        place="more",
        off=sees_signs,
    )

    def why_seed_is_off(self) -> str:
        return "" if self.noise else mark("needs gradient noise above 0")

    @property
    def setup(self) -> Setup:
        """Raises InputError on a formula or a start that cannot be used."""
        choice = SurfaceChoice(self.surface, *self._ravine, self.formula if self.surface == "typed" else "")
        schedule = Schedule(self.schedule, self.warmup)
        run = Run(self.steps, schedule, self.noise, self.clip or math.inf, self.seed if self.noise else 0)
        return Setup(choice, start_of(self.start, surface(choice)), run)

    @property
    def _ravine(self) -> tuple[float, float]:
        """κ and the angle; other surfaces have none, and one place in the caches."""
        return (self.condition, self.degrees) if self.surface == "ravine" else (1.0, 0.0)


def start_of(text: str, made: Surface) -> tuple[float, float]:
    """Two numbers, or the surface's own start where nothing is typed. Raises InputError otherwise."""
    if not text.strip():
        return made.start
    try:
        x, y = (typed_number(word) for word in text.replace("，", ",").replace(",", " ").split())
    except ValueError:
        raise InputError("A start is two numbers, such as {example}.", example="-2, 2") from None
    return start_in(made, x, y)
