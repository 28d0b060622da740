"""A piece's own text, comments and all, with names changed and types left plain."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass

from components.take.gather import External, Own, Piece, Place
from components.take.modules import BundleError, Module
from components.take.scopes import Function


@dataclass(frozen=True)
class Names:
    """What definitions and imports are called in the script; ``has`` says which definitions it holds."""

    own: Callable[[Place], str]
    external: Callable[[External], str]
    has: Callable[[Place], bool]

    def of(self, target: External | Own) -> str:
        return self.own(target.place) if isinstance(target, Own) else self.external(target)


@dataclass(frozen=True)
class Edit:
    start: int
    end: int
    text: str


def rewritten(piece: Piece, names: Names, resolve: Callable[[Module, str], External | Own | None]) -> str:
    """The text of a piece as it stands in the script."""
    start, end = piece.module.block(piece.statement)
    edits = [
        *_dropped_members(piece),
        *_dropped_imports(piece),
        *_types(piece, names, resolve),
        *_shapes(piece),
        *_renamed(piece, names),
    ]
    text = _apply(piece.module.source, edits, start, end).strip("\n")
    return text + "\n"


def _apply(source: str, edits: list[Edit], start: int, end: int) -> str:
    """Put the edits in; one that lies within a longer one is lost with it."""
    parts, place = [], start
    for edit in sorted(set(edits), key=lambda edit: (edit.start, -edit.end)):
        if edit.start < place:
            continue
        parts += [source[place : edit.start], edit.text]
        place = edit.end
    return "".join([*parts, source[place:end]])


def _dropped_members(piece: Piece) -> list[Edit]:
    """Methods that nothing mentions go, and the blank lines above them."""
    if not isinstance(piece.statement, ast.ClassDef):
        return []
    edits = []
    for part in piece.statement.body:
        if isinstance(part, Function) and part.name not in piece.members:
            start, end = piece.module.block(part)
            while piece.module.source[:start].endswith("\n\n"):
                start -= 1
            edits.append(Edit(start, end, ""))
    kept = [p for p in piece.statement.body if not isinstance(p, Function) or p.name in piece.members]
    if not kept:
        edits[-1] = Edit(edits[-1].start, edits[-1].end, "    pass\n")
    return edits


def _dropped_imports(piece: Piece) -> list[Edit]:
    """Imports of our own modules within functions."""
    edits = []
    for statement in piece.analysis.local_imports:
        start, end = piece.module.block(statement)
        edits.append(Edit(start, end, ""))
    return edits


def _types(
    piece: Piece, names: Names, resolve: Callable[[Module, str], External | Own | None]
) -> list[Edit]:
    """Annotations without jaxtyping; those of which the script does not hold a part go."""
    edits = []
    for shape in piece.shaped:
        start, end = piece.module.span(shape)
        inner = shape.slice.elts[0] if isinstance(shape.slice, ast.Tuple) else shape.slice
        inner_start, inner_end = piece.module.span(inner)
        edits += [Edit(start, inner_start, ""), Edit(inner_end, end, "")]
    removed = [note for note in piece.analysis.annotations if not _is_known(piece, note, names, resolve)]
    owners = {
        id(getattr(node, "annotation", None) or getattr(node, "returns", None)): node
        for node in ast.walk(piece.statement)
    }
    for note in removed:
        owner = owners[id(note)]
        start, end = piece.module.span(note)
        text = piece.module.source[:start].rstrip()
        if isinstance(owner, Function):
            edits.append(Edit(len(text.removesuffix("->").rstrip()), end, ""))
        elif isinstance(owner, ast.arg):
            default = re.compile(r"\s*=\s*").match(piece.module.source, end)
            end, equals = (end, "") if default is None else (default.end(), "=")
            edits.append(Edit(len(text.removesuffix(":")), end, equals))
        elif isinstance(owner, ast.AnnAssign) and owner.value is not None:
            edits.append(Edit(len(text.removesuffix(":")), end, ""))
    for quoted in piece.analysis.quoted:
        if not _in_shape(piece, quoted.node):
            start, end = piece.module.span(quoted.node)
            edits.append(Edit(start, end, _unquoted(piece, quoted.node, names, resolve)))
    return edits


def _in_shape(piece: Piece, node: ast.AST) -> bool:
    return any(node in ast.walk(shape) for shape in piece.shaped)


def _is_known(
    piece: Piece,
    note: ast.expr,
    names: Names,
    resolve: Callable[[Module, str], External | Own | None],
) -> bool:
    """Whether the script holds every definition of ours that an annotation names."""
    inner = list(ast.walk(note))
    targets = [piece.targets.get(id(node)) for node in inner]
    for node in inner:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _in_shape(piece, node):
            targets += [resolve(piece.module, name) for name in _names_in(node.value)]
    return all(names.has(found.place) for found in targets if isinstance(found, Own))


def _names_in(text: str) -> list[str]:
    try:
        return [n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)]
    except SyntaxError:
        return []


def _unquoted(
    piece: Piece,
    node: ast.Constant,
    names: Names,
    resolve: Callable[[Module, str], External | Own | None],
) -> str:
    def called(match: re.Match[str]) -> str:
        found = resolve(piece.module, match[0])
        return match[0] if found is None else names.of(found)

    return re.sub(r"(?<![.\w])[A-Za-z_]\w*", called, str(node.value))


def _shapes(piece: Piece) -> list[Edit]:
    """The shapes that annotations named, as comments: above a function, behind a field."""
    edits = []
    for node in ast.walk(piece.statement):
        if isinstance(node, Function):
            edits += _shapes_of_function(piece, node)
        elif isinstance(node, ast.AnnAssign) and (text := _shape_text(piece, node.annotation)):
            edits.append(_behind(piece.module, node, text))
    return edits


def _shapes_of_function(piece: Piece, node: Function) -> list[Edit]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    parts = [f"{arg.arg} {text}" for arg in every if (text := _shape_text(piece, arg.annotation))]
    if text := _shape_text(piece, node.returns):
        parts.append(f"→ {text}")
    if not parts:
        return []
    line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    start = piece.module.line_starts[line - 1]
    indent = " " * node.col_offset
    lines, now = [], f"{indent}# shapes:"
    for index, part in enumerate(parts):
        added = f" {part}" + (
            "," if index + 1 < len(parts) and not parts[index + 1].startswith("→") else ""
        )
        if len(now) + len(added) > 100:
            lines.append(now)
            now = f"{indent}#  "
        now += added
    return [Edit(start, start, "\n".join([*lines, now]) + "\n")]


def _shape_text(piece: Piece, note: ast.expr | None) -> str:
    """``[heads query d_k]`` for Float[Tensor, "heads query d_k"], with the kind of other numbers."""
    if note is None:
        return ""
    inside = {id(node) for node in ast.walk(note)}
    texts = []
    for shape in piece.shaped:
        if id(shape) not in inside or not isinstance(shape.slice, ast.Tuple):
            continue
        size = shape.slice.elts[1]
        if isinstance(size, ast.Constant) and size.value != "...":
            kind = shape.value.id.lower() if isinstance(shape.value, ast.Name) else ""
            texts.append(("" if kind == "float" else f"{kind} ") + f"[{str(size.value).strip()}]")
    return ", ".join(dict.fromkeys(texts))


def _behind(module: Module, node: ast.AnnAssign, text: str) -> Edit:
    line = node.end_lineno or node.lineno
    end = module.span(node)[1]
    rest = module.source[end : module.line_starts[line]]
    if "#" in rest:
        comment = end + rest.index("#") + 1
        return Edit(comment, comment, f" {text}")
    return Edit(end, end, f"  # {text}")


def _renamed(piece: Piece, names: Names) -> list[Edit]:
    """Every name that is called something else in the script."""
    edits = []
    for reference in piece.references:
        found = piece.targets.get(id(reference.node))
        if found is None or (isinstance(found, Own) and not names.has(found.place)):
            continue
        node = reference.node if isinstance(found, External) else found.attribute or reference.node
        written = ast.unparse(node)
        if names.of(found) != written:
            edits.append(_replaced(piece.module, node, written, names.of(found)))
    edits += _renamed_definitions(piece, names)
    for line in piece.analysis.global_lines:
        called = [names.own((piece.module.name, name)) for name in line.names]
        if called != line.names:
            edits.append(Edit(*piece.module.span(line), "global " + ", ".join(called)))
    return edits


def _replaced(module: Module, node: ast.expr, written: str, text: str) -> Edit:
    start, end = module.span(node)
    if module.source[start:end] != written:
        # Before Python 3.12 the places of names within some f-strings are wrong.
        raise BundleError(f"{module.name}: {written} in line {node.lineno} has to be called {text}")
    return Edit(start, end, text)


def _renamed_definitions(piece: Piece, names: Names) -> list[Edit]:
    """The names behind ``def`` and ``class``; others are names in the text."""
    edits = []
    for node in ast.walk(piece.statement):
        at_top = node is piece.statement or isinstance(piece.statement, ast.If | ast.Try)
        if not isinstance(node, Function | ast.ClassDef) or not at_top:
            continue
        place = (piece.module.name, node.name)
        if names.has(place) and names.own(place) != node.name:
            start = piece.module.offset(node.lineno, node.col_offset)
            found = re.compile(rf"(?:async\s+def|def|class)\s+({node.name})\b").match(
                piece.module.source, start
            )
            assert found is not None
            edits.append(Edit(*found.span(1), names.own(place)))
    return edits


def rewritten_main(main: Module, pieces: list[Piece], names: Names) -> str:
    """The snippet itself, without its imports."""
    edits = [edit for piece in pieces for edit in _renamed(piece, names)]
    for statement in main.tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            edits.append(Edit(*main.block(statement), ""))
    return _apply(main.source, edits, 0, len(main.source)).strip("\n") + "\n"


def identifiers(statement: ast.stmt) -> set[str]:
    """Every name in a statement, local ones among them."""
    found = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return found | {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
