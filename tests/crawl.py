"""A walk over addresses of all views, at random settings and at their ends: ``make crawl``.

Each page is opened once, as a person's link opens it. It may show no failed check, no traceback, no
number in a formula that is not true, and no figure that Plotly refuses.

    python -m tests.crawl --count 3000 --seed 1 [--only moe]
"""

import argparse
import os
import sys
import time
from multiprocessing import get_context

from components.catalogue import PAGES
from tests.pages.walking import addresses, visit

COUNT = 3_000


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
