"""A short snippet that imports from this repository, made into a script that stands on its own.

The script holds the definitions that the snippet needs, each with its own text and comments, in an
order in which they can be read; imports of published packages that are used; and a header that says
which versions they had. Names that clash between modules are changed. Types lose jaxtyping's shapes,
which stay as comments.
"""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from sys import stdlib_module_names
from textwrap import wrap

from components.take.gather import External, Gathered, Piece, Place
from components.take.modules import Imported, Module, root
from components.take.order import Namer, ordered, shown_names
from components.take.rewrite import Names, rewritten, rewritten_main

OWN = ("components", "models")
COLUMNS = 100  # of comments and imports in a script


def bundle(
    snippet: str,
    header: str = "",
    own: tuple[str, ...] = OWN,
    redirected: Mapping[Place, Place] | None = None,
    packages: tuple[str, ...] = (),
) -> str:
    """The script for a snippet.

    header: what it is and prints, for its first lines.
    own: the top-level packages whose source is gathered.
    redirected: definitions whose place others take.
    packages: what it needs besides the packages that it imports.

    Raises BundleError where a name cannot be followed, and SyntaxError for a snippet that is none.
    """
    gathered = Gathered(Module("__snippet__", snippet, own), redirected or {})
    pieces = ordered(gathered)
    namer = Namer(gathered, pieces)
    names = Names(namer.own, namer.external, lambda place: place in gathered.piece_of)
    body = _body(gathered, pieces, names)
    imported = _imported(gathered, pieces, names, shown_names(ast.parse(body)))
    parts = [_header(header, imported, packages)]
    if pieces:
        parts.append("from __future__ import annotations\n")
    return "\n".join([*parts, *_import_sections(imported), body]).rstrip() + "\n"


def _body(gathered: Gathered, pieces: list[Piece], names: Names) -> str:
    """The pieces with a line above each module's, and the snippet itself."""
    text, before = "", None
    for piece in pieces:
        if before is None or piece.module is not before.module:
            text += f"\n\n{rule(piece.module.name.partition('.')[2] or piece.module.name)}"
            before = None
        text += _gap(before, piece) + rewritten(piece, names, gathered.resolve)
        if "__name__" in gathered.mentioned:
            text += _own_name(piece, names)
        before = piece
    main = rewritten_main(gathered.main, gathered.main_pieces, names)
    return f"{text}\n\n{MAIN_RULE}\n{main}".lstrip("\n") if pieces else main


def _own_name(piece: Piece, names: Names) -> str:
    """A function that is called otherwise in the script keeps the name by which a table finds it."""
    if not isinstance(piece.statement, ast.FunctionDef):
        return ""
    name = piece.statement.name
    called = names.own((piece.module.name, name))
    return "" if called == name else f"{called}.__name__ = {name!r}\n"


def rule(title: str) -> str:
    """A line above a part of a script."""
    return f"# --- {title} {'-' * (COLUMNS - len(title) - 7)}\n"


MAIN_RULE = rule("what the page shows")


def _gap(before: Piece | None, piece: Piece) -> str:
    """Blank lines as in the sources: two around functions and classes, none between constants."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if before is None:
        return "\n"
    if isinstance(before.statement, kinds) or isinstance(piece.statement, kinds):
        return "\n\n"
    return "" if before.statement.end_lineno == piece.statement.lineno - 1 else "\n"


def _imported(gathered: Gathered, pieces: list[Piece], names: Names, used: set[str]) -> dict[External, str]:
    """Imports from elsewhere that the script still uses, and what each is called."""
    found: dict[External, str] = {}
    for piece in (*pieces, *gathered.main_pieces):
        for reference in piece.references:
            target = piece.targets.get(id(reference.node))
            if isinstance(target, External) and names.external(target) in used:
                found[target] = names.external(target)
        for quoted in piece.analysis.quoted:
            for name in used & set(str(quoted.node.value).replace("[", " ").replace(",", " ").split()):
                target = gathered.resolve(piece.module, name)
                if isinstance(target, External):
                    found[target] = names.external(target)
    return found


def _import_sections(imported: Mapping[External, str]) -> list[str]:
    sections = []
    for is_standard in (True, False):
        chosen = {
            (target.imported, called)
            for target, called in imported.items()
            if (root(target.imported.module) in stdlib_module_names) == is_standard
        }
        if chosen:
            sections.append("\n".join(_import_lines(chosen)) + "\n")
    return sections


def _import_lines(chosen: Iterable[tuple[Imported, str]]) -> list[str]:
    modules, members = [], {}  # type: list[str], dict[str, set[str]]
    for source, called in sorted(chosen, key=lambda pair: (pair[0].module, pair[0].name or "", pair[1])):
        if source.name is None:
            is_plain = called in (source.module, root(source.module))
            modules.append(f"import {source.module}" + ("" if is_plain else f" as {called}"))
        else:
            alias = "" if called == source.name else f" as {called}"
            members.setdefault(source.module, set()).add(f"{source.name}{alias}")
    lines = [_from_line(module, sorted(parts, key=_constants_first)) for module, parts in members.items()]
    return modules + lines


def _constants_first(name: str) -> tuple[int, str]:
    """The order that formatters keep: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def _from_line(module: str, parts: list[str]) -> str:
    line = f"from {module} import {', '.join(parts)}"
    if len(line) <= COLUMNS:
        return line
    return f"from {module} import (\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _header(header: str, imported: Iterable[External], packages: tuple[str, ...]) -> str:
    roots = {root(target.imported.module) for target in imported} - set(stdlib_module_names)
    roots |= set(packages)
    lines = [line for part in header.splitlines() for line in (_wrapped(part) or [""])]
    lines += ["Runs in an empty folder, with Python 3.11 or newer" + (" and" if roots else ".")]
    if roots:
        lines += [f"    pip install {' '.join(f'{_published(name)}' for name in sorted(roots))}"]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _wrapped(line: str) -> list[str]:
    return wrap(line, COLUMNS - 2, break_long_words=False, break_on_hyphens=False)  # a link stays whole


@cache
def _published(package: str) -> str:
    """A package as pip takes it, at the version that is installed here."""
    name = sorted(packages_distributions().get(package, [package]))[0]
    return f"{name}=={version(name).partition('+')[0]}"
