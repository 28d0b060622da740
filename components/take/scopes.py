"""Which names in a statement mean the module's own globals, and which of them only annotate."""

import ast
from dataclasses import dataclass
from typing import Any

from components.take.modules import COMPREHENSIONS, SCOPES, bound_names

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Reference:
    """A name that means a global of its module.

    chain: the attributes read from it, innermost first: of ``a.b.c``, the nodes ``a.b`` and ``a.b.c``.
    evaluated: whether it is looked up while the module is read, and not when a function is called.
    annotates: whether it stands in an annotation, which nothing looks up.
    member: the method of the statement's own class in which it stands.
    """

    node: ast.Name
    chain: tuple[ast.Attribute, ...]
    evaluated: bool
    annotates: bool
    member: str | None


@dataclass(frozen=True, eq=False)
class Quoted:
    """A string that stands for a type."""

    node: ast.Constant
    member: str | None


@dataclass(frozen=True, eq=False)
class Statement:
    """What a statement of a module refers to."""

    references: tuple[Reference, ...]
    quoted: tuple[Quoted, ...]
    annotations: tuple[ast.expr, ...]  # outermost ones, in the order of the text
    local_imports: tuple[ast.stmt, ...]  # imports within functions, of packages that are gathered
    global_lines: tuple[ast.Global, ...]


class _Finder(ast.NodeVisitor):
    def __init__(self, own_imports: frozenset[int]):
        self.own_imports = own_imports
        self.scopes: list[tuple[str, frozenset[str]]] = []
        self.references: list[Reference] = []
        self.quoted: list[Quoted] = []
        self.annotations: list[ast.expr] = []
        self.local_imports: list[ast.stmt] = []
        self.global_lines: list[ast.Global] = []
        self.chain: list[ast.Attribute] = []
        self.annotates = False
        self.member: str | None = None

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, COMPREHENSIONS):
            self._comprehension(node)
        else:
            super().visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        innermost = len(self.scopes) - 1
        for depth, (kind, names) in enumerate(self.scopes):
            if node.id in names and (kind != "class" or depth == innermost):
                return
        evaluated = not any(kind == "function" for kind, _names in self.scopes)
        chain = tuple(reversed(self.chain))
        self.references.append(Reference(node, chain, evaluated, self.annotates, self.member))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.chain.append(node)
        if not isinstance(node.value, ast.Name | ast.Attribute):
            kept, self.chain = self.chain, []
            self.visit(node.value)
            self.chain = kept
        else:
            self.visit(node.value)
        self.chain.pop()

    def generic_visit(self, node: ast.AST) -> None:
        kept, self.chain = self.chain, []
        super().generic_visit(node)
        self.chain = kept

    def visit_Constant(self, node: ast.Constant) -> None:
        if self.annotates and isinstance(node.value, str):
            self.quoted.append(Quoted(node, self.member))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if self.annotates and _last_name(node.value) == "Literal":
            return  # its strings are values
        self.visit(node.slice)

    def visit_Global(self, node: ast.Global) -> None:
        self.global_lines.append(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args)
        self._within("function", frozenset(arg.arg for arg in _arguments(node.args)), [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        names = frozenset(name for statement in node.body for name in bound_names(statement))
        outermost = not self.scopes
        self.scopes.append(("class", names))
        for statement in node.body:
            if outermost:
                self.member = statement.name if isinstance(statement, Function) else None
            self.visit(statement)
        self.scopes.pop()
        if outermost:
            self.member = None

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if id(node) in self.own_imports:
            self.local_imports.append(node)

    def _function(self, node: Function) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._defaults(node.args)
        for arg in _arguments(node.args):
            if arg.annotation is not None:
                self._annotation(arg.annotation)
        if node.returns is not None:
            self._annotation(node.returns)
        self._within("function", self._locals(node), node.body)

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *(given for given in arguments.kw_defaults if given)):
            self.visit(default)

    def _annotation(self, node: ast.expr) -> None:
        self.annotations.append(node)
        kept, self.annotates = self.annotates, True
        self.visit(node)
        self.annotates = kept

    def _within(self, kind: str, names: frozenset[str], body: list[Any]) -> None:
        self.scopes.append((kind, names))
        for part in body:
            self.visit(part)
        self.scopes.pop()

    def _locals(self, node: Function) -> frozenset[str]:
        """What a function binds; names that it imports from gathered packages mean those globals."""
        names = {arg.arg for arg in _arguments(node.args)}
        outer: set[str] = set()
        pending: list[ast.AST] = list(node.body)
        while pending:
            part = pending.pop()
            if isinstance(part, ast.Global | ast.Nonlocal):
                outer |= set(part.names)
            elif isinstance(part, ast.Import | ast.ImportFrom):
                if id(part) not in self.own_imports:
                    names |= {alias.asname or alias.name.partition(".")[0] for alias in part.names}
            elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(part.name)
            elif isinstance(part, COMPREHENSIONS):
                # a walrus inside binds here; its own targets are bound in its own scope
                names |= {n.target.id for n in ast.walk(part) if isinstance(n, ast.NamedExpr)}
            elif not isinstance(part, SCOPES):
                names |= _stored(part)
                pending += ast.iter_child_nodes(part)
        return frozenset(names - outer)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        names = frozenset(
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        )
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        rest = [part for one in node.generators[1:] for part in (one.iter, one.target, *one.ifs)]
        self._within("comprehension", names, [first.target, *first.ifs, *rest, *results])


def _stored(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        return {node.id}
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        return {node.name}
    return {node.rest} if isinstance(node, ast.MatchMapping) and node.rest else set()


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def analyse(statement: ast.stmt, own_imports: frozenset[int] = frozenset()) -> Statement:
    """What a statement of a module refers to; ``own_imports`` are the ids of gathered imports in it."""
    finder = _Finder(own_imports)
    finder.visit(statement)
    return Statement(
        tuple(finder.references),
        tuple(finder.quoted),
        tuple(finder.annotations),
        tuple(finder.local_imports),
        tuple(finder.global_lines),
    )
