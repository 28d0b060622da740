"""What a Loupe process does once: warm up in the background, answer /ready, serve plotly.js."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import plotly
import streamlit as st
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from components.catalogue import PAGES
from components.live.address import app_route
from components.live.figure import PLOTLY_ROUTE
from components.live.follow import FOLLOW_ROUTE, answer
from components.reruns import make_cheaper
from components.server.status import metrics, status
from components.server.watch import event, log_as_json
from models.runtime.memory import drop_when_short, relieve
from models.runtime.settings import settings

_PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_PAGE_NAMES = {entry.name for entry in PAGES} | {"ready", "metrics", "status", "oauth2callback"}
GARBAGE_SECONDS = 60
_ready = threading.Event()
_device_name = ""
_settled: set[str] = set()  # pages that have run since the process is warm
_log = logging.getLogger("loupe")


def warm_up() -> None:
    """Import torch, load the default network, run it once, and take it all out of the collector.

    Streamlit collects garbage after every rerun; with torch's objects tracked that costs about
    90 ms each time, frozen it costs next to nothing.
    """
    import torch

    from models.networks.catalogue import DEFAULT
    from models.networks.loading import load
    from models.networks.tracing import trace

    global _device_name
    torch.set_num_threads(1)  # one thread a rerun serves more sessions a second
    network = load(DEFAULT)
    trace(network, "Ready?")
    _device_name = torch.cuda.get_device_name() if network.device.type == "cuda" else "CPU"
    _freeze()
    _ready.set()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def settle(page: str) -> None:
    """Freeze what a page's first run in this process has imported, as the warm-up does for torch."""
    if _ready.is_set() and page not in _settled:
        _settled.add(page)
        _freeze()


def device_name() -> str:
    """The device that networks run on; empty until the process is warm."""
    return _device_name


def _warm_up_or_say_why() -> None:
    try:
        warm_up()
    except Exception:
        _log.exception("The default network did not load; /ready stays at 503.")


def send_at_once() -> None:
    """Let no small message wait for the acknowledgement of the one before (Nagle's algorithm).

    asyncio switches that off only on sockets made with an explicit protocol, which Streamlit's
    listening sockets are not; a rerun of several messages then takes 40 ms more, the other side's
    delayed acknowledgement. Connections inherit the option from the socket that listens.
    """
    for thing in gc.get_objects():
        if type(thing) is socket.socket and _is_tcp(thing):
            thing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_tcp(open_socket: socket.socket) -> bool:
    is_internet = open_socket.family in (socket.AF_INET, socket.AF_INET6)
    return is_internet and open_socket.type == socket.SOCK_STREAM and open_socket.fileno() >= 0


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Warm up beside the first page: the home page paints before torch is imported."""
    if settings().log_json:
        log_as_json()
    event("process started", profile=settings().profile)
    drop_when_short(st.cache_data.clear)
    drop_when_short(st.cache_resource.clear)
    send_at_once()
    make_cheaper()
    thread = threading.Thread(target=_warm_up_or_say_why, name="loupe-warm-up", daemon=True)
    asyncio.get_running_loop().call_later(0.5, thread.start)
    collecting = asyncio.create_task(collect_garbage())
    yield
    collecting.cancel()


async def collect_garbage() -> None:
    """Collect cyclic garbage now and then, for all sessions at once.

    Streamlit does it after every rerun, and each time looks at the objects of every session: with
    forty of them that took most of the processor.
    """
    while True:
        await asyncio.sleep(GARBAGE_SECONDS)
        gc.collect()
        await asyncio.to_thread(relieve)


class HelpfulNotFound(BaseHTTPMiddleware):
    """Send the address of a page that does not exist to the home page, which says so."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        home = app_route("/")
        name = request.url.path.removeprefix(home).strip("/")
        if not request.url.path.startswith(home):
            return await call_next(request)
        is_document = "text/html" in request.headers.get("accept", "")
        if is_document and name and name not in _PAGE_NAMES and "/" not in name and "." not in name:
            return RedirectResponse(f"{home}?missing={quote(name)}")
        return await call_next(request)


async def ready(_request: Request) -> Response:
    """200 once the default network has answered a forward pass, 503 until then."""
    is_ready = _ready.is_set()
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


async def plotly_js(_request: Request) -> Response:
    """plotly.js from the installed package, so that figures need nothing from outside."""
    return FileResponse(
        _PLOTLY_FILE, media_type="text/javascript", headers={"Cache-Control": "public, max-age=86400"}
    )


ROUTES = [
    Route("/ready", ready),
    Route(PLOTLY_ROUTE, plotly_js),
    Route(FOLLOW_ROUTE, answer, methods=["POST"]),
    # For whoever runs Loupe: a proxy in front keeps both to itself.
    Route("/metrics", metrics),
    Route("/status", status),
]


def routes() -> list[Route]:
    """Loupe's own routes, below the base path that the app is served under."""
    return [Route(app_route(route.path), route.endpoint, methods=route.methods) for route in ROUTES]
