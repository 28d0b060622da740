"""A script to take along: the code, and the value that it prints, which is the one on the page.

What it computes is a recipe: a function of ours that runs here as well as there. The script holds the
recipe's arguments, written down, then its body, then a line that prints what it returns.
"""

import ast
import builtins
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from textwrap import dedent
from typing import Any

from components.take.bundle import MAIN_RULE, OWN, bundle, rule
from components.take.literals import Data, Written
from components.take.modules import Module, bound_names, read_module, root
from components.take.parts.errors import InputError as PlainInputError
from components.take.parts.network import Network as PlainNetwork
from components.take.parts.network import load as load_named
from components.take.parts.numbers import rounded
from components.take.parts.rewritten import attention as rewritten_attention
from components.take.parts.texts import passages as given_passages
from components.take.scopes import analyse
from models.errors import InputError
from models.networks.loading import Network, load
from models.networks.recording import attention
from models.networks.texts import passages

Named = dict[str, Any]  # what most recipes return: numbers, lists and tensors by name
Tolerance = float | dict[str, float]

MOST_SHOWN = 150_000  # characters of data that a page shows; more stand only in the file
PREVIEW = 4  # numbers of the result in a script's header
RESULT = "shown"
DATA_RULE = rule("data")
LEFT_OUT = "The data stand in the file that Loupe saves, and not in the text that it shows."


def _place(thing: Any) -> tuple[str, str]:
    return str(thing.__module__), str(thing.__name__)


REDIRECTED = {  # what would bring along how this program runs
    _place(InputError): _place(PlainInputError),
    _place(Network): _place(PlainNetwork),
    _place(load): _place(load_named),
    _place(passages): _place(given_passages),
    _place(attention): _place(rewritten_attention),
}


@dataclass(frozen=True, eq=False)
class Script:
    """Python that runs in an empty folder, with published packages alone.

    template: the code, with @NAME@ where data belong.
    prints: what the page shows: a number, a tensor, or several by name. The script prints it last.
    tolerance: how far the printed numbers may lie from these, relative to the largest of them; where it
        differs, by name.
    """

    template: str
    data: tuple[Data, ...]
    prints: Any
    tolerance: Tolerance = 1e-5

    @property
    def code(self) -> str:
        """The whole script."""
        text = self.template
        for part in self.data:
            text = text.replace(f"@{part.name}@", part.text)
        return text

    @property
    def is_shown_whole(self) -> bool:
        return sum(len(part.text) for part in self.data) <= MOST_SHOWN

    @property
    def shown(self) -> str:
        """The script as a page shows it: without data that would fill hundreds of screens."""
        if self.is_shown_whole:
            return self.code
        text = self.template
        for part in self.data:
            text = text.replace(f"@{part.name}@", f"({len(part.text):,} characters, in the file only)")
        return text.replace(DATA_RULE, f"raise SystemExit({LEFT_OUT!r})\n\n{DATA_RULE}")


def script(
    recipe: Callable[..., Any], prints: Any, /, tolerance: Tolerance = 1e-5, **given: object
) -> Script:
    """The script for a recipe with its arguments.

    ``prints`` is what the page shows, and it decides how the result is printed. The recipe is a run of
    statements that ends with its only ``return``; its docstring heads the script.
    """
    written = Written()
    arguments = "".join(f"{written.assignment(name, value)}\n" for name, value in given.items())
    body, imports = _body(recipe)
    is_named = isinstance(prints, Mapping)
    imports |= written.imports | {f"from {rounded.__module__} import {rounded.__name__}"}
    printed = PRINT_NAMED if is_named else f"print(rounded({RESULT}))\n"
    _refuse_hidden_names(recipe, body, imports, given)
    snippet = "\n".join([*sorted(imports), "", arguments + "\n" * bool(given) + body + printed])
    return script_of(snippet, str(inspect.getdoc(recipe)), prints, written.data, tolerance)


def script_of(
    snippet: str, header: str, prints: Any, data: Sequence[Data] = (), tolerance: Tolerance = 1e-5
) -> Script:
    """The script for a snippet that prints what the page shows in its last lines."""
    template = _bundled(snippet, f"{header}\n{_preview(prints)}")
    if data:
        held = "\n".join(f'{part.name} = """\n@{part.name}@\n"""' for part in data)
        template = template.replace(MAIN_RULE, f"{DATA_RULE}\n{held}\n\n\n{MAIN_RULE}")
    return Script(template, tuple(data), prints, tolerance)


PRINT_NAMED = f'for name, value in {RESULT}.items():\n    print(f"{{name}} = {{rounded(value)}}")\n'


@lru_cache(maxsize=64)
def _bundled(snippet: str, header: str) -> str:
    return bundle(snippet, header, redirected=REDIRECTED)


def _body(recipe: Callable[..., Any]) -> tuple[str, set[str]]:
    """A recipe's statements, and imports of what they name."""
    module = read_module(recipe.__module__, OWN)
    assert module is not None
    function = module.definitions[recipe.__name__]
    assert isinstance(function, ast.FunctionDef)
    last = function.body[-1]
    if not isinstance(last, ast.Return) or sum(isinstance(n, ast.Return) for n in ast.walk(function)) > 1:
        raise TypeError(f"{recipe.__name__} has to end with its only return")
    first = function.body[1 if ast.get_docstring(function) else 0]
    start, stop, end = module.block(first)[0], *module.span(last)
    text = module.source[start:stop] + module.source[stop:end].replace("return", f"{RESULT} =", 1)
    references = [found for found in analyse(function).references if found.evaluated is False]
    names = {found.node.id for found in references if not found.annotates} - set(dir(builtins))
    return dedent(text) + "\n", {_import_line(module, name) for name in names}


def _refuse_hidden_names(
    recipe: Callable[..., Any], body: str, imports: set[str], given: Mapping[str, object]
) -> None:
    """At the top of a script a variable would hide a function of its name; within a recipe it may."""
    bound = {name for part in ast.parse(body).body for name in bound_names(part)} | set(given) | {RESULT}
    imported = {alias.asname or alias.name for line in imports for alias in _aliases(line)}
    if bound & imported:
        raise TypeError(f"{recipe.__name__} names a variable like what it imports: {bound & imported}")


def _aliases(line: str) -> list[ast.alias]:
    (statement,) = ast.parse(line).body
    assert isinstance(statement, ast.Import | ast.ImportFrom)
    return statement.names


def _import_line(module: Module, name: str) -> str:
    if name in module.definitions:
        return f"from {module.name} import {name}"
    found = module.imports[name]
    if found.name is None:
        is_plain = name in (found.module, root(found.module))
        return f"import {found.module}" + ("" if is_plain else f" as {name}")
    return f"from {found.module} import {found.name}" + ("" if found.name == name else f" as {name}")


def _preview(prints: Any) -> str:
    """The first numbers of what the page shows, for the header."""
    numbers = list(_numbers(rounded(prints)))
    more = ", …" if len(numbers) > PREVIEW else ""
    return "On the page: " + ", ".join(map(str, numbers[:PREVIEW])) + more + "."


def _numbers(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        value = list(map(rounded, value.values()))
    if not isinstance(value, list):
        yield value
        return
    for item in value:
        yield from _numbers(item)
