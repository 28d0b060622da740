"""A hosted Loupe for tests and benchmarks: started, waited for, its replicas killed, stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
STARTUP_SECONDS = 240
CHANGE_SECONDS = 60


@dataclass(frozen=True)
class Hosted:
    """A running deploy.host, its address without a slash at the end, and where it writes."""

    address: str
    ports: list[int]
    folder: Path
    process: subprocess.Popen
    log: Path

    @property
    def said(self) -> str:
        """Everything that host, nginx and replicas have written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def replica(self, name: str) -> psutil.Process:
        """The process that a cookie names: r1, r2, …"""
        port = str(self.ports[int(name[1:]) - 1])
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if child.cmdline()[-1:] == [port])

    def replica_address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[int(name[1:]) - 1]}"

    def kill(self, name: str) -> None:
        """End a replica in the middle of what it does."""
        self.replica(name).send_signal(signal.SIGKILL)

    def states(self) -> dict[str, str]:
        """Each replica, in or out, as host said last."""
        return dict(re.findall(r"^host: (r\d+) at \S+ is (in|out)\.$", self.said, re.MULTILINE))

    def wait_until_in(self, *names: str) -> None:
        wanted = names or [f"r{number}" for number in range(1, len(self.ports) + 1)]
        wait(lambda: all(self.states().get(name) == "in" for name in wanted), STARTUP_SECONDS, self)
        wait(lambda: all(self.answers(name) for name in wanted), CHANGE_SECONDS, self)

    def wait_until_out(self, name: str) -> None:
        wait(lambda: self.states().get(name) == "out", CHANGE_SECONDS, self)

    def answers(self, name: str) -> bool:
        """Whether nginx sends a holder of its cookie to this replica: it hears of a change a bit later."""
        asked = urllib.request.Request(self.address + "/ready", headers={"Cookie": f"loupe_replica={name}"})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status == 200 and "Set-Cookie" not in answer.headers
        except OSError:
            return False


def wait(condition: Callable[[], bool], seconds: float, hosted: Hosted) -> None:
    """Raises RuntimeError, with what was written, where the condition does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or hosted.process.poll() is not None:
            raise RuntimeError(f"Waited in vain; the host has said:\n{hosted.said[-4_000:]}")
        time.sleep(0.1)


@contextmanager
def hosting(replicas: int = 2, port: int | None = None, **variables: str) -> Iterator[Hosted]:
    """Run ``python -m deploy.host`` with these LOUPE_ variables until the block is left."""
    ports = free_ports(replicas)
    port = port or free_ports(1)[0]
    command = [sys.executable, "-m", "deploy.host", "--replicas", str(replicas)]
    command += ["--listen", f"127.0.0.1:{port}", "--first-port", str(ports[0])]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"} | variables
    with tempfile.TemporaryDirectory(prefix="loupe-test-") as folder:
        log, files = Path(folder) / "log", Path(folder) / "files"
        Path(folder).chmod(0o755)
        command += ["--folder", str(files)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        base = variables.get("LOUPE_BASE_PATH", "")
        address = f"http://127.0.0.1:{port}" + (f"/{base}" if base else "")
        hosted = Hosted(address, ports, files, process, log)
        try:
            hosted.wait_until_in()
            yield hosted
        finally:
            _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End the host and, should it not have done so itself, all that it started."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        if child.is_running():
            child.kill()


def free_ports(count: int) -> list[int]:
    """So many free ports in a row."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        ports = list(range(first, first + count))
        if first + count < 65_536 and all(_is_free(port) for port in ports):
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
