"""The methods of the context page with their settings, and the controls that its views share."""

import math
from dataclasses import dataclass
from typing import Any

from components.figures.methods import method_label
from components.settings import View, number, one_of, slider
from components.traces import facts
from components.words import language, mark
from models.context.long_context import LONGEST_TEXT, PASSAGES, Way
from models.context.long_factors import long_factors
from models.networks.catalogue import DEFAULT
from models.networks.facts import NetworkFacts
from models.networks.key_cache import EVERYTHING, KeyCache, Positions
from models.networks.texts import passages
from models.rotary.scaling import RopeSettings

NETWORK = DEFAULT
SINKS = 4
METHODS = ("default", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope", "truncated")
REACHES = ("window", "lambda", "lambda_text")
LENGTHS = (512, 1_024, 2_048)


@dataclass(frozen=True)
class Stretched(View):
    """A view on a network that is asked for texts so many times as long as any in training."""

    factor: float = slider(
        1.0,
        64.0,
        8.0,
        log=True,
        label=mark("Factor s"),
        help=mark("How many times the trained length is asked for."),
    )


@dataclass(frozen=True)
class ChoosesMethod(Stretched):
    """A view that shows one method, of those that it names."""

    method: str = one_of(lambda view: view.methods, "yarn", label=mark("Method"), label_of=method_label)

    @property
    def methods(self) -> tuple[str, ...]:
        return (*METHODS, *REACHES)


@dataclass(frozen=True)
class Measured(ChoosesMethod):
    """A method on the embedded network, read up to a length; some read through a window."""

    length: int = one_of(LENGTHS, 2_048, label=mark("Up to (tokens)"))
    window: int = number(
        16,
        256,
        128,
        label=mark("Window, sinks included"),
        shown=lambda view: view.has_window,
    )

    @property
    def has_window(self) -> bool:
        """Whether the window changes anything."""
        return self.method in REACHES

    def way(self, method: str) -> Way:
        """A method of the page as this view's controls have it."""
        return way_of(method, round(self.factor, 3), self.window)


@dataclass(frozen=True)
class ReadsPassage(View):
    """A view on one of the passages that the network was not trained on."""

    passage: str = one_of(
        [passage.name for passage in passages() if passage.name in PASSAGES],
        PASSAGES[0],
        label=mark("Passage"),
        label_of=lambda name: next(item for item in passages() if item.name == name).title(language()),
        kept=True,
    )


@dataclass(frozen=True)
class Seeded(View):
    """A view on something random."""

    seed: int = number(0, 9_999, 0, label=mark("Seed"), place="more")


def embedded() -> NetworkFacts:
    """The network of this page: its sizes, and the length that it was trained at."""
    return facts(NETWORK)


def settings_of(
    method: str, factor: float, *, width: int, base: float, trained: int, target: int
) -> RopeSettings:
    """A method's settings as a config would have them.

    dynamic stretches from max_position_embeddings, so that this is the trained length there. The
    truncated basis keeps what turns within the trained length, drops what does not turn within the
    target, and levels what lies between; its paper leaves the bounds open.
    """
    common: dict[str, Any] = {"head_dim": width, "rope_theta": base, "trained": trained, "factor": factor}
    longest = trained if method == "dynamic" else target
    if method == "llama3":
        return RopeSettings(method, **common, longest=longest, low_freq_factor=1.0, high_freq_factor=4.0)
    if method == "longrope":
        divisors = divisors_for(width // 2)
        short = (1.0,) * len(divisors)
        return RopeSettings(method, **common, longest=longest, short_factor=short, long_factor=divisors)
    if method == "truncated":
        return RopeSettings(
            method,
            **common,
            longest=longest,
            keep_above=2 * math.pi / trained,
            cut_below=min(2 * math.pi / target, 2 * math.pi / trained),
            constant=2 * math.pi / target,
        )
    return RopeSettings(method, **common, longest=longest)


def divisors_for(pairs: int) -> tuple[float, ...]:
    """The divisors that were searched for the embedded network, stretched over another width."""
    searched = long_factors()
    if pairs == len(searched):
        return searched
    places = [i * (len(searched) - 1) / max(pairs - 1, 1) for i in range(pairs)]
    lower = [min(int(place), len(searched) - 2) for place in places]
    return tuple(
        searched[i] + (place - i) * (searched[i + 1] - searched[i])
        for i, place in zip(lower, places, strict=True)
    )


def way_of(method: str, factor: float, window: int) -> Way:
    """A method on the embedded network, at the length that is measured up to."""
    network = embedded()
    settings = settings_of(
        rope_of(method),
        factor,
        width=network.head_width,
        base=network.rope_base,
        trained=network.context,
        target=LONGEST_TEXT,
    )
    return Way(settings, cache_of(method, window))


def rope_of(method: str) -> str:
    """What scales the rotary positions under a method: those that only read less leave them."""
    return method if method in METHODS else "default"


def cache_of(method: str, window: int) -> KeyCache:
    """Windows hold as many tokens in all, sinks included, so that they can be compared."""
    if method == "window":
        return KeyCache(window)
    if method in ("lambda", "lambda_text"):
        positions: Positions = "cache" if method == "lambda" else "text"
        return KeyCache(max(1, window - SINKS), SINKS, positions)
    return EVERYTHING
