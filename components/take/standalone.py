"""Whether a page's snippet can stand on its own, and the script that it becomes."""

import ast
import logging
import re
from functools import cache, lru_cache

from components.take.bundle import bundle
from components.take.modules import BundleError

_log = logging.getLogger("loupe")
_IMPORTS = re.compile(r"^from (?:models|components)\.[\w.]+ import (?:\([^)]*\)|[^\n]*)\n", re.MULTILINE)
_OWN_FILES = ("__file__", "importlib.resources")  # what reads a file of this repository


@lru_cache(maxsize=64)
def standalone(snippet: str) -> str:
    """The script for a snippet: what it needs of our modules gathered, published packages imported.

    Raises BundleError where a name cannot be followed.
    """
    return bundle(snippet)


def stands_alone(snippet: str) -> bool:
    """Whether its script needs no file of this repository, such as the weights of an embedded network.

    False, too, where a script cannot be made just now: a page goes without it rather than fail.
    """
    try:
        return _stands_alone("".join(_IMPORTS.findall(snippet)))
    except (BundleError, SystemError, RecursionError):  # Python 3.11's parser, asked by many threads
        _log.warning("A snippet was not made into a script.", exc_info=True)
        return False


@cache
def _stands_alone(imports: str) -> bool:
    """The same for the imports alone, which do not change with a page's settings."""
    tree = ast.parse(imports)
    names = [alias.asname or alias.name for node in tree.body for alias in node.names]  # type: ignore[attr-defined]  # only imports were found
    script = bundle(f"{imports}\nprint({', '.join(names)})\n")
    return not any(mark in script for mark in _OWN_FILES)
