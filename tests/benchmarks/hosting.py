"""Hosting: many sessions on one process and on two, a lecture hall that comes at once, a lost replica."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from pathlib import Path
from statistics import quantiles

import httpx
import streamlit
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from components.catalogue import PAGES
from tests.benchmarks import engine
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.sessions import Session, keep_moving, sessions
from tests.hosting.hosting import Hosted, hosting

PAGE, TEMPERATURE = "attention", "attention_temperature"
LOW, HIGH = 0.2, 5.0
THINK_SECONDS = 2.0
ONE_PROCESS, TWO_REPLICAS, LOAD_SECONDS = 60, 100, 40.0
LOSING, HALL, HALL_SECONDS = 40, 40, 2.0
OPENED_AT_ONCE = 4
FAILED = (WebSocketException, OSError, TimeoutError)


def measure() -> list[Figure]:
    with hosting(replicas=1) as hosted:
        figures = [asyncio.run(one_process(hosted))]
    with hosting(replicas=2) as hosted:
        figures += asyncio.run(two_replicas(hosted))
        figures.append(asyncio.run(lecture_hall(hosted)))
        hosted.wait_until_in()
        figures += asyncio.run(lost_replica(hosted))
    return figures + engine.measure("hosting")


def p95(seconds: list[float]) -> float:
    """In milliseconds."""
    return 1000 * quantiles(seconds, n=20)[-1]


async def one_process(hosted: Hosted) -> Figure:
    """Everybody on the attention page, each moving the slider every two seconds, behind nginx."""
    async with sessions(hosted.address, ONE_PROCESS, PAGE, "", TEMPERATURE) as opened:
        taken = await keep_moving(opened, LOAD_SECONDS, THINK_SECONDS, LOW, HIGH, seed=0)
    name = f"one process, {ONE_PROCESS} sessions on the attention page: rerun, p95"
    return Figure("hosting", name, p95(taken), "ms", Goal("value", "<=", 150))


# Two replicas


async def visit(hosted: Hosted, page: str, query: str = "", cookie: str = "") -> tuple[Session, str]:
    """A session on a page through nginx, and the cookie that nginx gave it."""
    socket = await opened_socket(hosted, cookie)
    answered = socket.response.headers.get("Set-Cookie", "") if socket.response else ""
    given = SimpleCookie(answered).get("loupe_replica")
    session = Session(socket, page, query, "")
    await session.open()
    return session, given.value if given else cookie


async def opened_socket(hosted: Hosted, cookie: str) -> ClientConnection:
    url = hosted.address.replace("http", "ws", 1) + "/_stcore/stream"
    headers = {"Cookie": f"loupe_replica={cookie}"} if cookie else {}
    return await connect(url, subprotocols=["streamlit"], max_size=None, additional_headers=headers)


async def visits(hosted: Hosted, pages: list[str]) -> list[tuple[Session, str]]:
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def one(page: str) -> tuple[Session, str]:
        async with gate:
            return await visit(hosted, page)

    return await asyncio.gather(*(one(page) for page in pages))


async def two_replicas(hosted: Hosted) -> list[Figure]:
    """People on all pages: they move the first slider of theirs, or run a page again that has none."""
    names = [entry.name for entry in PAGES]
    chance, errors, taken = random.Random(1), 0, []
    pages = [names[number % len(names)] for number in range(TWO_REPLICAS)]
    chance.shuffle(pages)  # nginx deals in turn: else each replica would get every other page
    opened = await visits(hosted, pages)
    end = time.perf_counter() + LOAD_SECONDS

    async def one(session: Session) -> None:
        nonlocal errors
        due = time.perf_counter() + THINK_SECONDS * chance.random()
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            try:
                taken.append(await acted(session, chance))
            except FAILED:
                errors += 1
                return
            due = max(due + THINK_SECONDS, time.perf_counter())

    await asyncio.gather(*(one(session) for session, _ in opened))
    errors += sum(session.failures for session, _ in opened)
    await close(opened)
    what = f"two replicas, {TWO_REPLICAS} sessions over all pages"
    return [
        Figure("hosting", f"{what}: errors", errors, "", Goal("value", "<=", 0)),
        Figure("hosting", f"{what}: rerun, p95", p95(taken), "ms", Goal("value", "<=", 300)),
    ]


async def acted(session: Session, chance: random.Random) -> float:
    if not session.slider:
        return await session.run_again()
    return await session.move(session.low + (session.high - session.low) * chance.random())


async def close(opened: list[tuple[Session, str]]) -> None:
    await asyncio.gather(*(session.socket.close() for session, _ in opened))


# A lecture hall


async def lecture_hall(hosted: Hosted) -> Figure:
    """Forty people within two seconds: page, all its scripts, plotly.js, session, first figure."""
    files = ["/", "/loupe/plotly.js", *scripts_of_the_page()]
    chance = random.Random(2)

    async def one(delay: float) -> float:
        await asyncio.sleep(delay)
        begun = time.perf_counter()
        async with httpx.AsyncClient(base_url=hosted.address, timeout=60, verify=False) as browser:
            await fetch(browser, files[0])
            cookie = browser.cookies.get("loupe_replica", "")
            (session, _), *_ = await asyncio.gather(
                visit(hosted, PAGE, cookie=cookie), *(fetch(browser, file) for file in files[1:])
            )
        await session.socket.close()
        if session.figure_at is None:
            raise RuntimeError("A page came without a figure.")
        return max(session.figure_at, time.perf_counter()) - begun

    taken = await asyncio.gather(*(one(HALL_SECONDS * chance.random()) for _ in range(HALL)))
    name = f"{HALL} people open the app within {HALL_SECONDS:.0f} s: slowest first figure"
    return Figure("hosting", name, max(taken), "s", Goal("value", "<=", 8))


async def fetch(browser: httpx.AsyncClient, path: str) -> None:
    """Take a file as it comes, packed."""
    async with browser.stream("GET", path) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            pass


def scripts_of_the_page() -> list[str]:
    """The scripts and styles that Streamlit's page asks for at once."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    return [f"/{path}" for path in re.findall(r'(?:src|href)="\./(static/(?:js|css)/[^"]+)"', page)]


# A replica dies


async def lost_replica(hosted: Hosted) -> list[Figure]:
    """Kill one of two replicas while everybody moves a slider: who comes back as before, and when."""
    opened = await visits(hosted, [PAGE] * LOSING)
    chance, lost_at, back = random.Random(3), 0.0, []
    chosen = [LOW * (HIGH / LOW) ** chance.random() for _ in opened]
    of_first = [cookie == "r1" for _, cookie in opened]

    async def one(session: Session, cookie: str, value: float) -> None:
        try:
            while True:
                await session.move(value)
                await asyncio.sleep(THINK_SECONDS * chance.random())
        except FAILED:
            query = f"{TEMPERATURE}={value!r}"
            again = await persistently(lambda: visit(hosted, PAGE, query, cookie))
            if again.value == value and not again.failures:
                back.append(time.perf_counter() - lost_at)
            await again.socket.close()

    working = [
        asyncio.create_task(one(session, cookie, value))
        for (session, cookie), value in zip(opened, chosen, strict=True)
    ]
    await asyncio.sleep(2 * THINK_SECONDS)
    lost_at = time.perf_counter()
    hosted.kill("r1")
    concerned = [task for task, was_there in zip(working, of_first, strict=True) if was_there]
    await asyncio.wait(concerned, timeout=60)
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await close(opened)
    share = len(back) / len(concerned)
    what = f"one of two replicas killed under {LOSING} sessions"
    return [
        Figure("hosting", f"{what}: back in the same state", share, "of 1", Goal("value", ">=", 1)),
        Figure("hosting", f"{what}: slowest way back", max(back), "s", Goal("value", "<=", 5)),
    ]


async def persistently(reach: Callable[[], Awaitable[tuple[Session, str]]]) -> Session:
    """Try again as the browser does, every half second."""
    while True:
        try:
            return (await reach())[0]
        except FAILED:
            await asyncio.sleep(0.5)
