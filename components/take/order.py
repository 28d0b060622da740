"""In which order the pieces of a script stand, and what each name is called in it."""

import ast
import builtins
import keyword
from collections.abc import Iterable

from components.take.gather import External, Gathered, Own, Piece, Place
from components.take.modules import Module
from components.take.rewrite import identifiers


def ordered(gathered: Gathered) -> list[Piece]:
    """Modules after those that they use, each in its own order; but first what is needed at once."""
    by_module: dict[Module, list[Piece]] = {}
    for piece in gathered.pieces.values():
        by_module.setdefault(piece.module, []).append(piece)
    for pieces in by_module.values():
        pieces.sort(key=lambda piece: piece.statement.lineno)
    result: dict[int, Piece] = {}
    for module in _modules(gathered, by_module):
        for piece in by_module[module]:
            _place(gathered, piece, result, set())
    return list(result.values())


def _modules(gathered: Gathered, by_module: dict[Module, list[Piece]]) -> list[Module]:
    done: dict[Module, None] = {}

    def visit(module: Module, above: frozenset[Module]) -> None:
        if module in done or module in above:
            return
        used = [piece for one in by_module[module] for piece in _used(gathered, one)]
        for other in sorted({piece.module for piece in used}, key=lambda one: one.name):
            visit(other, above | {module})
        done[module] = None

    for module in sorted(by_module, key=lambda one: one.name):
        visit(module, frozenset())
    return list(done)


def _used(gathered: Gathered, piece: Piece, evaluated: bool = False) -> list[Piece]:
    """The pieces that a piece refers to; with ``evaluated``, those that must stand above it."""
    found = []
    for reference in piece.references:
        target = piece.targets.get(id(reference.node))
        if reference.annotates or (evaluated and not reference.evaluated):
            continue
        if isinstance(target, Own) and target.place in gathered.piece_of:
            found.append(gathered.piece_of[target.place])
    return found


def _place(gathered: Gathered, piece: Piece, result: dict[int, Piece], above: set[int]) -> None:
    """Put a piece down, below all that runs when it is read."""
    key = id(piece.statement)
    if key in result or key in above:
        return
    above = above | {key}
    for other in _used(gathered, piece, evaluated=True):
        for needed in _closure(gathered, other):
            _place(gathered, needed, result, above)
    result[key] = piece


def _closure(gathered: Gathered, piece: Piece) -> list[Piece]:
    """A piece and all that it may run, last what it is."""
    seen: dict[int, Piece] = {}

    def visit(one: Piece) -> None:
        if id(one.statement) in seen:
            return
        seen[id(one.statement)] = one
        for other in _used(gathered, one):
            visit(other)

    visit(piece)
    return sorted(seen.values(), key=lambda one: (one is piece, one.module.name, one.statement.lineno))


class Namer:
    """What every definition and import is called: as it is written, unless two would share a name."""

    def __init__(self, gathered: Gathered, pieces: list[Piece]):
        self.by_target: dict[Place | External, str] = {}
        self.gathered, self.pieces = gathered, pieces
        self.taken = set(gathered.main.definitions)
        self.written = set().union(
            *(identifiers(piece.statement) for piece in (*pieces, *gathered.main_pieces))
        )
        for name, target in self._imported_by_main():
            self._give(target, name)
        everything = [target for piece in pieces for target in piece.targets.values()]
        for target in everything:
            if isinstance(target, External):
                self._give(target, target.called)
        for piece in pieces:
            for name in piece.names:
                self._give(Own((piece.module.name, name)), name)

    def own(self, place: Place) -> str:
        return self.by_target.get(place, place[1])

    def external(self, target: External) -> str:
        return self.by_target.get(target, target.called)

    def _imported_by_main(self) -> Iterable[tuple[str, External | Own]]:
        main = self.gathered.main
        for piece in self.gathered.main_pieces:
            for reference in piece.references:
                target = piece.targets.get(id(reference.node))
                if target is None or reference.node.id in main.definitions:
                    continue
                by_module = isinstance(target, Own) and target.attribute is not None
                yield (
                    (target.place[1] if isinstance(target, Own) and by_module else reference.node.id),
                    target,
                )

    def _give(self, target: External | Own, wanted: str) -> None:
        key = target.place if isinstance(target, Own) else target
        if key in self.by_target:
            return
        name = wanted if self._is_free(target, wanted) else self._another(target)
        self.by_target[key] = name
        self.taken.add(name)

    def _is_free(self, target: External | Own, name: str) -> bool:
        if name in self.taken or keyword.iskeyword(name):
            return False
        if isinstance(target, External) or name == target.place[1]:
            return True
        # under another name it must not be hidden by a local one where it is used
        return not any(
            name in identifiers(piece.statement)
            for piece in self.pieces
            if any(isinstance(t, Own) and t.place == target.place for t in piece.targets.values())
        )

    def _another(self, target: External | Own) -> str:
        if isinstance(target, External):
            first = target.called
        else:
            module, name = target.place
            leaf = module.rpartition(".")[2].strip("_")
            first = f"_{leaf}{name}" if name.startswith("_") else f"{leaf}_{name}"
            first = first.upper() if name.isupper() else first
        candidates = [first, *(f"{first}_{number}" for number in range(2, 100))]
        used = self.taken | self.written | set(dir(builtins))
        return next(name for name in candidates if name not in used)


def shown_names(tree: ast.Module) -> set[str]:
    """The names that a finished script uses."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
