"""What the views of the optimizers page share: surface, start, optimizers and their settings."""

import math
from dataclasses import dataclass, replace

import streamlit as st

from components.controls import choose, choose_several, text_field, whole_number
from components.live.address import remember
from components.live.slider import live_slider, slider_value
from components.page import Page
from components.panels import panel
from components.refusal import sentence
from components.words import _
from models.errors import InputError
from models.optimizers.schedules import SHAPES, Schedule
from models.optimizers.surfaces import SURFACES, Surface, SurfaceChoice, start_in, surface
from models.optimizers.trajectories import KINDS, Choice, Run, Trajectory, trajectory

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
SMALL_WORDS = {
    "momentum": "β",
    "dampening": "1 − (1−β)",
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
}


@dataclass(frozen=True)
class Setup:
    """Everything that a path depends on but the optimizer's own settings."""

    surface: SurfaceChoice
    start: tuple[float, float]
    kinds: tuple[str, ...]
    run: Run
    rates: str = "own"  # own, torch or tuned

    @property
    def made(self) -> Surface:
        return surface(self.surface)


FIRST = Setup(SurfaceChoice(), (-1.2, 1.0), CHOSEN, Run())


def defaults() -> dict[str, object]:
    """The sliders of every optimizer, for the page's list of controls."""
    found: dict[str, object] = {}
    for kind, entry in KINDS.items():
        found[f"optimizers_{kind}_rate"] = RATES[kind]
        found |= {f"optimizers_{kind}_{p.name}": p.default for p in entry.parameters}
    return found


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


def choose_setup(page: Page, live: tuple[str, ...]) -> Setup:
    """Controls for all of it. What is refused is said in a sentence; the last good setup stays."""
    state, name = st.session_state, f"{page.name}_good"
    try:
        state[name] = _controls(page, live)
    except InputError as error:
        st.warning(sentence(error), icon=":material/info:")
    return state.get(name, FIRST)


def _controls(page: Page, live: tuple[str, ...]) -> Setup:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose(
            _("Surface"), SURFACES, f"{name}_surface", surface_label, default="rosenbrock", width=190
        )
        expression = ""
        if chosen == "typed":
            expression = text_field("f(x, y) =", f"{name}_formula", EXAMPLE, max_chars=200, width=330)
        _forget_start(name, chosen)
        start = text_field(
            _("Start x, y"),
            f"{name}_start",
            "",
            placeholder=_("click the plot"),
            max_chars=60,
            width=150,
        )
        steps = whole_number(_("Steps"), 10, 1000, f"{name}_steps", 200, width=110)
        rates = choose(
            _("Learning rates"),
            ("own", "torch", "tuned"),
            f"{name}_rates",
            rates_label,
            default="own",
            style="segments",
        )
    kinds = choose_kinds(page)
    condition, degrees = 20.0, 0.0
    if chosen == "ravine":
        with st.container(horizontal=True):
            condition = live_slider(
                _("Condition number κ"), f"{name}_condition", 1.0, 1000.0, 20.0, log=True, live=live
            )
            degrees = live_slider(
                _("Rotation"), f"{name}_degrees", 0.0, 90.0, 0.0, 1.0, unit="°", live=live
            )
    choice = SurfaceChoice(chosen, condition, degrees, expression)
    made = surface(choice)
    return Setup(choice, start_of(start, made), tuple(kinds), run_of(page, steps), rates)


def choose_kinds(page: Page) -> list[str]:
    return choose_several(
        _("Optimizers"),
        list(KINDS),
        f"{page.name}_chosen",
        lambda kind: KINDS[kind].label,
        default=CHOSEN,
        most=MOST_AT_ONCE,
    )


def rates_label(rates: str) -> str:
    return {"own": _("as set below"), "torch": _("library's defaults"), "tuned": _("tuned here")}[rates]


def _forget_start(name: str, chosen: str) -> None:
    """Another surface begins at its own start, unless a link brought one along."""
    state, key = st.session_state, f"{name}_start"
    start = state.get(key, st.query_params.get(key, ""))
    if state.get(f"{name}_seen", (chosen, ""))[0] != chosen and state[f"{name}_seen"][1] == start:
        start = state[key] = ""
    state[f"{name}_seen"] = (chosen, start)


def start_of(text: str, made: Surface) -> tuple[float, float]:
    """Two numbers, or the surface's own start where nothing is typed. Raises InputError otherwise."""
    if not text.strip():
        return made.start
    try:
        x, y = (float(word) for word in text.replace("，", ",").replace(",", " ").split())
    except ValueError:
        raise InputError("A start is two numbers, such as {example}.", example="-2, 2") from None
    return start_in(made, x, y)


def run_of(page: Page, steps: int) -> Run:
    """Schedule, noise and clipping, folded away."""
    name = page.name
    with (
        st.expander(_("Schedule, noise, clipping")),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        shape = choose(
            _("Schedule"), SHAPES, f"{name}_schedule", schedule_label, default="constant", width=150
        )
        warmup = whole_number(_("Warm-up steps"), 0, 500, f"{name}_warmup", 0, width=130)
        noise = live_slider(_("Gradient noise (standard deviation)"), f"{name}_noise", 0.0, 20.0, 0.0, 0.1)
        clip = live_slider(_("Clip gradient norm at (0: never)"), f"{name}_clip", 0.0, 50.0, 0.0, 0.5)
        seed = whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    return Run(steps, Schedule(shape, warmup), noise, clip or math.inf, seed)


def schedule_label(shape: str) -> str:
    return {"constant": _("constant"), "cosine": _("cosine to 0"), "step": _("a tenth each third")}[shape]


def parameter_label(name: str) -> str:
    return _("Weight decay λ") if name == "weight_decay" else SMALL_WORDS.get(name, name)


@panel
def tune(page: Page, kinds: tuple[str, ...], live: tuple[str, ...], settled: tuple[str, ...]) -> None:
    """Sliders of one optimizer; those of the others stay in the address."""
    kind = tuned_kind(page, kinds)
    for other in KINDS:
        for parameter, default in _numbers(other):
            key = f"{page.name}_{other}_{parameter}"
            if other != kind and key in st.session_state:
                remember(key, st.session_state[key], default)
    with st.container(horizontal=True):
        live_slider(
            _("Learning rate η"),
            f"{page.name}_{kind}_rate",
            RATE_LOW,
            RATE_HIGH,
            RATES[kind],
            log=True,
            live=live,
            settled=settled,
        )
        for p in KINDS[kind].parameters:
            live_slider(
                parameter_label(p.name),
                f"{page.name}_{kind}_{p.name}",
                p.low,
                p.high,
                p.default,
                1e-12 if p.is_log else p.step,
                log=p.is_log,
                live=live,
                settled=settled,
            )


def tuned_kind(page: Page, kinds: tuple[str, ...]) -> str:
    return choose(
        _("Settings of"),
        kinds,
        f"{page.name}_tune",
        lambda kind: KINDS[kind].label,
        default=kinds[-1],
        style="segments",
    )


def _numbers(kind: str) -> list[tuple[str, float]]:
    return [("rate", RATES[kind]), *((p.name, p.default) for p in KINDS[kind].parameters)]


def choice_now(page: Page, kind: str) -> Choice:
    """The optimizer as its sliders stand, on screen or not."""
    prefix = f"{page.name}_{kind}"
    rate = slider_value(f"{prefix}_rate", RATE_LOW, RATE_HIGH, RATES[kind])
    settings = []
    for p in KINDS[kind].parameters:
        value = slider_value(f"{prefix}_{p.name}", p.low, p.high, p.default)
        if value != p.default:
            settings.append((p.name, value))
    return Choice(kind, rate, tuple(settings))


@st.cache_resource(max_entries=256, show_spinner=False)
def path_of(choice: SurfaceChoice, start: tuple[float, float], optimizer: Choice, run: Run) -> Trajectory:
    """One optimizer's path; a change of another one's settings leaves it as it is."""
    return trajectory(surface(choice), start, optimizer, run)


def with_rate(choice: Choice, rate: float) -> Choice:
    return replace(choice, rate=rate)
