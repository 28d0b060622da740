"""A Streamlit process for browser tests and benchmarks: started, waited for, stopped."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOUPE = Path(__file__).parents[2] / "app.py"
STARTUP_SECONDS = 180
HEALTH = "/_stcore/health"  # Streamlit's own; Loupe's /ready also waits for the default network


@dataclass(frozen=True)
class Server:
    """A running process, its address without a slash at the end, and where it writes."""

    address: str
    process: subprocess.Popen
    log: Path

    @property
    def said(self) -> str:
        """Everything that the process has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def resident_megabytes(self) -> float:
        """Resident memory of the process, in units of 10⁶ bytes."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            return int(line.split()[1]) * 1024 / 1e6
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.check_output(command)) * 1024 / 1e6


@contextmanager
def serving(script: Path = LOUPE, ready: str = "/ready") -> Iterator[Server]:
    """Run a Streamlit script on a free port until the block is left.

    The block begins when ``ready`` answers 200. Raises RuntimeError, with what the process wrote,
    where it does not within STARTUP_SECONDS.
    """
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    command += ["--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=script.parent, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        server = Server(f"http://127.0.0.1:{port}", process, Path(folder) / "log")
        try:
            _wait(server, ready)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: Server, path: str) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(server.address + path, timeout=5):
                return
        except (urllib.error.URLError, OSError):  # not listening yet, or 503: not warm yet
            time.sleep(0.1)
    raise RuntimeError(f"{path} of the server did not answer 200. It wrote:\n{server.said[-4000:]}")
