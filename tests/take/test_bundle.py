"""The bundler on small packages that are written here, and on every module of numbers that there is."""

import itertools
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from components.take.bundle import bundle
from components.take.modules import BundleError, read_module

ROOT = Path(__file__).parents[2]
numbers = itertools.count()
Make = Callable[..., str]


@pytest.fixture
def scripts(tmp_path, monkeypatch) -> Make:
    """``scripts(snippet, module=source, …)``: the script for a snippet on a package "pkg"."""

    def make(snippet: str, redirected=None, **modules: str) -> str:
        name = f"pkg{next(numbers)}"
        for module, source in {"__init__": "", **modules}.items():
            path = (tmp_path / name).joinpath(*module.split("__in__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.replace("pkg", name), encoding="utf-8")
            if not (path.parent / "__init__.py").exists():
                (path.parent / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        redirects = {
            (a.replace("pkg", name), b): (c.replace("pkg", name), d) for a, b, c, d in redirected or ()
        }
        script = bundle(snippet.replace("pkg", name), own=(name,), redirected=redirects)
        assert name not in script
        return script

    return make


def run(script: str, folder: Path) -> list[str]:
    """What a script prints in a process that sees neither this repository nor the small package."""
    path = folder / "alone" / "script.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", str(path)], cwd=path.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout.splitlines()


def test_what_is_needed_comes_along_and_nothing_else(scripts, tmp_path):
    script = scripts(
        "from pkg.a import area\n\nprint(area(2.0))\n",
        a="from pkg.b import square\nimport math\n\n\ndef area(r):\n    return math.pi * square(r)\n\n\n"
        "def unused():\n    return math.e\n",
        b="import json\n\n\ndef square(x):\n    return x * x\n\n\ndef dump(x):\n    return json.dumps(x)\n",
    )
    assert run(script, tmp_path) == ["12.566370614359172"]
    assert "unused" not in script
    assert "json" not in script
    assert script.index("def square") < script.index("def area")


def test_helpers_of_the_same_name_stay_apart(scripts, tmp_path):
    module = "FACTOR = {}\n\n\ndef _step(x):\n    return x * FACTOR\n\n\ndef {}(x):\n    return _step(x)\n"
    script = scripts(
        "from pkg.one import one\nfrom pkg.two import two\n\nprint(one(1), two(1))\n",
        one=module.format(3, "one"),
        two=module.format(5, "two"),
    )
    assert run(script, tmp_path) == ["3 5"]
    assert "_two_step" in script
    assert "TWO_FACTOR" in script


def test_a_local_name_is_left_alone_where_a_global_one_changes(scripts, tmp_path):
    script = scripts(
        "from pkg.a import first\nfrom pkg.b import second\n\nprint(first(), second(1), second(2))\n",
        a="LIMIT = 7\n\n\ndef first():\n    return LIMIT\n",
        b="LIMIT = 8\n\n\ndef second(x):\n    if x == 1:\n        return LIMIT\n    return inner(x)\n\n\n"
        "def inner(LIMIT):\n    return [LIMIT for LIMIT in range(LIMIT)], (lambda LIMIT: LIMIT)(9)\n",
    )
    assert run(script, tmp_path) == ["7 8 ([0, 1], 9)"]


def test_a_name_that_the_snippet_gives_is_not_hidden(scripts, tmp_path):
    script = scripts(
        "from pkg.a import double as f\n\ndouble = f(4)\nprint(double, f(double))\n",
        a="def double(x):\n    return triple(x) - x\n\n\ndef triple(x):\n    f = 3\n    return f * x\n",
    )
    assert run(script, tmp_path) == ["8 16"]


def test_an_alias_gives_way_to_a_local_name_of_the_same_sound(scripts, tmp_path):
    script = scripts(
        "from pkg.a import base as b, top\n\nprint(b(), top())\n",
        a="def base():\n    return 1\n\n\ndef top():\n    b = 10\n    return b + base()\n",
    )
    assert run(script, tmp_path) == ["1 11"]


def test_a_module_is_read_through_its_name(scripts, tmp_path):
    script = scripts(
        "import pkg.a\nimport pkg.b as other\nfrom pkg import c\n\n"
        "print(pkg.a.f(1), other.f(1), c.VALUE, c.deep.f(1))\n",
        a="def f(x):\n    return x + 1\n",
        b="from pkg import a\n\n\ndef f(x):\n    return a.f(x) * 10\n",
        c="from pkg.sub import deep\n\nVALUE = 'c'\n",
        sub__in__deep="def f(x):\n    return -x\n",
    )
    assert run(script, tmp_path) == ["2 20 c -1"]


def test_packages_hand_names_on(scripts, tmp_path):
    script = scripts(
        "from pkg.sub import value, helper\n\nprint(value(), helper())\n",
        sub__in____init__="from .inner import value\nfrom ..top import helper\n",
        sub__in__inner="from . import other\n\n\ndef value():\n    return other.NUMBER\n",
        sub__in__other="NUMBER = 42\n",
        top="def helper():\n    return 'top'\n",
    )
    assert run(script, tmp_path) == ["42 top"]


def test_a_function_of_another_name_is_still_found_by_its_own(scripts, tmp_path):
    script = scripts(
        "from pkg.a import TABLE, f\nfrom pkg.b import OTHER\n\nprint(sorted(TABLE), sorted(OTHER), f())\n",
        a="def f():\n    return 1\n\n\nTABLE = {g.__name__: g for g in (f,)}\n",
        b="def f():\n    return 2\n\n\nOTHER = {g.__name__: g for g in (f,)}\n",
    )
    assert run(script, tmp_path) == ["['f'] ['f'] 1"]


def test_decorators_come_above_what_they_wrap(scripts, tmp_path):
    script = scripts(
        "from pkg.a import slow\n\nprint(slow(3), slow(3), slow.cache_info().hits)\n",
        a="from functools import lru_cache\n\nfrom pkg.z import twice\n\n\n"
        "@lru_cache(maxsize=4)\n@twice\ndef slow(x):\n    return x + 1\n",
        z="from functools import wraps\n\n\ndef twice(f):\n    @wraps(f)\n    def inner(x):\n"
        "        return _double(f(x))\n\n    return inner\n\n\ndef _double(x):\n    return 2 * x\n",
    )
    assert run(script, tmp_path) == ["8 8 1"]


def test_constants_come_with_what_computes_them(scripts, tmp_path):
    script = scripts(
        "from pkg.a import use\n\nprint(use())\n",
        a="from pkg.b import table\n\nTABLE = table(3)\nFIRST, SECOND = TABLE[:2]\n\n\n"
        "def use():\n    return TABLE, SECOND\n",
        b="def table(n):\n    return [_entry(i) for i in range(n)]\n\n\n"
        "def _entry(i):\n    return i * OFFSET\n\n\nOFFSET = 10\n",
    )
    assert run(script, tmp_path) == ["([0, 10, 20], 10)"]


def test_fields_keep_their_defaults_and_types(scripts, tmp_path):
    script = scripts(
        "from pkg.a import Run\n\nprint(Run(rate=0.5))\n",
        a="from dataclasses import dataclass, field\nfrom pkg.b import LIMIT, Choice, Mode\n\n\n"
        "@dataclass(frozen=True)\nclass Run:\n    rate: float\n    mode: Mode = 'fast'\n"
        "    choice: 'Choice' = Choice()\n    limit: int = LIMIT\n"
        "    names: list[str] = field(default_factory=lambda: ['a'])\n",
        b="from dataclasses import dataclass\nfrom typing import Literal\n\n"
        "Mode = Literal['fast', 'slow']\nLIMIT = 9\n\n\n"
        "@dataclass(frozen=True)\nclass Choice:\n    size: int = LIMIT + 1\n",
    )
    assert run(script, tmp_path) == [
        "Run(rate=0.5, mode='fast', choice=Choice(size=10), limit=9, names=['a'])"
    ]


CLASS = """
import json
from pkg.base import Base


class Thing(Base):
    \"\"\"What it is.\"\"\"

    scale = 2

    def __init__(self, x):
        self.x = x

    # the answer
    @property
    def answer(self):
        return self._inner() * self.scale

    def _inner(self):
        return self.x

    def dumped(self):
        return json.dumps(self.x)

    def by_name(self):
        return 'by name'
"""
BASE = "class Base:\n    def shared(self):\n        return 1\n\n    def unused(self):\n        return 2\n"


def test_methods_that_nothing_mentions_stay_behind(scripts, tmp_path):
    script = scripts(
        "from pkg.a import Thing\n\nt = Thing(3)\nprint(t.answer, getattr(t, 'by_name')(), t.shared())\n",
        a=CLASS,
        base=BASE,
    )
    assert run(script, tmp_path) == ["6 by name 1"]
    assert "dumped" not in script
    assert "json" not in script
    assert "unused" not in script
    assert "# the answer" in script


def test_a_class_left_without_methods_is_still_a_class(scripts, tmp_path):
    script = scripts(
        "from pkg.base import Base\n\nprint(isinstance(Base(), Base))\n",
        base="class Base:\n    def unused(self):\n        return 2\n",
    )
    assert run(script, tmp_path) == ["True"]


def test_methods_that_a_library_calls_stay(scripts, tmp_path):
    script = scripts(
        "from pkg.a import Reader\n\nr = Reader()\nr.feed('<b>x</b>')\nprint(r.seen)\n",
        a="from html.parser import HTMLParser\n\n\nclass Reader(HTMLParser):\n    seen = ()\n\n"
        "    def handle_starttag(self, tag, attrs):\n        self.seen += (tag,)\n",
    )
    assert run(script, tmp_path) == ["('b',)"]


def test_registrations_come_with_what_they_register(scripts, tmp_path):
    script = scripts(
        "from pkg.a import TABLE\n\nprint(sorted(TABLE))\n",
        a="from pkg.b import LOG\n\nTABLE = {}\n\n\ndef first():\n    return LOG\n\n\n"
        "TABLE['first'] = first\nfor name in ('x', 'y'):\n    TABLE[name] = None\nLOG.append('a')\n",
        b="LOG = []\nLOG.append('b')\n",
    )
    assert run(script, tmp_path) == ["['first', 'x', 'y']"]
    assert "LOG.append('b')" in script


def test_imports_within_functions(scripts, tmp_path):
    script = scripts(
        "from pkg.a import late\n\nprint(late())\n",
        a="def late():\n    from pkg.b import value\n    import math\n"
        "    return value(), math.floor(2.5)\n",
        b="def value():\n    return 'late'\n",
    )
    assert run(script, tmp_path) == ["('late', 2)"]


def test_global_statements_and_f_strings_follow_a_new_name(scripts, tmp_path):
    counter = (
        "COUNT = {}\n\n\ndef {}():\n    global COUNT\n    COUNT += 1\n"
        "    return f'now {{COUNT}} of {{COUNT + 1:03d}}'\n"
    )
    script = scripts(
        "from pkg.a import up\nfrom pkg.b import down\n\nprint(up(), down())\n",
        a=counter.format(1, "up"),
        b=counter.format(50, "down"),
    )
    assert run(script, tmp_path) == ["now 2 of 003 now 51 of 052"]


def test_imports_that_clash(scripts, tmp_path):
    script = scripts(
        "from pkg.a import f\nfrom pkg.b import g\n\nprint(f(), g())\n",
        a="from math import floor as down\n\n\ndef f():\n    return down(2.7)\n",
        b="from math import trunc as down\nimport os.path\n\n\n"
        "def g():\n    return down(-2.7), os.path.basename('a/b')\n",
    )
    assert run(script, tmp_path) == ["2 (-2, 'b')"]


SHAPED = """
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float, Int

if TYPE_CHECKING:
    from pkg.big import Big

Pair = tuple[Float[list, "n"], Int[list, "n"]]
Far = Big


@dataclass
class Rows:
    value: Float[list, "rows columns"]  # one a line
    index: Int[list, " rows"]


def shaped(
    x: Float[list, "n d"],
    rows: "Rows | None",
    big: Big | None = None,
    far: Far | None = None,
    pair: Pair | None = None,
) -> tuple[Float[list, "n"], Big]:
    \"\"\"What it does.\"\"\"
    y: Float[list, "n"] = [sum(row) for row in x]
    return y, big
"""


def test_shapes_become_comments(scripts, tmp_path):
    script = scripts(
        "from pkg.a import Rows, shaped\n\nprint(shaped([[1, 2]], Rows([], []))[0])\n",
        a=SHAPED,
        big="class Big:\n    pass\n",
    )
    assert run(script, tmp_path) == ["[3]"]
    assert "jaxtyping" not in script
    assert "Big" not in script
    assert "# shapes: x [n d] → [n]" in script
    assert "value: list  # [rows columns] one a line" in script
    assert "index: list  # int [rows]" in script
    assert (
        "    rows: Rows | None,\n    big=None,\n    far=None,\n    pair: Pair | None = None,\n):" in script
    )
    assert '"""What it does."""' in script


def test_comments_and_values_keep_their_text(scripts, tmp_path):
    source = (
        "# Why it is 3.\nLIMIT = 0x03  # π, roughly\n\n\n"
        "def f():\n    # inside\n    return 'ü', LIMIT  # after\n"
    )
    script = scripts("from pkg.a import f\n\nprint(f())\n", a=source)
    assert source in script
    assert run(script, tmp_path) == ["('ü', 3)"]


def test_a_definition_in_the_place_of_another(scripts, tmp_path):
    script = scripts(
        "from pkg.a import f\n\nprint(f())\n",
        [("pkg.heavy", "load", "pkg.light", "load")],
        a="from pkg.heavy import load\n\n\ndef f():\n    return load()\n",
        heavy="def load():\n    return 'heavy'\n",
        light="def load():\n    return 'light'\n",
    )
    assert run(script, tmp_path) == ["light"]
    assert "heavy" not in script


@pytest.mark.parametrize(
    ("snippet", "fault"),
    [
        ("from pkg.a import missing\nprint(missing)\n", "missing"),
        ("from pkg import a\nprint(a)\n", "as a value"),
        ("from pkg.everything import x\nprint(x)\n", "everything"),
    ],
)
def test_what_cannot_be_followed_is_named(scripts, snippet, fault):
    with pytest.raises(BundleError, match=fault):
        scripts(snippet, a="x = 1\n", everything="from pkg.a import *\n")


def test_a_snippet_without_anything_of_ours_stays_as_it_is(scripts, tmp_path):
    script = scripts("import math\n\nprint(math.pi)\n")
    assert script.endswith("\nimport math\n\nprint(math.pi)\n")
    assert run(script, tmp_path) == ["3.141592653589793"]


def test_the_header_names_what_to_install(scripts):
    script = bundle(
        "import numpy as np\nimport torch\n\nprint(np, torch)\n", "What it is.\nWhat it prints."
    )
    import numpy
    import torch

    assert script.splitlines()[:4] == [
        "# What it is.",
        "# What it prints.",
        "# Runs in an empty folder, with Python 3.11 or newer and",
        f"#     pip install numpy=={numpy.__version__} torch=={torch.__version__.partition('+')[0]}",
    ]


def _modules_of_numbers() -> list[str]:
    names = [found.name for found in pkgutil.walk_packages(models.__path__, "models.")]
    texts = {name: module.source for name in names if (module := read_module(name, ("models",)))}
    return [name for name in names if name in texts and "networks" not in name + texts[name]]


def test_every_module_of_numbers_can_be_taken_along(tmp_path):
    """Each with all that it defines; the linter finds no name that is missing, and no import too much."""
    names = _modules_of_numbers()
    assert len(names) > 60
    for name in names:
        module = read_module(name, ("models",))
        assert module is not None
        public = [defined for defined in module.definitions if not defined.startswith("_")]
        snippet = f"from {name} import {', '.join(public)}\n\nprint({', '.join(public)})\n"
        script = bundle(snippet if public else "")
        assert "jaxtyping" not in script
        (tmp_path / f"{name}.py").write_text(script, encoding="utf-8")
    command = ["ruff", "check", "--isolated", "--select", "F", "--output-format", "json", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert [f"{fault['filename']}: {fault['message']}" for fault in json.loads(done.stdout)] == []


def test_a_script_is_the_same_in_every_process():
    """Sets are walked in another order in each; the script must not show it."""
    name = next(name for name in _modules_of_numbers() if name.endswith("lab") and "policy" in name)
    code = (
        "from components.take.bundle import bundle\n"
        f"print(bundle('from {name} import Lab, train\\n\\nprint(Lab, train)\\n'))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(made) == 1
