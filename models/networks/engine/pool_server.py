"""A pool of networks on one machine: ``make pool`` or ``python -m models.networks.engine.pool_server``.

Ray's processes and files are this run's own and end with it. Ray speaks under a token made for the run,
has no dashboard, and tells nobody that it is used.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from models.errors import InputError
from models.runtime.settings import Settings, settings

GRACE_SECONDS = 3.0
PATIENCE_SECONDS = 480.0  # how long Ray's parts may take to start on a busy machine


def ray_environment(folder: Path) -> dict[str, str]:
    """Variables that Ray's processes read when they start; ``folder`` takes their files.

    HAProxy, which comes with Ray, hands answers of megabytes on in a tenth of the time that Ray's own
    proxy takes, which is written in Python.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # On a busy machine HAProxy's actor needs more than Ray's 5 s to start, and is killed for it.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": f"{PATIENCE_SECONDS:.0f}",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": f"{PATIENCE_SECONDS:.0f}",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_until(over: threading.Event, chosen: Settings, folder: Path) -> None:
    """Start Ray and the pool, say where it answers, and end every process of theirs at the end."""
    os.environ.update(ray_environment(folder))
    import ray  # not before: Ray reads the environment when it is imported
    from ray import serve

    from models.networks.engine.pool import application

    try:
        ray.init(
            num_cpus=max(1, chosen.pool_replicas * chosen.pool_threads),
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
            log_to_driver=False,
        )
        for sign in (signal.SIGINT, signal.SIGTERM):  # again: Ray has set its own
            signal.signal(sign, lambda *_: over.set())
        print("Ray runs; its proxy is starting.", flush=True)
        _start_proxy({"host": chosen.pool_host, "port": chosen.pool_port})
        print("Ray's proxy runs; the networks' process is starting.", flush=True)
        _keep_trying(lambda: serve.run(application({}), name="loupe", route_prefix="/"))
        print(f"The pool of networks answers at http://{chosen.pool_host}:{chosen.pool_port}", flush=True)
        over.wait()
    finally:
        family = psutil.Process().children(recursive=True)
        serve.shutdown()
        ray.shutdown()
        _end(family)


def _start_proxy(options: dict[str, str | int]) -> None:
    """Return when Ray's proxy serves: ``serve.start`` gives up after 60 s, the proxy goes on starting."""
    from ray import serve
    from ray.serve.schema import ProxyStatus

    _keep_trying(lambda: serve.start(http_options=options))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(status != ProxyStatus.HEALTHY for status in serve.status().proxies.values()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Ray's proxy did not start within {PATIENCE_SECONDS:.0f} s.")
        time.sleep(0.2)


def _keep_trying(start: Callable[[], object]) -> None:
    """``start``, again whenever Ray's own minute is over; what it began is found and waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            start()
        except TimeoutError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _end(family: list[psutil.Process]) -> None:
    """End what is left of Ray's processes: HAProxy outlives the actor that started it."""
    _gone, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def main() -> int:
    """Run the pool until it is interrupted or terminated."""
    over = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: over.set())
    try:
        chosen = settings()
    except InputError as error:  # a wrong LOUPE_… variable stops the start with one sentence
        print(error, file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="loupe-pool-"))
    try:
        serve_until(over, chosen, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
