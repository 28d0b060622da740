"""From a snippet to all that it needs: the definitions of our modules, in turn, and what they import."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from components.take.modules import BundleError, Imported, Module, bound_names, read_module, root
from components.take.scopes import Function, Reference, Statement, analyse

Place = tuple[str, str]  # a module and a name that it defines


@dataclass(frozen=True)
class External:
    """A name from a published package or the standard library, as the module that uses it calls it."""

    imported: Imported
    called: str


@dataclass(frozen=True)
class Own:
    """A definition of ours, and how much of ``a.b.c`` names it: the last of these attributes, or none."""

    place: Place
    attribute: ast.Attribute | None = None


@dataclass(eq=False)
class Piece:
    """A statement that the script needs; of a class only the ``members`` that something mentions."""

    module: Module
    statement: ast.stmt
    analysis: Statement
    shaped: tuple[ast.Subscript, ...]  # jaxtyping's: Float[Tensor, "n d"]
    targets: dict[int, External | Own]  # by id of the Name node
    members: set[str] = field(default_factory=set)

    @property
    def references(self) -> Iterator[Reference]:
        """Those in parts that are kept, and not jaxtyping's own names."""
        left_out = {id(node.value) for node in self.shaped}
        for reference in self.analysis.references:
            if (reference.member is None or reference.member in self.members) and (
                id(reference.node) not in left_out
            ):
                yield reference

    def needed(self, reference: Reference) -> bool:
        """Whether the script fails or misleads without it: not so for annotations, except of fields."""
        is_field = isinstance(self.statement, ast.ClassDef) and reference.member is None
        return is_field or not reference.annotates

    @property
    def names(self) -> list[str]:
        return bound_names(self.statement)


class Gathered:
    """The pieces of a script, found from its last part, ``main``."""

    def __init__(self, main: Module, redirected: Mapping[Place, Place]):
        self.main, self.redirected = main, redirected
        self.pieces: dict[int, Piece] = {}
        self.piece_of: dict[Place, Piece] = {}
        self.mentioned: set[str] = set()
        self.pending: list[Piece] = []
        self.main_pieces = [self._piece(main, statement) for statement in _without_imports(main)]
        for piece in self.main_pieces:
            self._follow(piece)
        self._settle()
        self._add_aliases()

    # From a name to its definition

    def target(
        self, module: Module, reference: Reference, local: Mapping[str, Imported]
    ) -> External | Own | None:
        """What a global name of a module means; None for a builtin."""
        return self.resolve(module, reference.node.id, reference.chain, local)

    def resolve(
        self,
        module: Module,
        name: str,
        chain: tuple[ast.Attribute, ...] = (),
        local: Mapping[str, Imported] | None = None,
    ) -> External | Own | None:
        """The same for a name and the attributes that are read from it."""
        imported = (local or {}).get(name) or module.imports.get(name)
        if imported is None or name in module.definitions:
            if name in module.definitions:
                place = (module.name, name)
                return Own(self.redirected.get(place, place))
            return None
        if root(imported.module) not in module.own:
            return External(imported, name)
        return self._follow_import(module, imported, chain)

    def _follow_import(
        self, module: Module, imported: Imported, chain: tuple[ast.Attribute, ...]
    ) -> External | Own:
        path, wanted = imported.module, imported.name
        attribute: ast.Attribute | None = None
        rest = list(chain)
        while True:
            if wanted is None:
                if not rest:
                    raise BundleError(f"{module.name} uses the module {path} as a value")
                attribute = rest.pop(0)
                wanted = attribute.attr
            place = (path, wanted)
            if place in self.redirected:
                return Own(self.redirected[place], attribute)
            source = read_module(path, module.own)
            if source is not None and (wanted in source.definitions or wanted in source.imports):
                found = self.resolve(source, wanted, tuple(rest))
                if isinstance(found, Own):
                    return Own(found.place, found.attribute or attribute)
                if found is not None and attribute is None:
                    return found
                raise BundleError(f"{module.name} reads {wanted} from {path}, which only imports it")
            if read_module(f"{path}.{wanted}", module.own) is None:
                raise BundleError(f"{module.name} imports {wanted} from {path}, which does not define it")
            path, wanted = f"{path}.{wanted}", None

    # Following what pieces refer to

    def _piece(self, module: Module, statement: ast.stmt) -> Piece:
        inner = (node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom))
        own_imports = [node for node in inner if module.is_own(node)]
        analysis = analyse(statement, frozenset(map(id, own_imports)))
        local: dict[str, Imported] = {}
        for node in own_imports:
            local |= module.imported(node)
        targets = {}
        for reference in analysis.references:
            found = self.target(module, reference, local)
            if found is not None:
                targets[id(reference.node)] = found
        shaped = tuple(
            node
            for node in ast.walk(statement)
            if isinstance(node, ast.Subscript) and _is_jaxtyping(targets.get(id(node.value)))
        )
        return Piece(module, statement, analysis, shaped, targets)

    def _add(self, place: Place) -> Piece:
        if place in self.piece_of:
            return self.piece_of[place]
        module = read_module(place[0], self.main.own)
        if module is None or place[1] not in module.definitions:
            raise BundleError(f"{place[0]} does not define {place[1]}")
        piece = self._piece(module, module.definitions[place[1]])
        self._register(piece)
        return piece

    def _register(self, piece: Piece) -> None:
        self.pieces[id(piece.statement)] = piece
        for name in piece.names:
            self.piece_of[piece.module.name, name] = piece
        if isinstance(piece.statement, ast.ClassDef):
            piece.members = self._always_kept(piece.statement, piece)
        self.pending.append(piece)

    def _always_kept(self, statement: ast.ClassDef, piece: Piece) -> set[str]:
        """Methods that are called by no name of ours: Python's own, and those of a library's class."""
        names = {part.name for part in statement.body if isinstance(part, Function)}
        for base in statement.bases:
            inner = base.value if isinstance(base, ast.Subscript) else base
            found = piece.targets.get(id(inner)) if isinstance(inner, ast.Name) else None
            is_ours = isinstance(found, Own)
            plain = isinstance(found, External) and found.imported.module in ("typing", "abc")
            builtin = found is None and isinstance(inner, ast.Name)
            if not (is_ours or plain or builtin):
                return names
        return {name for name in names if name.startswith("__") and name.endswith("__")}

    def _settle(self) -> None:
        """Follow every piece, every method that is mentioned, and every effect, until nothing is new."""
        while True:
            while self.pending:
                self._follow(self.pending.pop(0))
            for piece in list(self.pieces.values()):
                new = _methods(piece.statement) & self.mentioned - piece.members
                if new:
                    piece.members |= new
                    self.pending.append(piece)
            self._add_effects()
            if not self.pending:
                return

    def _follow(self, piece: Piece) -> None:
        self.mentioned |= _mentions(piece)
        for reference in piece.references:
            found = piece.targets.get(id(reference.node))
            if isinstance(found, Own) and found.place[0] != self.main.name and piece.needed(reference):
                self._add(found.place)
        if isinstance(piece.statement, ast.ClassDef):
            for quoted in piece.analysis.quoted:
                if quoted.member is None:
                    for name in _quoted_names(piece, quoted.node):
                        found = self.resolve(piece.module, name)
                        if isinstance(found, Own):
                            self._add(found.place)

    def _add_effects(self) -> None:
        """Statements that register, or change, something that is gathered."""
        for module in dict.fromkeys(piece.module for piece in self.pieces.values()):
            for statement in module.effects:
                if id(statement) in self.pieces:
                    continue
                piece = self._piece(module, statement)
                places = [found.place for found in piece.targets.values() if isinstance(found, Own)]
                if any(place in self.piece_of for place in places if place[0] == module.name):
                    self._register(piece)

    def _add_aliases(self) -> None:
        """Names of types that annotations use, where all that they stand for is there anyway."""
        while True:
            before = len(self.pieces)
            for piece in list(self.pieces.values()):
                for reference in piece.references:
                    found = piece.targets.get(id(reference.node))
                    if isinstance(found, Own) and found.place not in self.piece_of:
                        self._try_alias(found.place)
            self.pending.clear()
            if len(self.pieces) == before:
                return

    def _try_alias(self, place: Place) -> bool:
        module = read_module(place[0], self.main.own)
        if module is None:
            return False
        statement = module.definitions[place[1]]
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            return False
        piece = self._piece(module, statement)
        own = [found.place for found in piece.targets.values() if isinstance(found, Own)]
        others = [other for other in own if other != place]
        if all(other in self.piece_of or self._try_alias(other) for other in others):
            self._register(piece)
            return True
        return False


def _without_imports(main: Module) -> list[ast.stmt]:
    return [part for part in main.tree.body if not isinstance(part, ast.Import | ast.ImportFrom)]


def _is_jaxtyping(found: External | Own | None) -> bool:
    return isinstance(found, External) and root(found.imported.module) == "jaxtyping"


def _methods(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.ClassDef):
        return set()
    return {part.name for part in statement.body if isinstance(part, Function)}


def kept_parts(piece: Piece) -> list[ast.AST]:
    """The statement, or of a class what is kept of it."""
    statement = piece.statement
    if not isinstance(statement, ast.ClassDef):
        return [statement]
    body = [part for part in statement.body if not isinstance(part, Function) or part.name in piece.members]
    return [*statement.decorator_list, *statement.bases, *body]


def _mentions(piece: Piece) -> set[str]:
    """Attributes that are read, and strings that could be their names (getattr)."""
    found: set[str] = set()
    for part in kept_parts(piece):
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.value.isidentifier():
                    found.add(node.value)
            elif isinstance(node, ast.MatchClass):
                found |= set(node.kwd_attrs)
    return found


def _quoted_names(piece: Piece, node: ast.Constant) -> list[str]:
    """The names in a quoted type; none in the shapes of jaxtyping."""
    if any(node in ast.walk(shape.slice) for shape in piece.shaped):
        return []
    try:
        inner = ast.parse(str(node.value), mode="eval")
    except SyntaxError:
        return []
    return [name.id for name in ast.walk(inner) if isinstance(name, ast.Name)]
