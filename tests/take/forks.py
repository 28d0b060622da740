"""Runs scripts one after another, each in a process and an empty folder of its own.

Started with ``python -I``, so that nothing of this repository can be imported. It imports what a script
imports, once, and then forks for each: a script costs what it computes, not what torch takes to load.
Reads a JSON line ``{"path": …, "folder": …, "seconds": …}`` for each, and answers with one.
"""

import ast
import contextlib
import importlib
import importlib.util
import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path

FORBIDDEN = ("models", "components", "pages", "tests", "streamlit_private")


def import_what_it_imports(path: Path) -> None:
    """The top-level imports of a script; one that fails will fail in the script as well."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            source = str(statement.module)
            names = [source, *(f"{source}.{alias.name}" for alias in statement.names)]
        else:
            continue
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def run(path: Path, folder: Path) -> int:
    """In the child: the script, as if it had been started in ``folder``."""
    os.chdir(folder)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{path}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    try:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        for name in FORBIDDEN:
            assert importlib.util.find_spec(name) is None, f"{name} can be imported here"
        assert not list(folder.iterdir()), "the folder is not empty"
        sys.argv = [str(path)]
        runpy.run_path(str(path), run_name="__main__")
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def wait(child: int, seconds: float) -> int:
    """The child's exit status; -9 when it had to be ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        path, folder = Path(asked["path"]), Path(asked["folder"])
        import_what_it_imports(path)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(run(path, folder))
        status = wait(child, asked["seconds"])
        answer = {"status": status, "seconds": time.monotonic() - start}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
