"""Run Loupe for a team: ``python -m deploy.host --replicas 2``.

Starts so many processes of the app on loopback and nginx in front of them. Once a second it asks each
for /ready: one that is not ready, or has a file NAME.out in the run's folder, gets no visitors; one
that has ended, or has not answered for long, is started again. SIGTERM ends all of it.
"""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from deploy.nginx import Front, Replica, configuration, headers_file, pack_static, replicas_file
from models.errors import InputError
from models.runtime.settings import SHORTEST_COOKIE_SECRET, Settings, settings

ROOT = Path(__file__).parents[1]
ROUND_SECONDS = 1.0
ANSWER_SECONDS = 3.0  # for /ready
MISSES_OUT = 3  # unanswered questions in a row after which a replica gets no more visitors
MISSES_DEAD = 20  # and after which it is ended and started again
START_SECONDS = 300.0  # a replica that was never ready for so long is started again
AGAIN_SECONDS = 2.0  # least time between two starts of one replica


class Process:
    """One replica's process, started again when it ends."""

    def __init__(self, replica: Replica, environment: dict[str, str], base: str):
        self.replica, self.environment = replica, environment
        self.ready_address = f"http://{replica.address}{base}/ready"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        command += ["--server.address", "127.0.0.1", "--server.port", str(self.replica.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment)
        self.started_at = time.monotonic()
        self.misses, self.was_ready = 0, False

    def look(self) -> bool:
        """Whether people may be sent to it; one that ended or hangs is started again first."""
        if self.process.poll() is not None:
            if time.monotonic() - self.started_at > AGAIN_SECONDS:
                say(f"{self.replica.name} ended with {self.process.returncode} and is started again.")
                self.start()
            return False
        answer = self._ready()
        self.misses = self.misses + 1 if answer is None else 0
        self.was_ready = self.was_ready or bool(answer)
        patience = MISSES_DEAD if self.was_ready else START_SECONDS / ROUND_SECONDS
        if self.misses >= patience:
            say(f"{self.replica.name} has not answered {self.misses} times and is ended.")
            self.process.kill()
            return False
        return bool(answer) or (answer is None and self.replica.is_in and self.misses < MISSES_OUT)

    @property
    def is_slow(self) -> bool:
        """Whether it runs and has been ready, and does not answer at present."""
        return self.process.poll() is None and self.was_ready and self.misses > 0

    def _ready(self) -> bool | None:
        """The answer of /ready; None where there is none."""
        try:
            with urllib.request.urlopen(self.ready_address, timeout=ANSWER_SECONDS) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False
        except OSError:
            return None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def heavy_at_once(replicas: int, settings: Settings) -> int:
    """Long computations of one replica: as it is set, else at most a replica's share of the cores.

    With more, the long work of one replica takes the cores that the others' redraws need.
    """
    if "heavy_at_once" in settings.model_fields_set:
        return settings.heavy_at_once
    share = len(os.sched_getaffinity(0)) // replicas
    return max(1, min(settings.heavy_at_once, share))


class Host:
    """nginx and the replicas behind it, from ``start`` to ``stop``."""

    def __init__(self, front: Front, ports: list[int], settings: Settings):
        self.front, self.settings = front, settings
        base = f"/{settings.base_path}" if settings.base_path else ""
        # Every rerun is a thread of its own: with many arenas, what they free stays with the process.
        memory = {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
        heavy = {"LOUPE_HEAVY_AT_ONCE": str(heavy_at_once(len(ports), settings))}
        environment = os.environ | memory | heavy | {"LOUPE_COOKIE_SECRET": _cookie_secret(settings)}
        replicas = [Replica(f"r{number}", port, is_in=False) for number, port in enumerate(ports, 1)]
        self.processes = [Process(replica, environment, base) for replica in replicas]

    def start(self) -> None:
        """Write nginx's files and start it; raises RuntimeError where it does not like them."""
        pack_static(self.front.folder)
        self._write_replicas()
        headers = self.front.folder / "headers.conf"
        headers.write_text(headers_file(self.front), encoding="utf-8")
        path = self.front.folder / "nginx.conf"
        path.write_text(configuration(self.front, self.settings), encoding="utf-8")
        command = [nginx(), "-c", str(path), "-p", str(self.front.folder), "-e", "stderr"]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
        if checked.returncode:
            self.stop()
            raise RuntimeError(checked.stderr.strip())
        self.nginx = subprocess.Popen(command)

    def keep(self) -> None:
        """One look at every replica; nginx hears of it where something has changed."""
        if self.nginx.poll() is not None:
            raise RuntimeError(f"nginx ended with {self.nginx.returncode}.")
        with ThreadPoolExecutor(len(self.processes)) as pool:
            looked = list(pool.map(Process.look, self.processes))
        changed = False
        slow = [one.replica.is_in and one.is_slow for one in self.processes]
        for one, is_chosen in zip(self.processes, chosen(looked, slow), strict=True):
            is_in = is_chosen and not (self.front.folder / f"{one.replica.name}.out").exists()
            if is_in != one.replica.is_in:
                say(f"{one.replica.name} at {one.replica.address} is {'in' if is_in else 'out'}.")
                one.replica = replace(one.replica, is_in=is_in)
                changed = True
        if changed:
            self._write_replicas()
            self.nginx.send_signal(signal.SIGHUP)

    def _write_replicas(self) -> None:
        written = replicas_file([one.replica for one in self.processes])
        (self.front.folder / "replicas.conf").write_text(written, encoding="utf-8")

    def stop(self) -> None:
        if hasattr(self, "nginx"):
            self.nginx.terminate()
            self.nginx.wait(10)
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(Process.stop, self.processes))


def chosen(ready: list[bool], slow: list[bool]) -> list[bool]:
    """Who gets visitors: the ready ones; where all are too busy to answer, those rather than nobody."""
    return ready if any(ready) else slow


def _cookie_secret(settings: Settings) -> str:
    """The secret that all replicas share; without one in the settings, one for this run."""
    return settings.cookie_secret.get_secret_value() or secrets.token_urlsafe(SHORTEST_COOKIE_SECRET)


def nginx() -> str:
    """Nginx's path, also where only root's PATH names its folder."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError("There is no nginx here; on Debian, apt-get install nginx-light brings it.")
    return path


def say(sentence: str) -> None:
    print(f"host: {sentence}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.host", description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=2, help="processes of the app")
    parser.add_argument("--listen", default="127.0.0.1:8501", help="where nginx answers: address:port")
    parser.add_argument("--first-port", type=int, default=8601, help="of the replicas, on loopback")
    parser.add_argument("--certificate", type=Path, help="for https, with --key")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--folder", type=Path, help="for this run's files; a new one by default")
    parser.add_argument(
        "--log-paths", action="store_true", help="a line a request into paths.log, without its query"
    )
    asked = parser.parse_args()
    if asked.replicas < 1 or bool(asked.certificate) != bool(asked.key):
        parser.error("at least one replica, and --certificate together with --key")
    return asked


def main() -> int:
    os.environ.setdefault("LOUPE_PROFILE", "hosted")
    asked = arguments()
    try:
        read = settings()
    except InputError as error:
        raise SystemExit(str(error)) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="loupe-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)  # nginx's workers may be someone else
        except OSError as error:
            say(f"The folder {folder} cannot be used: {error.strerror}.")
            return 1
        front = Front(folder, asked.listen, asked.certificate, asked.key, asked.log_paths)
        ports = list(range(asked.first_port, asked.first_port + asked.replicas))
        host = Host(front, ports, read)
        try:
            host.start()
            say(f"Loupe answers at {'https' if asked.certificate else 'http'}://{asked.listen}")
            while True:
                host.keep()
                time.sleep(ROUND_SECONDS)
        except KeyboardInterrupt:
            return 0
        except RuntimeError as error:
            say(str(error))
            return 1
        except OSError as error:
            say(f"The files of this run could not be written to {folder}: {error.strerror}.")
            return 1
        finally:
            host.stop()


if __name__ == "__main__":
    sys.exit(main())
