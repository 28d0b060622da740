"""Measure every page's goals, or one page's: ``python -m tests.benchmarks [page]``."""

import argparse
import importlib
import sys

from components.catalogue import HOME, PAGES
from tests.benchmarks.figures import BENCH, Figure, table, write

NAMES = [entry.name for entry in (HOME, *PAGES)]


def measure(page: str) -> list[Figure]:
    """The figures of a page, from the module of the same name."""
    print(f"Measuring {page} …", file=sys.stderr)
    return importlib.import_module(f"tests.benchmarks.{page}").measure()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("page", nargs="?", choices=NAMES)
    asked = parser.parse_args().page
    figures = [figure for page in ([asked] if asked else NAMES) for figure in measure(page)]
    print(table(figures))
    write(figures)
    print(f"Written to {BENCH.name}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
