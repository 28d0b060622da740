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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, urlencode

from components.control_kinds import MISSING, Control, Flag, Number, OneOf, Several, Slider, Text
from models.errors import InputError

if TYPE_CHECKING:
    from components.stage import Stage

# Words that the bench itself keeps below a page's name, in the session or in the address.
OF_THE_BENCH = frozenset(
    {"asked", "claims", "drawer", "good", "hands", "history", "history_taken", "link", "opened", "pin"}
    | {"present", "questions", "said", "scene", "seen", "strange", "view"}
)


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


def one_of(options: Any, default: Any = MISSING, **further: Any) -> Any:
    """One of ``options``, which may be a function of the view; the first is the default."""
    if default is MISSING:
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
                    value = control.settle(raw.get(name, MISSING), view)
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
