"""A view's controls: whatever is held becomes a value that the view allows, or the default."""

import math
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.settings import (
    View,
    asked_for,
    flag,
    number,
    one_of,
    page_controls,
    parse_link,
    picked,
    query_texts,
    several,
    slider,
    text,
)
from models.errors import InputError


def refuse(view):
    raise InputError("There is no such network.")


@dataclass(frozen=True)
class Base(View):
    page, name = "lab", "base"
    groups: int = one_of((1, 2, 4, 8), 4)
    seed: int = number(0, 99, 7)


@dataclass(frozen=True)
class Lab(Base):
    name = "lab"
    width: float = slider(0.5, 20.0, 1.0, log=True)
    kept: int = slider(1, lambda view: view.groups, lambda view: min(4, view.groups), 1, whole=True)
    kind: str = one_of(("a", "b"))
    named: tuple[str, ...] = several(("x", "y", "z"), ("x",), least=1, most=2)
    silenced: tuple[str, ...] = several(("1.0", "1.1"))
    words: str = text(lambda view: f"{view.groups} groups", most=12)
    on: bool = flag()
    place: int = picked(key="cell")


STRANGE = [
    "x",
    "nan",
    "inf",
    "1e999",
    "-1e999",
    "",
    " ",
    "9" * 1000,
    "x" * 10_000,
    "[1, 2]",
    "true",
    "None",
    None,
    True,
    math.nan,
    math.inf,
    -math.inf,
    [1, 2],
    {"a": 1},
    1e300,
    -5,
    object(),
    ("x", "x"),
]


@pytest.mark.parametrize("raw", STRANGE, ids=lambda raw: repr(raw)[:12])
@pytest.mark.parametrize("name", list(Lab.controls()))
def test_whatever_is_held_the_view_stands_at_something_that_it_allows(name, raw):
    view = Lab.settled({name: raw})
    assert 0.5 <= view.width <= 20
    assert 1 <= view.kept <= view.groups
    assert view.groups in (1, 2, 4, 8)
    assert view.kind in ("a", "b")
    assert 0 <= view.seed <= 99
    assert 1 <= len(view.named) <= 2
    assert set(view.named) <= {"x", "y", "z"}
    assert set(view.silenced) <= {"1.0", "1.1"}
    assert len(view.words) <= 12
    assert view.place >= -1
    assert (type(view.kept), type(view.seed), type(view.on), type(view.width)) == (int, int, bool, float)
    hash(view)


def test_values_at_their_bounds_stay_and_beyond_them_are_clamped():
    assert (Lab.at(width=20.0).width, Lab.at(width=20.01).width) == (20.0, 20.0)
    assert (Lab.at(width=0.5).width, Lab.at(width=0.49).width) == (0.5, 0.5)
    assert (Lab.at(seed=99).seed, Lab.at(seed=100).seed, Lab.at(seed=-1).seed) == (99, 99, 0)


def test_a_bound_and_a_default_may_depend_on_the_fields_before_them():
    assert Lab.at().kept == 4
    assert Lab.at(groups=2).kept == 2
    assert Lab.at(groups=2, kept=3).kept == 2
    assert Lab.at(groups=8, kept=7).kept == 7
    assert Lab.at(groups=8).words == "8 groups"


def test_the_address_holds_what_differs_from_the_defaults_and_gives_it_back():
    view = Lab.at(groups=8, width=3.25, named=("z", "y"), on=True, place=3, words="1 & 2 = %")
    assert view.address() == urlencode(
        {
            "lab_view": "lab",
            "lab_groups": "8",
            "lab_width": "3.25",
            "lab_named": "z,y",
            "lab_words": "1 & 2 = %",
            "lab_on": "true",
            "lab_cell": "3",
        }
    )
    assert Lab.from_query(view.address()) == view
    assert Lab.at().address() == "lab_view=lab"


@given(
    st.fixed_dictionaries(
        {
            "groups": st.sampled_from([1, 2, 4, 8]),
            "seed": st.integers(0, 99),
            "width": st.floats(0.5, 20),
            "kept": st.integers(1, 8),
            "kind": st.sampled_from("ab"),
            "silenced": st.lists(st.sampled_from(["1.0", "1.1"]), unique=True).map(tuple),
            "words": st.text(max_size=12),
            "on": st.booleans(),
        }
    )
)
def test_every_view_is_found_again_by_its_address(values):
    view = Lab.at(**values)
    assert Lab.from_query(view.address()) == view


def test_a_parameter_that_is_repeated_is_a_list():
    assert query_texts("?lab_named=x&lab_named=y&lab_seed=1") == {"lab_named": "x,y", "lab_seed": "1"}
    assert Lab.from_query("lab_silenced=1.0&lab_silenced=1.1").silenced == ("1.0", "1.1")


def test_a_change_clamps_what_depends_on_it():
    view = Lab.at(groups=8, kept=7).with_(groups=2)
    assert (view.groups, view.kept) == (2, 2)


def test_links_name_controls_that_there_are_with_values_that_can_be():
    known = page_controls((Base, Lab))
    assert parse_link("lab_width=2.5&lab_on=true&lab_seed=3", known) == {
        "lab_width": 2.5,
        "lab_on": True,
        "lab_seed": 3,
    }
    wrong = (
        "lab_depth=1",
        "lab_width=wide",
        "lab_width=nan",
        "lab_width=1e999",
        "lab_on=yes",
        "lab_seed=1.5",
    )
    for query in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            parse_link(query, known)


def test_a_key_is_declared_once():
    @dataclass(frozen=True)
    class Other(View):
        page, name = "lab", "other"
        seed: int = number(0, 99, 8)

    assert set(page_controls((Base, Lab))) >= {"lab_seed", "lab_groups", "lab_cell"}
    with pytest.raises(ValueError, match="lab_seed"):
        page_controls((Base, Other))


@pytest.mark.parametrize("word", ["seen", "history", "view"])
def test_no_control_takes_a_key_of_the_bench(word):
    @dataclass(frozen=True)
    class Taking(View):
        page, name = "lab", "taking"
        seed: int = number(0, 99, 8, key=word)

    with pytest.raises(ValueError, match=f"lab_{word}"):
        page_controls((Taking,))


@pytest.mark.parametrize("naming", [{"resets": ("sead",)}, {"follows": "sead"}])
def test_a_field_that_another_names_is_there(naming):
    @dataclass(frozen=True)
    class Named(View):
        page, name = "lab", "named"
        seed: int = number(0, 99, 8, **naming)

    with pytest.raises(ValueError, match="no field by sead"):
        page_controls((Named,))


def test_the_fields_that_lead_the_rail_are_there():
    @dataclass(frozen=True)
    class Led(View):
        page, name, rail_first = "lab", "led", ("sead",)
        seed: int = number(0, 99, 8)

    with pytest.raises(ValueError, match="no field by sead"):
        page_controls((Led,))


def test_what_cannot_be_read_leaves_its_default_and_says_why():
    @dataclass(frozen=True)
    class Refused(View):
        page, name = "lab", "refused"
        network: str = one_of(lambda view: ["own", "other"])
        layer: int = one_of(refuse, 2)
        head: int = number(0, lambda view: view.layer, 1)
        width: float = slider(0.0, 1.0, 0.25)

    view = Refused.at(network="other", layer=1, width=0.5)
    assert (view.network, view.layer, view.head, view.width) == ("other", 2, 1, 0.5)
    assert view.unread == {"layer", "head"}  # the network can be chosen anew
    assert view.parameters()["lab_network"] == "other"
    assert "lab_layer" not in view.parameters()
    assert str(view.trouble) == "There is no such network."
    assert Lab.at().trouble is None


def test_a_link_to_a_part_that_became_a_view_opens_that_view():
    @dataclass(frozen=True)
    class Part(View):
        page, name, came_from = "lab", "part", "base"
        step: float = slider(0.0, 1.0, 0.5)

    views = (Base, Lab, Part)
    assert asked_for(views, {"lab_view": "base", "lab_step": "0.2"}) == "part"
    assert asked_for(views, {"lab_step": "0.2", "lang": "zh"}) == "part"  # the first view is not named
    assert asked_for(views, {"lab_view": "base", "lab_step": "0.2", "lab_seed": "3"}) == "base"
    assert asked_for(views, {"lab_view": "lab", "lab_step": "0.2"}) == "lab"
    assert asked_for(views, {"lab_view": "base"}) == "base"
    assert asked_for(views, {"lab_view": "nowhere", "lab_step": "1"}) == "nowhere"


@pytest.mark.parametrize(("raw", "value"), [("8", 8), ("8.0", 8), ("8e0", 8), (8.0, 8), ("3", 4), ("x", 4)])
def test_a_numeric_option_may_be_written_another_way(raw, value):
    assert Base.at(groups=raw).groups == value


WRITTEN = {  # String(value) in JavaScript, which writes the address while a slider is used
    2.0: "2",
    0.1 + 0.2: "0.30000000000000004",
    5e-5: "0.00005",
    1e-6: "0.000001",
    3e-7: "3e-7",
    -2.5e-8: "-2.5e-8",
    -0.5: "-0.5",
    1e4: "10000",
    0.0: "0",
    7: "7",
}


@pytest.mark.parametrize("value", WRITTEN)
def test_a_number_is_written_as_the_slider_writes_it(value):
    control = Lab.controls()["width"]
    assert control.write(value) == WRITTEN[value]
    assert control.parse(WRITTEN[value]) == value
