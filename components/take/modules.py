"""A module's source, taken apart into what it defines, what it imports and where each lies in the text."""

import ast
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path


class BundleError(Exception):
    """Why a snippet cannot be made to stand on its own; a fault in this program, not in an input."""


@dataclass(frozen=True)
class Imported:
    """What a name was imported as: ``import module`` or, with ``name``, ``from module import name``."""

    module: str
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Module:
    """One module's text and tree; ``own`` are the top-level packages whose source is gathered."""

    name: str
    source: str
    own: tuple[str, ...]
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def lines(self) -> list[str]:
        return self.source.splitlines(keepends=True)

    @cached_property
    def line_starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line))
        return starts

    def offset(self, line: int, column: int) -> int:
        """The place in the text of an ast position: lines from 1, columns in UTF-8 bytes."""
        text = self.lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode())
        return self.line_starts[line - 1] + column

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node begins and ends in the text."""
        assert isinstance(node, ast.expr | ast.stmt | ast.arg)
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.offset(node.lineno, node.col_offset), self.offset(end_line, end_column)

    def block(self, statement: ast.stmt) -> tuple[int, int]:
        """The lines of a statement, with its decorators and the comments that stand right above it."""
        first = statement.lineno
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([first, *(decorator.lineno for decorator in statement.decorator_list)])
        while first > 1 and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return self.line_starts[first - 1], self.line_starts[statement.end_lineno or first]

    @cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """Every name that a statement of the module binds, and that statement."""
        found: dict[str, ast.stmt] = {}
        for statement in self.tree.body:
            for name in bound_names(statement):
                found.setdefault(name, statement)
        return found

    @cached_property
    def effects(self) -> list[ast.stmt]:
        """Statements that do more than bind a name: a registration, a change to a table."""
        simple = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
        bound = {id(found) for found in self.definitions.values() if isinstance(found, simple)}
        return [
            statement
            for statement in self.tree.body
            if id(statement) not in bound
            and not isinstance(statement, ast.Import | ast.ImportFrom)
            and not is_docstring(statement)
            and not _is_guarded(statement)
        ]

    @cached_property
    def imports(self) -> dict[str, Imported]:
        """What the module's own imports bind, those for the type checker alone among them."""
        found: dict[str, Imported] = {}
        for statement in self.tree.body:
            guarded = isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)
            for inner in statement.body if guarded and isinstance(statement, ast.If) else [statement]:
                found |= self.imported(inner)
        return found

    def imported(self, statement: ast.stmt) -> dict[str, Imported]:
        """What an import statement binds; nothing for any other statement."""
        if isinstance(statement, ast.Import):
            return dict(map(self._imported_module, statement.names))
        if isinstance(statement, ast.ImportFrom):
            source = self._absolute(statement)
            if source == "__future__":
                return {}
            if any(alias.name == "*" for alias in statement.names):
                raise BundleError(f"{self.name} imports everything from {source}")
            return {alias.asname or alias.name: Imported(source, alias.name) for alias in statement.names}
        return {}

    def _imported_module(self, alias: ast.alias) -> tuple[str, Imported]:
        """``import a.b`` binds a, and needs the whole line where the package is not ours."""
        if alias.asname:
            return alias.asname, Imported(alias.name)
        first = root(alias.name)
        return first, Imported(first if first in self.own else alias.name)

    def is_own(self, statement: ast.stmt) -> bool:
        """Whether a statement imports from the packages whose source is gathered."""
        return any(root(found.module) in self.own for found in self.imported(statement).values())

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = self.name.split(".")
        kept = len(parts) - statement.level + (1 if self.is_package else 0)
        return ".".join([*parts[:kept], *([statement.module] if statement.module else [])])


def root(name: str) -> str:
    """The top-level package of a dotted name."""
    return name.partition(".")[0]


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_guarded(statement: ast.stmt) -> bool:
    """``if __name__ == "__main__"`` and ``if TYPE_CHECKING``, which say nothing about a module's names."""
    return isinstance(statement, ast.If) and any(
        name in ast.unparse(statement.test) for name in ("__name__", "TYPE_CHECKING")
    )


def bound_names(statement: ast.stmt) -> list[str]:
    """The names that a statement binds in its own scope; imports apart."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom) or _is_guarded(statement):
        return []
    names: list[str] = []
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)  # inside an if or a try
        elif not isinstance(node, SCOPES):
            pending += ast.iter_child_nodes(node)
    return names


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)


def read_module(name: str, own: tuple[str, ...]) -> Module | None:
    """A module of the gathered packages by its dotted name; None where there is no such module."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    return _read(name, path, path.stat().st_mtime_ns, own, path.name == "__init__.py")


@lru_cache(maxsize=512)
def _read(name: str, path: Path, _changed: int, own: tuple[str, ...], is_package: bool) -> Module:
    return Module(name, path.read_text(encoding="utf-8"), own, is_package)
