"""Measure every page's goals, or one page's: ``python -m tests.benchmarks [page]``.

``hosting`` measures many people on several processes, ``soak`` half an hour of them, only when asked.
"""

import argparse
import importlib
import sys

from components.catalogue import HOME, PAGES
from tests.benchmarks.figures import BENCH, Figure, table, write

NAMES = ["views", *(entry.name for entry in (HOME, *PAGES)), "hosting"]
SOAK = "soak"


def measure(page: str, **how: float) -> list[Figure]:
    """The figures of a page, from the module of the same name."""
    print(f"Measuring {page} …", file=sys.stderr)
    return importlib.import_module(f"tests.benchmarks.{page}").measure(**how)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("page", nargs="?", choices=[*NAMES, SOAK])
    parser.add_argument("--minutes", type=float, help="of a soak; thirty by default")
    asked = parser.parse_args()
    how = {"minutes": asked.minutes} if asked.minutes and asked.page == SOAK else {}
    pages = [asked.page] if asked.page else NAMES
    figures = [figure for page in pages for figure in measure(page, **how)]
    print(table(figures))
    write(figures)
    print(f"Written to {BENCH.name}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
