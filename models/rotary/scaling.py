"""Rotary frequencies past the trained length: what each scaling method does to each pair.

RoPE turns pair i of a query or key by the angle m·θ_i at position m, with θ_i = base^(−2i/d) (Su et
al. 2021). Its wavelength 2π/θ_i is the distance after which it has turned once. Every method below
replaces θ_i, and some multiply cos and sin by an attention factor; the settings have the names and
the defaults of transformers 5.23 (modeling_rope_utils), which computes in float32, as is done here.

    linear     θ/s                                Chen et al. 2023, position interpolation (PI)
    ntk        base·s^(d/(d−2))                   "bloc97" 2023, NTK-aware; no type of transformers
    dynamic    the same, s from the length        "emozilla" 2023, dynamic NTK
    yarn       θ/s, θ, and a ramp between them    Peng et al. 2023, YaRN
    llama3     bands by wavelength                Meta's Llama 3.1 code
    longrope   θ/λ_i with searched λ              Ding et al. 2024, LongRoPE
    truncated  low frequencies 0 or constant      Pal et al. 2023, Giraffe; no type of transformers
    proportional  partly zero                     Gemma 4 in transformers

s is the factor, d the rotated width (``width``), L the trained length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.rotary import rope

LONGEST = 2**24  # float32 holds every whole number up to here; beyond it, positions fall together
BASES = (1.0, 1e12)
LARGEST_FACTOR = 1e4
WIDEST = 4_096


@dataclass(frozen=True)
class RopeSettings:
    """What a config says about its rotary embedding: transformers' own keys, and hashable.

    ``trained`` is original_max_position_embeddings, ``longest`` max_position_embeddings. Two types
    are not known to transformers: ntk, and truncated with its ``cut_below``, ``keep_above`` and
    ``constant`` (a, b and ρ of the paper, in radians a token).

    Raises InputError where a value cannot be computed with.
    """

    rope_type: str
    head_dim: int
    rope_theta: float = 10_000.0
    longest: int = 2_048
    trained: int | None = None  # as longest, where a config does not name it
    factor: float | None = None
    partial_rotary_factor: float = 1.0
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    cut_below: float = 0.0
    keep_above: float = 0.0
    constant: float = 0.0

    def __post_init__(self) -> None:
        if self.rope_type not in SCALINGS:
            raise InputError(
                "The rope type {type} is not known; known are {known}.",
                type=repr(self.rope_type),
                known=", ".join(SCALINGS),
            )
        if not 0 <= self.partial_rotary_factor <= 1:
            raise InputError("The field {name} must be from 0 to 1.", name="partial_rotary_factor")
        _check_width(self.head_dim, self.width)
        low, high = BASES
        if not (math.isfinite(self.rope_theta) and low < self.rope_theta <= high):
            raise InputError(
                "The base (rope_theta) is {base}; it must be above 1 and at most {most}.",
                base=self.rope_theta,
                most=f"{high:g}",
            )
        for length in (self.longest, self.original):
            check_length(length)
        if self.factor is not None and not 1 <= self.factor <= LARGEST_FACTOR:
            raise InputError(
                "The factor is {factor}; numbers from 1 to {most} are accepted.",
                factor=self.factor,
                most=f"{LARGEST_FACTOR:g}",
            )
        _check_own(self)

    @property
    def width(self) -> int:
        """Dimensions that are rotated; the others carry no position."""
        if self.rope_type == "proportional":
            return self.head_dim
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def original(self) -> int:
        """The trained length L."""
        return self.longest if self.trained is None else self.trained


@dataclass(frozen=True, eq=False)
class ScaledRope:
    """What a rotary module holds: radians a token for each pair, and the factor on cos and sin."""

    inverse_frequencies: Float[Tensor, " pairs"]
    attention_factor: float = 1.0  # multiplies queries and keys alike, so scores by its square

    @property
    def wavelengths(self) -> Float[Tensor, " pairs"]:
        """Tokens for one full turn; infinite where a pair does not turn at all."""
        return rope.wavelengths(self.inverse_frequencies)

    def turns(self, length: int) -> Float[Tensor, " pairs"]:
        """Full turns from the first to the last of ``length`` positions."""
        return rope.turns(check_length(length), self.inverse_frequencies)


def check_length(length: int) -> int:
    """The length itself. Raises InputError where positions cannot be told apart any more."""
    if not 1 <= length <= LONGEST:
        raise InputError(
            "A length of {length} is not accepted; from 1 to {most} positions are, as float32 "
            "cannot tell larger ones apart.",
            length=length,
            most=LONGEST,
        )
    return length


def _check_width(head_dim: int, width: int) -> None:
    if max(head_dim, width) > WIDEST or width < 2 or width % 2:
        raise InputError(
            "A width of {width} cannot be rotated in pairs; even numbers from 2 to {most} are accepted.",
            width=width,
            most=WIDEST,
        )


def _check_own(settings: RopeSettings) -> None:
    """What one type alone needs."""
    kind, factor = settings.rope_type, settings.factor
    if kind in ("linear", "ntk", "dynamic", "llama3") and factor is None:
        raise InputError("The rope type {type} needs the field {field}.", type=kind, field="factor")
    if kind in ("ntk", "dynamic") and settings.width < 4:
        raise InputError("NTK scaling needs at least two pairs, that is a width of 4.")
    if kind == "llama3":
        low, high = settings.low_freq_factor, settings.high_freq_factor
        if low is None or high is None or not 0 < low < high:
            raise InputError("low_freq_factor must be above 0 and below high_freq_factor.")
    if kind == "yarn" and not 0 < (settings.beta_slow or 1) <= (settings.beta_fast or 32):
        raise InputError("beta_slow must be above 0 and not above beta_fast.")
    if kind == "longrope":
        pairs = settings.width // 2
        for name in ("short_factor", "long_factor"):
            values = getattr(settings, name)
            if len(values) != pairs or not all(math.isfinite(v) and v > 0 for v in values):
                raise InputError(
                    "{name} must list {pairs} numbers above 0, one for each pair; it lists {count}.",
                    name=name,
                    pairs=pairs,
                    count=len(values),
                )
    if kind == "truncated" and not 0 <= settings.cut_below <= settings.keep_above:
        raise InputError("The truncated basis needs 0 ≤ a ≤ b.")


def scaled_rope(settings: RopeSettings, length: int | None = None) -> ScaledRope:
    """Frequencies and attention factor that a network uses for a text of ``length`` tokens.

    Only dynamic and longrope depend on the length; without one, they are as when the network is
    built. Raises InputError on a length that is out of range.
    """
    if length is not None:
        check_length(length)
    return SCALINGS[settings.rope_type](settings, length)


def ntk_base(base: float, factor: float, width: int) -> float:
    """The base under which the slowest pair is slowed by ``factor`` and the fastest not at all."""
    return base * factor ** (width / (width - 2))


def dynamic_factor(factor: float, length: int, trained: int) -> float:
    """By how much transformers' dynamic NTK stretches at a length: s·l/L − (s − 1).

    YaRN's paper, section 3.3, has l/L, which is the same where ``factor`` is 1 and less elsewhere.
    """
    return factor * max(length, trained) / trained - (factor - 1)


def _default(settings: RopeSettings, _length: int | None) -> ScaledRope:
    return ScaledRope(rope.frequencies(settings.width, settings.rope_theta))


def _linear(settings: RopeSettings, _length: int | None) -> ScaledRope:
    return ScaledRope(rope.frequencies(settings.width, settings.rope_theta) / _factor(settings))


def _ntk(settings: RopeSettings, _length: int | None) -> ScaledRope:
    base = ntk_base(settings.rope_theta, _factor(settings), settings.width)
    return ScaledRope(rope.frequencies(settings.width, base))


def _dynamic(settings: RopeSettings, length: int | None) -> ScaledRope:
    """Transformers stretches from max_position_embeddings, whatever the original length is."""
    trained = settings.longest
    stretch = dynamic_factor(_factor(settings), length or trained, trained)
    return ScaledRope(
        rope.frequencies(settings.width, ntk_base(settings.rope_theta, stretch, settings.width))
    )


def _factor(settings: RopeSettings) -> float:
    """The factor; the ratio of the two lengths where a config names none, as in transformers."""
    if settings.factor is not None:
        return settings.factor
    return settings.longest / settings.original


def _yarn(settings: RopeSettings, _length: int | None) -> ScaledRope:
    unscaled = rope.frequencies(settings.width, settings.rope_theta)
    ramp = yarn_ramp(settings)
    interpolated = unscaled / _factor(settings)
    return ScaledRope(
        interpolated * ramp + unscaled * (1 - ramp),
        yarn_attention_factor(settings),
    )


def yarn_ramp(settings: RopeSettings) -> Float[Tensor, " pairs"]:
    """The share of interpolation of each pair: 0 keeps θ, 1 takes θ/s.

    The pairs at which L positions make beta_fast and beta_slow turns are rounded outwards
    (``truncate``), and the ramp between them is linear in the pair's number, as in the authors'
    code; see ``yarn_paper_ramp`` for their paper.
    """
    fast, slow = settings.beta_fast or 32.0, settings.beta_slow or 1.0
    low, high = (pair_with_turns(settings, turns) for turns in (fast, slow))
    if settings.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, settings.width - 1)
    if low == high:
        high += 0.001
    pairs = torch.arange(settings.width // 2, dtype=torch.float32)
    return ((pairs - low) / (high - low)).clamp(0, 1)


def pair_with_turns(settings: RopeSettings, turns: float) -> float:
    """The pair, not rounded, that turns so often within the trained length."""
    ratio = settings.original / (turns * 2 * math.pi)
    return settings.width * math.log(ratio) / (2 * math.log(settings.rope_theta))


def yarn_paper_ramp(settings: RopeSettings) -> Float[Tensor, " pairs"]:
    """The same share by the paper's definition: linear in the number of turns r = L/λ.

    Peng et al. 2023, section 3.2: γ(r) = (r − α)/(β − α) between α and β, and 1 − γ interpolates.
    """
    fast, slow = settings.beta_fast or 32.0, settings.beta_slow or 1.0
    turns = settings.original * rope.frequencies(settings.width, settings.rope_theta) / (2 * math.pi)
    if fast == slow:
        return (turns < slow).float()
    return 1 - ((turns - slow) / (fast - slow)).clamp(0, 1)


def yarn_paper(settings: RopeSettings) -> ScaledRope:
    """YaRN by its paper: that ramp, and √(1/t) = 0.1·ln s + 1, whatever mscale says."""
    unscaled = rope.frequencies(settings.width, settings.rope_theta)
    ramp, factor = yarn_paper_ramp(settings), _factor(settings)
    return ScaledRope(unscaled / factor * ramp + unscaled * (1 - ramp), 0.1 * math.log(factor) + 1)


def yarn_attention_factor(settings: RopeSettings) -> float:
    """attention_factor where it is given; else from the factor, and from mscale where both are set.

    With mscale = mscale_all_dim, as DeepSeek-V3 has it, the result is 1.
    """
    if settings.attention_factor is not None:
        return settings.attention_factor

    def scale(mscale: float) -> float:
        factor = _factor(settings)
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if settings.mscale and settings.mscale_all_dim:
        return scale(settings.mscale) / scale(settings.mscale_all_dim)
    return scale(1.0)


def _llama3(settings: RopeSettings, _length: int | None) -> ScaledRope:
    """Short wavelengths as they are, long ones interpolated, those between by a ramp in L/λ."""
    low, high = settings.low_freq_factor or 1.0, settings.high_freq_factor or 4.0
    unscaled = rope.frequencies(settings.width, settings.rope_theta)
    interpolated = unscaled / _factor(settings)
    turns = settings.original / (2 * math.pi / unscaled)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return ScaledRope((1 - smooth) * interpolated + smooth * unscaled)


def _longrope(settings: RopeSettings, length: int | None) -> ScaledRope:
    """One divisor a pair: the long list for texts beyond the trained length, else the short one."""
    is_long = length is not None and length > settings.original
    divisors = torch.tensor(settings.long_factor if is_long else settings.short_factor)
    exponents = torch.arange(0, settings.width, 2).float() / settings.width
    return ScaledRope(
        1.0 / (divisors * settings.rope_theta**exponents), longrope_attention_factor(settings)
    )


def longrope_attention_factor(settings: RopeSettings) -> float:
    """attention_factor where it is given, else √(1 + ln s / ln L): by the target, not by the text."""
    if settings.attention_factor is not None:
        return settings.attention_factor
    factor = _factor(settings)
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(settings.original))


def _truncated(settings: RopeSettings, _length: int | None) -> ScaledRope:
    """θ at least b stays, θ up to a becomes 0, and ρ stands for all between (Giraffe, section 3)."""
    unscaled = rope.frequencies(settings.width, settings.rope_theta)
    between = torch.full_like(unscaled, settings.constant)
    cut = torch.where(unscaled <= settings.cut_below, 0.0, between)
    return ScaledRope(torch.where(unscaled >= settings.keep_above, unscaled, cut))


def _proportional(settings: RopeSettings, _length: int | None) -> ScaledRope:
    """The first pairs turn as in a head of full width, the others not at all; then all by 1/s."""
    unscaled = rope.frequencies(settings.head_dim, settings.rope_theta)
    rotated = int(settings.partial_rotary_factor * settings.head_dim // 2)
    unscaled = torch.where(torch.arange(len(unscaled)) < rotated, unscaled, 0.0)
    return ScaledRope(unscaled / (settings.factor or 1.0))


SCALINGS: dict[str, Callable[[RopeSettings, int | None], ScaledRope]] = {
    "default": _default,
    "linear": _linear,
    "ntk": _ntk,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
    "truncated": _truncated,
    "proportional": _proportional,
}
