"""The kinds of controls: how each reads, clamps and writes a value.

``components.settings`` declares a view's fields with them. Nothing here knows Streamlit.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from components.settings import View

Place = Literal["rail", "more", "head", "none"]
LONGEST_NUMBER = 40  # characters of a number in an address
LONGEST_TEXT = 200_000  # characters that a text field keeps; what may be read of them a view says
MISSING: Any = object()


def _no_underscore(text: str) -> str:
    """The text. Raises ValueError on Python's own 1_000, which nobody else calls a number."""
    if "_" in text:
        raise ValueError("A number has no underscore.")
    return text


def of(value: Any, view: "View") -> Any:
    """A property of a control: itself, or what it is for this view."""
    return value(view) if callable(value) else value


@dataclass(frozen=True, kw_only=True)
class Control:
    """What every kind of control has.

    ``label`` and ``help`` are marked words, translated when they are shown; a function of the view is
    taken as it is. ``place`` says where it stands: in the rail, in the rail's fold "More", in the
    head line (drawn by the view itself) or nowhere (a click on a figure sets it). ``beside``: in one
    row with the control before it. ``kept``: scenes leave it as it is unless they name it. ``shown``
    and ``off`` look at the view: whether it is there at all, and why it can do nothing now (a marked
    sentence; empty where it can). ``follows`` names a field whose choice this one's default comes from:
    a link that sets that field puts this one back to its default. ``resets``: fields that go back to
    their defaults when a person moves this one, as a starting point does on another surface.
    ``widget`` draws it in the place of the usual widget.
    """

    default: Any
    label: str | Callable[[Any], str] = ""
    help: str = ""
    key: str = ""  # in the address, without the page's name; the field's own name where it is empty
    place: Place = "rail"
    beside: bool = False
    kept: bool = False
    shown: Callable[[Any], bool] | None = None
    off: Callable[[Any], str] | None = None
    follows: str = ""
    resets: tuple[str, ...] = ()
    widget: Callable[[Any], None] | None = None

    @property
    def depends(self) -> bool:
        """Whether default, bounds or options are functions of the view."""
        return any(callable(getattr(self, name, None)) for name in ("default", "low", "high", "options"))

    def default_of(self, view: "View") -> Any:
        return of(self.default, view)

    def parse(self, text: str) -> Any:
        """A value as the address writes it. Raises ValueError on what cannot be one."""
        return text

    def fit(self, value: Any, view: "View") -> Any:
        """The value, clamped to what this view allows; the default where it is none of it."""
        return value

    def write(self, value: Any) -> str:
        """The value as the address writes it."""
        return str(value)

    def settle(self, raw: Any, view: "View") -> Any:
        """What the control stands at, given what the session or the address holds."""
        if raw is MISSING:
            return self.fit(self.default_of(view), view)
        if isinstance(raw, str):
            try:
                raw = self.parse(raw)
            except ValueError:
                return self.fit(self.default_of(view), view)
        return self.fit(raw, view)


@dataclass(frozen=True, kw_only=True)
class Slider(Control):
    """A number between ``low`` and ``high``; a whole one where ``whole``.

    ``live``, itself or for a view: figures follow while it is dragged; else they wait for the release,
    and a mark says so. ``log`` moves by equal factors and needs ``low`` > 0. ``writes`` gives the view
    as it is to be once the slider is let go at a value, where that is kept in another field.
    """

    low: Any
    high: Any
    step: float = 0.01
    log: bool = False
    whole: bool = False
    live: bool | Callable[[Any], bool] = True
    unit: str = ""
    writes: Callable[[Any, float], "View"] | None = None

    def parse(self, text: str) -> float | int:
        if len(text) > LONGEST_NUMBER:
            raise ValueError("That is too long for a number.")
        number = float(_no_underscore(text))
        if not math.isfinite(number):
            raise ValueError("That is no finite number.")
        return number

    def fit(self, value: Any, view: "View") -> float | int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (isinstance(value, float) and not math.isfinite(value)):
            value = self.default_of(view)  # a whole number of 400 digits is no float, and clamped below
        value = min(of(self.high, view), max(of(self.low, view), value))
        return round(value) if self.whole else float(value)

    def write(self, value: Any) -> str:
        """As the slider itself writes it in the browser: a second text would be a second step back."""
        if isinstance(value, str):  # what was asked for and could not be settled yet
            return value
        if 0 < abs(value) < 1e-6:  # where JavaScript begins to write powers of ten
            return repr(value).replace("e-0", "e-")
        return np.format_float_positional(value, trim="-")


@dataclass(frozen=True, kw_only=True)
class Number(Control):
    """A whole number that is typed or stepped."""

    low: Any
    high: Any
    step: int = 1  # of the field's own buttons

    def parse(self, text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise ValueError("That is no whole number.")
        return int(text)

    def fit(self, value: Any, view: "View") -> int:
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        number = int(value) if is_whole else int(self.default_of(view))
        return min(of(self.high, view), max(of(self.low, view), number))


@dataclass(frozen=True, kw_only=True)
class OneOf(Control):
    """One of several options; the address holds the option's text, ``label_of`` says its name."""

    options: Any
    label_of: Callable[[Any], str] = str
    names_in: Callable[[Any], Callable[[Any], str]] | None = None  # label_of, where it depends on the view
    style: Literal["select", "segments", "radio"] = "select"

    def label_in(self, view: "View") -> Callable[[Any], str]:
        """What names an option in this view."""
        return self.label_of if self.names_in is None else self.names_in(view)

    def options_of(self, view: "View") -> list[Any]:
        return list(of(self.options, view))

    def fit(self, value: Any, view: "View") -> Any:
        options = self.options_of(view)
        for wanted in (value, self.default_of(view)):
            for option in options:
                if option == wanted or str(option) == str(wanted) or _is_number(option, wanted):
                    return option
        return options[0]


def _is_number(option: Any, wanted: Any) -> bool:
    """Whether a numeric option is written another way: 100 and "100.0"."""
    if isinstance(option, bool) or not isinstance(option, int | float) or not isinstance(wanted, str):
        return False
    try:
        return float(_no_underscore(wanted)) == option
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Several(Control):
    """Some of several options, a tuple of strings; the address holds them between commas."""

    options: Any
    label_of: Callable[[str], str] = str
    least: int = 0
    most: int = 100

    def options_of(self, view: "View") -> list[str]:
        return list(of(self.options, view))

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(part for part in text.split(",") if part)

    def fit(self, value: Any, view: "View") -> tuple[str, ...]:
        options = self.options_of(view)
        is_list = isinstance(value, Iterable) and not isinstance(value, str)
        asked = list(dict.fromkeys(map(str, value))) if is_list else []
        known = tuple(name for name in asked if name in options)[: self.most]
        if len(known) >= max(self.least, 1) or (self.least == 0 and not asked and is_list):
            return known
        return tuple(name for name in self.default_of(view) if name in options)[: self.most]

    def write(self, value: Any) -> str:
        return ",".join(value)


@dataclass(frozen=True, kw_only=True)
class Text(Control):
    """Typed text. What it means is the panel's to say: it keeps what was typed, right or wrong."""

    lines: int = 1
    most: int = LONGEST_TEXT
    placeholder: str = ""

    def fit(self, value: Any, view: "View") -> str:
        return value[: self.most] if isinstance(value, str) else str(self.default_of(view))


@dataclass(frozen=True, kw_only=True)
class Flag(Control):
    """On or off."""

    def parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("It is true or false.")
        return text == "true"

    def fit(self, value: Any, view: "View") -> bool:
        return value if isinstance(value, bool) else bool(self.default_of(view))

    def write(self, value: Any) -> str:
        return str(value).lower()
