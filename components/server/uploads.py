"""What one session may hold in files: so many, so large, so many on their way at once."""

import re
from collections import Counter

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from components.live.address import app_route
from components.streamlit_private import drop_upload, uploads_of
from models.runtime.settings import settings

MOST_FILES = 2  # of a session that are kept, and as many on their way; the oldest go first
ROUTE = "/_stcore/upload_file/"


class Uploads:
    """Streamlit keeps every file that is sent to it until the session ends: here the latest alone."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self._on_the_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session_of(scope)
        if session is None:
            await self.app(scope, receive, send)
            return
        if self._on_the_way[session] >= MOST_FILES:
            await Response(status_code=429, headers={"Retry-After": "1"})(scope, receive, send)
            return
        self._on_the_way[session] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._on_the_way[session] -= 1
            if not self._on_the_way[session]:
                del self._on_the_way[session]
            keep_latest(session)


def _session_of(scope: Scope) -> str | None:
    """The session that a request brings a file for; None where it does anything else."""
    if scope["type"] != "http" or scope["method"] not in ("PUT", "POST"):
        return None
    found = re.fullmatch(f"{re.escape(app_route(ROUTE))}([^/]+)/[^/]+", scope["path"])
    return found[1] if found else None


def keep_latest(session: str) -> None:
    """Drop the oldest files of a session, but for so many and twice the bytes of a single one."""
    sizes = uploads_of(session)
    most = 2 * settings().upload_megabytes * 1_000_000
    while len(sizes) > 1 and (len(sizes) > MOST_FILES or sum(sizes.values()) > most):
        oldest = next(iter(sizes))
        drop_upload(session, oldest)
        del sizes[oldest]
