"""A real Ray Serve pool on this machine, and pages that read their networks from it."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import streamlit as st

from components.traces import TRACES
from models.networks.engine.choice import engine
from models.runtime.settings import settings
from tests.browser.server import free_port
from tests.pages.conftest import language_between_runs, queue_of_its_own

ROOT = Path(__file__).parents[2]
READY = "The pool of networks answers at "
SECONDS = 900  # Ray's five processes start beside the browsers of two other workers
__all__ = ["language_between_runs", "queue_of_its_own"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in one worker, so that one pool serves them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pool)
            item.add_marker(pytest.mark.xdist_group("pool"))


@pytest.fixture(scope="session")
def pool(tmp_path_factory) -> Iterator[str]:
    """The address of a pool of one replica; at the end no process of it may be left."""
    log, port = tmp_path_factory.mktemp("pool") / "log", free_port()
    chosen = {"PORT": str(port), "REPLICAS": "1", "BATCH": "2", "QUEUE": "4"}
    own = {f"LOUPE_POOL_{name}": value for name, value in chosen.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "models.networks.engine.pool_server"],
            cwd=ROOT,
            env=os.environ | own | {"HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, log, address)
        family = psutil.Process(process.pid).children(recursive=True)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    _gone, left = psutil.wait_procs(family, timeout=20)
    assert not left, f"processes of the pool are left: {left}"


def wait_until_ready(process: subprocess.Popen, log: Path, address: str) -> None:
    """Until the pool says where it answers, and answers there."""
    for _ in range(10 * SECONDS):
        if READY in log.read_text(errors="replace"):
            with urllib.request.urlopen(f"{address}/ready", timeout=10):
                return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    wrote = "\n".join(line for line in log.read_text(errors="replace").splitlines() if "torch" not in line)
    pytest.fail(f"The pool did not start. It wrote:\n{wrote[-2000:]}\n{what_ray_wrote()}")


def what_ray_wrote() -> str:
    """The last lines of every log of Ray Serve: its controller, its proxy, the networks' process."""
    folder = max(Path(tempfile.gettempdir()).glob("loupe-pool-*"), key=os.path.getmtime, default=Path())
    logs = sorted(folder.glob("session_*/logs/serve/*.log"))
    return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-800:]}" for log in logs)


@pytest.fixture
def through_pool(pool, monkeypatch) -> Iterator[str]:
    """Pages read networks from the pool, and nothing that was kept before."""
    monkeypatch.setenv("LOUPE_ENGINE", "ray")
    monkeypatch.setenv("LOUPE_ENGINE_ADDRESS", pool)
    forget()
    yield pool
    trouble = engine().trouble
    monkeypatch.undo()
    forget()
    assert trouble is None, f"the pool did not answer: {trouble}"


def forget() -> None:
    """Settings, engine and everything that was kept."""
    settings.cache_clear()
    engine.cache_clear()
    TRACES.clear()
    st.cache_data.clear()
    st.cache_resource.clear()
