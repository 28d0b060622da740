"""A long time with sessions that come and go: does a process keep growing?

``python -m tests.benchmarks soak`` takes thirty minutes; ``--minutes 4`` shows that it works.
"""

import asyncio
import random
import time
from statistics import median

from components.catalogue import PAGES
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.hosting import FAILED, acted, visit
from tests.hosting.hosting import Hosted, hosting

MINUTES = 30.0
SETTLING_SHARE = 1 / 6  # of the time, after which growth counts: five minutes of thirty
PEOPLE = 20
STAY_SECONDS = (10.0, 60.0)
THINK_SECONDS = 2.0
WEIGHED_EVERY = 5.0  # seconds


def measure(minutes: float = MINUTES) -> list[Figure]:
    with hosting(replicas=2) as hosted:
        weights, errors, came = asyncio.run(soak(hosted, 60 * minutes))
    settled = weights[int(len(weights) * SETTLING_SHARE) :]
    edge = max(1, len(settled) // 10)  # both ends as medians: single weights swing
    first, last = median(settled[:edge]), median(settled[-edge:])
    what = f"soak of {minutes:g} minutes, {came} sessions"
    return [
        Figure("hosting", f"{what}: memory at the end", last, "MB", Goal("ratio", "<=", 1.05), first),
        Figure("hosting", f"{what}: errors", errors, "", Goal("value", "<=", 0)),
    ]


async def soak(hosted: Hosted, seconds: float) -> tuple[list[float], int, int]:
    """Weights of both processes together, what went wrong, and how many sessions there were."""
    end, chance = time.monotonic() + seconds, random.Random(0)
    weights: list[float] = []
    errors = came = 0

    async def one() -> None:
        nonlocal errors, came
        while time.monotonic() < end:
            leaves = min(end, time.monotonic() + chance.uniform(*STAY_SECONDS))
            try:
                session, _ = await visit(hosted, chance.choice(PAGES).name)
                came += 1
                while time.monotonic() < leaves:
                    await asyncio.sleep(THINK_SECONDS * 2 * chance.random())
                    await acted(session, chance)
                await session.socket.close()
                errors += session.failures
            except FAILED:
                errors += 1

    async def weigh() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(WEIGHED_EVERY)
            weights.append(sum(hosted.replica(name).memory_info().rss for name in ("r1", "r2")) / 1e6)

    await asyncio.gather(weigh(), *(one() for _ in range(PEOPLE)))
    return weights, errors, came
