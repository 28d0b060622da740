"""Every view at its defaults and at drawn settings: what is drawn, what formulas and checks say."""

import math
import random
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components.catalogue import PAGES
from components.control_kinds import Flag, Number, OneOf, Several, Slider, of
from components.settings import View
from tests.drawn import assert_drawn
from tests.formulas import relations
from tests.pages.screen import figures, open_page, views

DRAWN = Path(__file__).parent / "drawn"
VIEWS = [
    pytest.param(entry.name, view, id=f"{entry.name} {view.name}")
    for entry in PAGES
    for view in views(entry.name)
]
# Measured while a person looks on: how far that has come when the page is read, nobody knows.
MEASURED = ("context_losses", "context_needles", "lora_heatmap", "lora_curves")
RAW_POWER = re.compile(r"\de[+-]\d")  # TeX would write 1e-05 as the letter e, a minus and a 5


def opened(topic: str, view: type[View], **query: str) -> AppTest:
    return open_page(topic, lang="en", **{f"{topic}_view": view.name}, **query)


def holds(screen: AppTest) -> int:
    """Assert that nothing failed and that every formula is true; how many equations were computed anew."""
    assert not screen.exception
    assert [element.value for element in screen.error] == []  # a failed check, or a panel that failed
    checked = 0
    for formula in screen.latex:
        assert not RAW_POWER.search(formula.value), formula.value
        claims = relations(formula.value)
        wrong = [claim for claim in claims if not claim.holds]
        assert not wrong, (formula.value, wrong)
        checked += len(claims)
    return checked


@pytest.mark.parametrize(("topic", "view"), VIEWS)
def test_at_its_defaults(topic, view):
    screen = opened(topic, view)
    assert [element.value for element in screen.warning] == []
    drawn = {key: figure for key, figure in figures(screen).items() if not key.startswith(MEASURED)}
    assert_drawn(drawn, DRAWN / topic / f"{view.name}.json", equations=holds(screen))


@pytest.mark.parametrize(("topic", "view"), VIEWS)
@pytest.mark.parametrize("ends", [0.0, 0.5], ids=["within", "at ends"])
def test_at_drawn_settings(topic, view, ends):
    query = drawn_address(view, random.Random(f"{topic} {view.name} {ends or ''}".strip()), ends)
    screen = opened(topic, view, **query)
    holds(screen)
    figures(screen)  # each is valid


def drawn_address(view: type[View], chance: random.Random, ends: float = 0.0) -> dict[str, str]:
    """An address that sets every slider and choice of a view, but its network and its texts.

    ``ends`` is the share of numbers that are their control's least or largest.
    """
    query, at = {}, view.at()
    for name, control in view.controls().items():
        if control.place == "head" or control.kept:
            continue
        if isinstance(control, Slider):
            low, high = of(control.low, at), of(control.high, at)
            if chance.random() < ends:
                value = chance.choice([low, high])
            elif control.log:
                value = math.exp(chance.uniform(math.log(low), math.log(high)))
            else:
                value = chance.uniform(low, high)
            value = round(value) if control.whole else value
        elif isinstance(control, Number):
            low, high = of(control.low, at), of(control.high, at)
            value = chance.randint(low, min(high, low + 1_000))
        elif isinstance(control, OneOf):
            value = chance.choice(control.options_of(at))
        elif isinstance(control, Several):
            options = control.options_of(at)
            value = chance.sample(options, min(len(options), max(control.least, 2), control.most))
        elif isinstance(control, Flag):
            value = chance.random() < 0.5
        else:
            continue
        query[view.keys()[name]] = control.write(value)
    return query


@pytest.mark.parametrize(
    ("page", "query"),
    [  # found by make crawl: ε beside tiny gradients; a run on the edge of flying apart
        ("optimizers", "view=first&seed=920&b1=0.152&b2=0.9999&mean=0.001&relative=4.267&warm=32"),
        (
            "lora",
            "view=invariance&seed=598&p=4.0078925&knob_alpha=2.0620778&knob_start=0.25&knob_rate=0.03"
            "&optimizer=sgd&turned=rate,start",
        ),
    ],
)
def test_no_check_is_red_where_rounding_decides(page, query):
    settings = dict(part.split("=") for part in query.split("&"))
    holds(open_page(page, lang="en", **{f"{page}_{name}": value for name, value in settings.items()}))
