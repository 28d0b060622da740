r"""The formulas that a page prints, read back from their TeX and computed anew.

``relations(r"\Delta=3.1-2.9=0.2\qquad e^{\Delta}=1.2214")`` gives 3.1 − 2.9 beside 0.2, and e^0.2 beside
1.2214. A printed number stands for all numbers that are printed so: every value is an interval, and two
values agree where their intervals meet. What is left in letters, as r(y) or X, is no number and is passed
over; a letter that was given a value in the same formula stands for it.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

SPACES = re.compile(r"\\[,;:! ]|\\(textstyle|displaystyle|left|right|[bB]igl?|[bB]igr?)(?![A-Za-z])|&|~")
LINES = re.compile(r"\\\\(?:\[\d+pt\])?")
APART = re.compile(r":|\\q?quad(?![A-Za-z])|\\(?:Longr|R|Leftr)ightarrow(?![A-Za-z])")
SIGNS = re.compile(r"(=|<|>|\\ge(?![A-Za-z])|\\le(?![A-Za-z]))")
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d+|\d+)|(?P<text>\\(?:text|mathrm)\{(?P<said>[^{}]*)\})"
    r"|(?P<command>\\[A-Za-z]+|\\.)|(?P<sign>.))"
)
ACCENTS = (r"\hat", r"\overline", r"\bar", r"\lVert")
Interval = tuple[float, float]
ROUNDED = 10_000  # whole numbers from here on may have lost what is behind the point


class NotANumberError(ValueError):
    """Something in letters that has no value here."""


@dataclass(frozen=True)
class Relation:
    """Two neighbours of a chain of equations, and the intervals in which they lie."""

    left: str
    sign: str
    right: str
    low: Interval
    high: Interval

    @property
    def holds(self) -> bool:
        (a, b), (c, d) = self.low, self.high
        slack = 1e-9 * max(1.0, abs(a), abs(d))
        if self.sign == "=":
            return a <= d + slack and c <= b + slack
        return a <= d + slack if self.sign in ("<", r"\le") else b >= c - slack


def relations(tex: str, known: Mapping[str, float] | None = None, digits: int = 0) -> list[Relation]:
    """What a formula claims between numbers.

    ``known``: letters with their values; ``digits``: of every number at least so many are right, since it
    is printed with that many or more, and without its last noughts.
    """
    values = {name: (value, value) for name, value in (known or {}).items()}
    values.setdefault(r"\pi", (math.pi, math.pi))
    values.setdefault("e", (math.e, math.e))
    return [
        relation
        for statement in statements(tex)
        for relation in chain(statement, values, known or (), digits)
    ]


def statements(tex: str) -> list[str]:
    """The chains of a formula; a line that begins with a sign goes on from the line before."""
    tex = re.sub(r"\$|\\(?:begin|end)\{aligned\}", "", tex)
    tex = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", tex)  # 1,234
    tex = re.sub(r"\\text\{([\d.]+)\}", r"\1", tex)
    made: list[str] = []
    for line in LINES.split(tex):
        pieces = [piece.strip().strip(",").strip() for piece in APART.split(SPACES.sub(" ", line))]
        for piece in filter(None, pieces):
            if made and re.match(r"[=<>+-]|\\ge|\\le", piece):
                made[-1] += piece
            else:
                made.append(piece)
    return made


def chain(
    statement: str, values: dict[str, Interval], known: Collection[str], digits: int
) -> list[Relation]:
    """Neighbours that are both numbers; the name before the first sign gets the last number's value."""
    parts = SIGNS.split(statement)
    sides, signs = parts[::2], parts[1::2]
    numbers: list[Interval | None] = []
    for side in sides:
        try:
            numbers.append(Reader(side, values, digits).whole())
        except (NotANumberError, ValueError, ZeroDivisionError, OverflowError):
            numbers.append(None)
    name = Reader(sides[0], {}).name()
    if name and set(signs) == {"="} and name not in known:
        numbers[0] = None  # it gets its value here, a new one where it had another
        if any(numbers):
            values[name] = next(number for number in reversed(numbers) if number is not None)
    places = [place for place, number in enumerate(numbers) if number is not None]
    return [
        Relation(sides[a], next((sign for sign in signs[a:b] if sign != "="), "="), sides[b], *both)
        for a, b in pairwise(places)
        if (both := (numbers[a], numbers[b])) and both[0] is not None and both[1] is not None
    ]


def spread(function: Callable[..., float], *sides: Interval) -> Interval:
    """What a function of these intervals can be, from their ends; each of them is monotone between."""
    made = [function(*ends) for ends in product(*sides)]
    return min(made), max(made)


def _round(x: Interval) -> Interval:
    """Half to even; where the interval holds a half, either way."""
    return float(round(x[0])), float(round(x[1]))


def _clamp(x: Interval, low: Interval, high: Interval) -> Interval:
    return spread(lambda x, low, high: min(high, max(low, x)), x, low, high)


def _wave(function: Callable[[float], float], x: Interval) -> Interval:
    """A sine or cosine, which moves by no more than its angle does."""
    middle, half = function((x[0] + x[1]) / 2), (x[1] - x[0]) / 2
    return middle - half, middle + half


FUNCTIONS: dict[str, Callable[..., Interval]] = {
    r"\ln": lambda x: spread(math.log, x),
    r"\log": lambda x: spread(math.log, x),
    r"\exp": lambda x: spread(math.exp, x),
    r"\sin": lambda x: _wave(math.sin, x),
    r"\cos": lambda x: _wave(math.cos, x),
    r"\min": lambda *x: (min(a for a, _ in x), min(b for _, b in x)),
    r"\max": lambda *x: (max(a for a, _ in x), max(b for _, b in x)),
    r"\sigma": lambda x: spread(lambda x: 1 / (1 + math.exp(-x)), x),
    "clamp": _clamp,
    "clip": _clamp,
    "round": _round,
    "floor": lambda x: (float(math.floor(x[0] + 1e-9)), float(math.floor(x[1] + 1e-9))),
    "ceil": lambda x: (float(math.ceil(x[0] - 1e-9)), float(math.ceil(x[1] - 1e-9))),
}


class Reader:
    """One side of an equation, from left to right."""

    def __init__(self, tex: str, values: Mapping[str, Interval], digits: int = 0):
        self.tokens = [match for match in TOKEN.finditer(tex) if match[0].strip()]
        self.values, self.digits, self.place = values, digits, 0

    def whole(self) -> Interval:
        value = self.sum()
        if self.place < len(self.tokens):
            raise NotANumberError(self.here)
        return value

    def name(self) -> str:
        """The side where it is a single name, else nothing."""
        try:
            name = self.symbol()
        except NotANumberError:
            return ""
        return name if self.place == len(self.tokens) else ""

    @property
    def here(self) -> str:
        """The token at hand; words that only say something are passed over, unless they are applied."""
        while self.place < len(self.tokens):
            token = self.tokens[self.place]
            if token["text"] is None:
                return (token["number"] or token["command"] or token["sign"]).strip()
            follows = self.tokens[self.place + 1][0].strip() if self.place + 1 < len(self.tokens) else ""
            if follows == "(":
                return token["said"]
            self.place += 1
        return ""

    def take(self, wanted: str = "") -> str:
        token = self.here
        if not token or (wanted and token != wanted):
            raise NotANumberError(f"{token!r} in place of {wanted!r}")
        self.place += 1
        return token

    def sum(self) -> Interval:
        value = self.term()
        while self.here in ("+", "-"):
            sign = self.take()
            other = self.term()
            value = spread(lambda a, b, s=sign: a + b if s == "+" else a - b, value, other)
        return value

    def term(self) -> Interval:
        if self.here in ("-", "+"):
            sign = self.take()
            return spread(lambda a: -a if sign == "-" else a, self.term())
        value = self.power()
        while True:
            if self.here in (r"\cdot", r"\times"):
                self.take()
                value = spread(lambda a, b: a * b, value, self.signed())
            elif self.here == "/":
                self.take()
                value = spread(lambda a, b: a / b, value, self.signed())
            elif self.here and self.here not in ("+", "-", ")", "}", ",", "|", "]"):
                value = spread(lambda a, b: a * b, value, self.power())
            else:
                return value

    def signed(self) -> Interval:
        if self.here == "-":
            self.take()
            return spread(lambda a: -a, self.power())
        return self.power()

    def power(self) -> Interval:
        base = self.single()
        if self.here != "^":
            return base
        self.take()
        exponent = self.group()
        if base[0] < 0 < base[1]:
            raise NotANumberError("a power of what may be negative")
        return spread(lambda a, b: a**b, base, exponent)

    def group(self) -> Interval:
        """What stands between braces, or a single digit or letter."""
        if self.here != "{":
            return self.single()
        self.take()
        value = self.sum()
        self.take("}")
        return value

    def single(self) -> Interval:
        token = self.here
        if token[:1].isdigit():
            self.take()
            value, decimals = float(token), len(token.partition(".")[2])
            if decimals and self.digits and value:
                decimals = max(decimals, self.digits - 1 - math.floor(math.log10(value)))
            half = 0.5 * 10.0**-decimals if decimals or value >= ROUNDED else 0.0
            return value - half, value + half
        if token in ("(", "{"):
            self.take()
            value = self.sum()
            self.take(")" if token == "(" else "}")
            return value
        if token == "|":
            self.take()
            low, high = self.sum()
            self.take("|")
            return (0.0 if low < 0 < high else min(abs(low), abs(high))), max(abs(low), abs(high))
        if token in (r"\frac", r"\tfrac"):
            self.take()
            over, under = self.group(), self.group()
            return spread(lambda a, b: a / b, over, under)
        if token == r"\sqrt":
            self.take()
            return spread(math.sqrt, self.group())
        if token in FUNCTIONS:
            return self.applied()
        return self.valued()

    def applied(self) -> Interval:
        start = self.place
        function = FUNCTIONS[self.take()]
        if self.here != "(":
            if self.here and self.tokens[start][0].strip() in (r"\ln", r"\log", r"\sin", r"\cos"):
                return function(self.power())
            self.place = start
            return self.valued()
        self.take()
        arguments = [self.sum()]
        while self.here == ",":
            self.take()
            arguments.append(self.sum())
        self.take(")")
        return function(*arguments)

    def valued(self) -> Interval:
        name = self.symbol()
        if name not in self.values:
            raise NotANumberError(name)
        return self.values[name]

    def symbol(self) -> str:
        """A letter with its accent, primes and subscript, as it is written."""
        name = self.take()
        if name in ACCENTS:
            inner = self.braced() if self.here == "{" else self.take()
            name = f"{name} {inner}"
        elif not (name.isalpha() or name.startswith("\\")):
            raise NotANumberError(name)
        while self.here in ("'", "_", "*"):
            mark = self.take()
            name += mark if mark != "_" else "_" + (self.braced() if self.here == "{" else self.take())
        return name

    def braced(self) -> str:
        self.take("{")
        depth, inside = 1, ""
        while depth:
            if self.place >= len(self.tokens):
                raise NotANumberError(inside)
            token = self.tokens[self.place][0].strip()
            self.place += 1
            depth += (token == "{") - (token == "}")
            inside += token if depth else ""
        return "{" + inside + "}"
