"""A walk over addresses of all views, at random settings and at their ends: ``make crawl``.

Each page is opened once, as a person's link opens it. It may show no failed check, no traceback, no
number in a formula that is not true, and no figure that Plotly refuses.

    python -m tests.crawl --count 3000 --seed 1 [--only moe]
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator

from components.catalogue import PAGES
from components.settings import View
from tests.pages.screen import figures, views
from tests.pages.test_every_view import drawn_address, holds, opened

COUNT = 3_000
AT_AN_END = 0.3  # the share of numbers that are their control's least or largest


def addresses(
    count: int, seed: int, only: str | None = None
) -> Iterator[tuple[str, type[View], dict[str, str]]]:
    """Views in turn, each with settings of its own."""
    chance = random.Random(seed)
    every = [
        (entry.name, view) for entry in PAGES if only in (None, entry.name) for view in views(entry.name)
    ]
    for place in range(count):
        topic, view = every[place % len(every)]
        yield topic, view, drawn_address(view, chance, AT_AN_END)


def wrong(topic: str, view: type[View], query: dict[str, str]) -> str | None:
    """What is wrong with a page, in a line; None where nothing is."""
    try:
        screen = opened(topic, view, **query)
        holds(screen)
        figures(screen)
    except AssertionError as error:
        return " ".join(str(error).split())[:400] or "assertion"
    except Exception as error:  # whatever it is, the walk goes on
        return f"{type(error).__name__}: {error}"[:400]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crawl", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=[entry.name for entry in PAGES])
    asked = parser.parse_args()
    failed = 0
    for place, (topic, view, query) in enumerate(addresses(asked.count, asked.seed, asked.only)):
        if (found := wrong(topic, view, query)) is not None:
            failed += 1
            link = "&".join(f"{key}={value}" for key, value in query.items())
            print(f"/{topic}?{topic}_view={view.name}&{link}\n    {found}", flush=True)
        if place % 100 == 99:
            print(f"{place + 1} of {asked.count}, {failed} wrong", file=sys.stderr, flush=True)
    print(f"{asked.count} addresses with seed {asked.seed}: {failed} wrong.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
