"""A view's controls, declared once as the fields of a frozen value.

    @dataclass(frozen=True)
    class Softmax(View):
        page, name = "attention", "softmax"
        logits: str = text("2, 1, 0, -1", label=mark("Logits z"))
        factor: float = slider(0.1, 20.0, 1.0, log=True, label=mark("Multiply by k"))

From the fields follow the widgets, the session, the address, links and scenes, clamping and
defaults. Nothing here knows Streamlit: ``components.controls`` draws what is declared here.
A default, a bound or the options of a control may be a function of the view; it sees the fields
that are declared before it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlencode

import numpy as np

from models.errors import InputError

if TYPE_CHECKING:
    from components.stage import Stage

Place = Literal["rail", "more", "head", "none"]
LONGEST_NUMBER = 40  # characters of a number in an address
LONGEST_TEXT = 200_000  # characters that a text field keeps; what may be read of them a view says
# Words that the bench itself keeps below a page's name, in the session or in the address.
OF_THE_BENCH = frozenset(
    {"asked", "claims", "drawer", "good", "hands", "history", "history_taken", "link", "opened", "pin"}
    | {"present", "questions", "said", "scene", "seen", "strange", "view"}
)
_MISSING: Any = object()


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
        if raw is _MISSING:
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
        number = float(text)
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
        return float(wanted) == option
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


def _field(control: Control) -> Any:
    default = None if callable(control.default) else control.default
    return dataclasses.field(default=default, metadata={"control": control})


def slider(low: Any, high: Any, default: Any, step: float = 0.01, **options: Any) -> Any:
    """A slider; of whole numbers where default and step are whole. Options: Slider's and Control's."""
    whole = options.pop("whole", isinstance(default, int) and step == int(step))
    return _field(Slider(low=low, high=high, default=default, step=step, whole=whole, **options))


def number(low: Any, high: Any, default: Any, **options: Any) -> Any:
    """A whole number in a field."""
    return _field(Number(low=low, high=high, default=default, **options))


def one_of(options: Any, default: Any = _MISSING, **further: Any) -> Any:
    """One of ``options``, which may be a function of the view; the first is the default."""
    if default is _MISSING:
        default = (lambda view: options(view)[0]) if callable(options) else options[0]
    return _field(OneOf(options=options, default=default, **further))


def several(options: Any, default: Any = (), **further: Any) -> Any:
    """Some of ``options``, which are strings."""
    return _field(Several(options=options, default=default, **further))


def text(default: Any = "", **options: Any) -> Any:
    """A field for text: one line, or ``lines`` of them."""
    return _field(Text(default=default, **options))


def flag(default: bool = False, **options: Any) -> Any:
    """A switch."""
    return _field(Flag(default=default, **options))


def grid(default: str, **options: Any) -> Any:
    """A table of numbers as one text (models.tables reads it), which the view itself lets edit.

    It stands nowhere unless ``place`` and ``widget`` say where, and what draws it.
    """
    return _field(Text(default=default, **({"place": "none"} | options)))


def picked(default: int = -1, low: int = -1, high: int = 10**9, **options: Any) -> Any:
    """A place that a click on a figure chooses; −1 for none. It has no widget of its own."""
    return _field(Number(low=low, high=high, default=default, place="none", **options))


@dataclass(frozen=True)
class View:
    """One screen of a page: its settings, what stands on its stage, and what stands below."""

    page: ClassVar[str]
    name: ClassVar[str]
    rail_first: ClassVar[tuple[str, ...]] = ()  # fields that lead the rail; the others follow as declared
    opens: ClassVar[bool] = False  # where an address names no view; else the page's first one does
    came_from: ClassVar[str] = ""  # the view that this one was once a part of

    def stage(self) -> "Stage":
        """Figures and other parts of the stage. Live sliders call it outside of any session."""
        raise NotImplementedError

    def editor(self) -> None:
        """What is typed into below the figures, drawn with Streamlit: also while the view refuses it."""

    def head_line(self) -> None:
        """What opens beside the title besides scenes: network and text, where the view reads any."""

    def actions(self) -> None:
        """Buttons and the like at the end of the rail, drawn with Streamlit."""

    def below(self) -> None:
        """Arithmetic, tables, checks and things to take along, drawn with Streamlit."""

    @classmethod
    @cache
    def controls(cls) -> Mapping[str, Control]:
        """The controls by their fields' names, in the order in which they are declared.

        Raises TypeError on a field that bears the name of something that every view has.
        """
        found = {item.name: item.metadata["control"] for item in dataclasses.fields(cls)}
        if taken := set(found) & set(dir(View)):
            raise TypeError(f"{cls.__name__}: every view has a {', '.join(sorted(taken))}.")
        return found

    @classmethod
    @cache
    def keys(cls) -> Mapping[str, str]:
        """What each field is called in the address and in the session."""
        return {name: f"{cls.page}_{control.key or name}" for name, control in cls.controls().items()}

    @classmethod
    def settled(cls, raw: Mapping[str, Any]) -> Self:
        """The view at ``raw`` values of its fields, each clamped; defaults where there are none.

        A control that cannot be read (options of a network that does not load) keeps its plain default,
        ``trouble`` holds the first InputError, and ``unread`` the names of such controls.
        """
        view, unread = object.__new__(cls), set()
        object.__setattr__(view, "trouble", None)
        for name, control in cls.controls().items():
            value = None if callable(control.default) else control.default
            if view.trouble is None or not control.depends:  # a hub that hangs is asked once
                try:
                    value = control.settle(raw.get(name, _MISSING), view)
                except InputError as error:
                    object.__setattr__(view, "trouble", error)
                    unread.add(name)
            else:
                unread.add(name)
            object.__setattr__(view, name, value)
        object.__setattr__(view, "unread", frozenset(unread))
        return view

    trouble: ClassVar[InputError | None] = None
    unread: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def at(cls, **values: Any) -> Self:
        """The view with some fields set and the others at their defaults."""
        return cls.settled(values)

    @classmethod
    def from_query(cls, query: str) -> Self:
        """The view that an address describes; what it does not name, or names wrongly, is the default."""
        texts = query_texts(query)
        return cls.settled({name: texts[key] for name, key in cls.keys().items() if key in texts})

    def with_(self, **values: Any) -> Self:
        """The view with some fields changed, all of them clamped anew."""
        held = {name: getattr(self, name) for name in self.controls()}
        return type(self).settled(held | values)

    def parameters(self) -> dict[str, str | None]:
        """Each key of the address: the value's text, None where it is the default.

        Where the view has trouble, without the controls that could not be read.
        """
        made: dict[str, str | None] = {}
        for name, control in self.controls().items():
            if name in self.unread:
                continue  # it cannot be said now whether it is the default
            value = getattr(self, name)
            is_default = value is None or value == control.fit(control.default_of(self), self)
            made[self.keys()[name]] = None if is_default else control.write(value)
        return made

    def address(self) -> str:
        """The part of an address that differs from the defaults, with the view's own name."""
        own = {key: text for key, text in self.parameters().items() if text is not None}
        return urlencode({f"{self.page}_view": self.name, **own})


def opening(views: Sequence[type[View]]) -> type[View]:
    """The view that a page opens with where an address names none."""
    return next((view for view in views if view.opens), views[0])


def asked_for(views: Sequence[type[View]], texts: Mapping[str, str]) -> str:
    """The view that an address names, or the one that came from it, where only that has what is named."""
    named = texts.get(f"{views[0].page}_view", opening(views).name)
    keys = {view.name: set(view.keys().values()) & set(texts) for view in views}
    if keys.get(named):
        return named
    return next((view.name for view in views if view.came_from == named and keys[view.name]), named)


def query_texts(query: str) -> dict[str, str]:
    """The parameters of an address; one that is repeated is one text with commas."""
    texts: dict[str, str] = {}
    for key, value in parse_qsl(query.removeprefix("?"), keep_blank_values=True):
        texts[key] = f"{texts[key]},{value}" if key in texts else value
    return texts


def page_controls(views: Sequence[type[View]]) -> dict[str, Control]:
    """All controls of a page by their keys.

    Raises ValueError where two views declare one key apart from each other: a default, a range or a key is
    written once, in a class that both inherit or a function that both call. So where a field is named that
    the view does not have, and where a key is one of the bench's own.
    """
    found: dict[str, Control] = {}
    for view in views:
        named = [
            name for control in view.controls().values() for name in (*control.resets, control.follows)
        ]
        if unknown := {*named, *view.rail_first} - {"", *view.controls()}:
            raise ValueError(f"{view.page}: {view.name} names no field by {', '.join(sorted(unknown))}.")
        for name, control in view.controls().items():
            key = view.keys()[name]
            if key.removeprefix(f"{view.page}_") in OF_THE_BENCH:
                raise ValueError(f"{key} is one of the bench's own keys.")
            if found.setdefault(key, control) != control:
                raise ValueError(f"{key} is declared more than once, and differently.")
    return found


def parse_link(query: str, controls: Mapping[str, Control]) -> dict[str, Any]:
    """The values that a link sets, by key. Raises ValueError on a key or a value that cannot be."""
    values: dict[str, Any] = {}
    for key, value in query_texts(query).items():
        if key not in controls:
            raise ValueError(f"There is no control called {key!r}.")
        values[key] = controls[key].parse(value)
    return values
