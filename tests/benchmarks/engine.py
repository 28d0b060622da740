"""A Ray Serve pool against this process: traces a second, on the same cores."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from models.networks.catalogue import DEFAULT
from models.networks.engine.process import InProcessEngine
from models.networks.engine.protocol import Engine
from models.networks.engine.ray_serve import RayServeEngine
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tokens import tokenize
from tests.benchmarks.figures import Figure, Goal
from tests.browser.server import free_port

AT_ONCE = 32
TOKENS = 128
ROUNDS = 5
READY = "The pool of networks answers at "
START_SECONDS = 180


def measure(page: str = "hosting") -> list[Figure]:
    """Throughput of 32 concurrent traces of 128 tokens, in turns; every text is a new one.

    The pool has as many replicas as there are cores, of one thread each, and no kept answer helps it.
    """
    torch.set_num_threads(1)  # as the app does
    here, texts = InProcessEngine(), _texts(2 * (ROUNDS + 1) * AT_ONCE)
    rates: dict[str, list[float]] = {"here": [], "pool": []}
    with started_pool(replicas=os.cpu_count() or 1) as address:
        engines: dict[str, Engine] = {"here": here, "pool": RayServeEngine(address, 5.0, 60.0, here)}
        for turn in range(ROUNDS + 1):
            for name, engine in engines.items():
                rate = _traces_a_second(engine, [next(texts) for _ in range(AT_ONCE)])
                if engine.trouble is not None:
                    raise RuntimeError(f"The pool did not answer: {engine.trouble}")
                if turn:  # the first is not measured
                    rates[name].append(rate)
    figure = f"{AT_ONCE} concurrent traces of {TOKENS} tokens, pool against process"
    ours, theirs = median(rates["pool"]), median(rates["here"])
    return [Figure(page, figure, ours, "1/s", Goal("ratio", ">=", 0.8), theirs)]


def _texts(count: int) -> Iterator[str]:
    """Texts of just so many tokens: a passage's words in so many orders."""
    network, words = load(DEFAULT), passages()[0].text.split()
    chance = random.Random(0)
    for _ in range(count):
        chance.shuffle(words)
        yield tokenize(network.tokenizer, " ".join(words), TOKENS).shown


def _traces_a_second(engine: Engine, texts: list[str]) -> float:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        begun = time.perf_counter()
        list(threads.map(lambda text: engine.trace(DEFAULT, text), texts))
        return len(texts) / (time.perf_counter() - begun)


@contextmanager
def started_pool(replicas: int) -> Iterator[str]:
    """A pool on this machine until the block is left; its address."""
    port = free_port()
    chosen = {"LOUPE_POOL_PORT": str(port), "LOUPE_POOL_REPLICAS": str(replicas), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "models.networks.engine.pool_server"],
            cwd=Path(__file__).parents[2],
            env=os.environ | chosen,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, Path(folder) / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait(process: subprocess.Popen, log: Path) -> None:
    """Until the pool says that it answers. Raises RuntimeError with what it wrote where it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if READY in log.read_text(errors="replace"):
            return
        time.sleep(0.2)
    raise RuntimeError(f"The pool did not start. It wrote:\n{log.read_text(errors='replace')[-4000:]}")
