"""Runs scripts one after another, each in a process and a folder of its own.

Started with ``python -I``, so that nothing of this repository can be imported. It imports what scripts
import, once, and then forks for each: a script costs what it computes, not what torch takes to load.
Reads a JSON line ``{"folder": …, "seconds": …}`` for each, runs the folder's script.py there, and answers
with a line; what the script wrote stands beside the folder, in files that end with .out and .err.
"""

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

FORBIDDEN = ("components", "models", "pages", "streamlit_private", "tests")
OFTEN = ("torch", "transformers", "transformers.models.llama.modeling_llama", "numpy")
FAILED, ENDED = 1, -9


def run(folder: Path) -> int:
    """In the child: the script, as if it had been started in its folder."""
    os.chdir(folder)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    try:
        sys.modules["torch"].set_num_threads(1)  # its threads do not live on in a fork
        for name in FORBIDDEN:
            assert importlib.util.find_spec(name) is None, f"{name} can be imported here"
        sys.argv = ["script.py"]
        runpy.run_path(str(folder / "script.py"), run_name="__main__")
    except BaseException:
        traceback.print_exc()
        return FAILED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def wait(child: int, seconds: float) -> int:
    """The child's exit status; ENDED when it had to be ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return ENDED


def main() -> None:
    for name in OFTEN:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(run(Path(asked["folder"])))
        status = wait(child, asked["seconds"])
        print(json.dumps({"status": status, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
