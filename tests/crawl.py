"""A walk over addresses of all views, at random settings and at their ends: ``make crawl``.

Each page is opened once, as a person's link opens it. It may show no failed check, no traceback, no
number in a formula that is not true, and no figure that Plotly refuses.

    python -m tests.crawl --count 3000 --seed 1 [--only moe]
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context

import tests.conftest  # noqa: F401  # one thread each, no hub, one look for Streamlit's components
from components.catalogue import PAGES
from components.settings import View
from components.work import stop_all
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
    finally:
        stop_all(0.1)  # what the page began by itself
    return None


def visit(address: tuple[str, str, dict[str, str]]) -> tuple[str, str | None]:
    """The link of an address (page, view, settings), and what is wrong there."""
    topic, name, query = address
    [view] = [view for view in views(topic) if view.name == name]
    link = "&".join(f"{key}={value}" for key, value in query.items())
    return f"/{topic}?{topic}_view={name}&{link}", wrong(topic, view, query)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crawl", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=[entry.name for entry in PAGES])
    asked = parser.parse_args()
    there = addresses(asked.count, asked.seed, asked.only)
    tasks = [(topic, view.name, query) for topic, view, query in there]
    failed = 0
    with get_context("spawn").Pool(asked.workers) as pool:
        for place, (link, found) in enumerate(pool.imap(visit, tasks, chunksize=4)):
            if found is not None:
                failed += 1
                print(f"{link}\n    {found}", flush=True)
            if place % 100 == 99:
                print(f"{place + 1} of {asked.count}, {failed} wrong", file=sys.stderr, flush=True)
    print(f"{asked.count} addresses with seed {asked.seed}: {failed} wrong.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
