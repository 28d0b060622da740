"""Sessions without a browser: a client of Streamlit's websocket that opens a page and moves a slider.

It speaks what the browser speaks: BackMsg with widget states to the server, ForwardMsg back.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.BidiComponent_pb2 import BidiComponent
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

OPENED_AT_ONCE = 4


@dataclass
class Session:
    """An open page. The live slider is known once the page has run."""

    socket: ClientConnection
    page: str
    query: str
    parameter: str  # of the live slider; empty: the first one on the page
    slider: str = ""
    low: float = 0.0
    high: float = 0.0
    value: float = 0.0  # of the slider, as the server sent it
    failures: int = 0  # exceptions that were shown, and sentences in their place
    figure_at: float | None = None  # when the first live figure came, by time.perf_counter
    fragment: str = ""
    script_hash: str = ""
    held: list[str] = field(default_factory=list)  # hashes of messages that need not be sent again
    serial: int = 0

    async def open(self) -> None:
        """Run the page for the first time. Raises RuntimeError where it has no such slider."""
        message = BackMsg()
        message.rerun_script.page_name = self.page
        message.rerun_script.query_string = self.query
        await self._run(message)
        if not self.slider and self.parameter:
            raise RuntimeError(f"The page {self.page} sent no live slider for {self.parameter}.")

    async def move(self, value: float) -> float:
        """Move the slider; the seconds from sending that to the end of the script's run."""
        self.serial += 1
        message = BackMsg()
        state = message.rerun_script
        state.page_script_hash, state.fragment_id = self.script_hash, self.fragment
        state.query_string = self.query
        state.cached_message_hashes.extend(self.held)
        moved = state.widget_states.widgets.add(id=self.slider)
        moved.json_value = json.dumps({"sent": {"value": value, "serial": self.serial}})
        return await self._run(message)

    async def run_again(self) -> float:
        """Run the whole page once more; the seconds from asking for that to the end of the run."""
        message = BackMsg()
        message.rerun_script.page_script_hash = self.script_hash
        message.rerun_script.query_string = self.query
        message.rerun_script.cached_message_hashes.extend(self.held)
        return await self._run(message)

    async def _run(self, message: BackMsg) -> float:
        self.held = []
        begun = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg.FromString(await self.socket.recv())
            kind = answer.WhichOneof("type")
            if kind == "script_finished" and answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return time.perf_counter() - begun
            self._note(kind, answer)

    def _note(self, kind: str, answer: ForwardMsg) -> None:
        if kind == "new_session":
            self.script_hash = answer.new_session.page_script_hash
        elif kind == "navigation":  # of the page itself: the session's own is the home page's
            self.script_hash = answer.navigation.page_script_hash
        elif kind == "ref_hash":
            self.held.append(answer.ref_hash)
        elif answer.metadata.cacheable:
            self.held.append(answer.hash)
        if kind == "delta":
            self._look_at(answer.delta)

    def _look_at(self, delta: Delta) -> None:
        failed = delta.new_element.alert.format == Alert.ERROR
        self.failures += failed or delta.new_element.HasField("exception")
        component: BidiComponent = delta.new_element.bidi_component
        if component.component_name == "loupe_figure" and self.figure_at is None:
            self.figure_at = time.perf_counter()
        if component.component_name != "loupe_slider":
            return
        data = json.loads(component.json or component.mixed.json)
        if self.slider in ("", component.id) and self.parameter in ("", data["parameter"]):
            self.slider, self.fragment = component.id, delta.fragment_id
            self.low, self.high, self.value = data["low"], data["high"], data["value"]


@asynccontextmanager
async def sessions(
    address: str, count: int, page: str, query: str, parameter: str
) -> AsyncIterator[list[Session]]:
    """Open ``count`` sessions on a page, a few at once; they close at the end of the block."""
    gate = asyncio.Semaphore(OPENED_AT_ONCE)
    async with AsyncExitStack() as stack:

        async def one() -> Session:
            async with gate:
                url = address.replace("http", "ws", 1) + "/_stcore/stream"
                socket = await stack.enter_async_context(
                    connect(url, subprotocols=["streamlit"], max_size=None)
                )
                session = Session(socket, page, query, parameter)
                await session.open()
                return session

        yield await asyncio.gather(*(one() for _ in range(count)))


async def keep_moving(
    opened: list[Session], seconds: float, interval: float, low: float, high: float, seed: int
) -> list[float]:
    """Move every session's slider once an ``interval``, each at its own moments; seconds of each run.

    Values are drawn so that their logarithms are even between ``low`` and ``high``: hardly two alike.
    """
    chance = random.Random(seed)
    end = time.perf_counter() + seconds

    async def one(session: Session, due: float) -> list[float]:
        taken = []
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            taken.append(await session.move(low * (high / low) ** chance.random()))
            due = max(due + interval, time.perf_counter())
        return taken

    start = time.perf_counter()
    parts = await asyncio.gather(*(one(s, start + interval * chance.random()) for s in opened))
    return [taken for part in parts for taken in part]
