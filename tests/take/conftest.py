"""Scripts that are run where a person would run them, and what they print."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from components.take.parts.numbers import rounded
from components.take.script import Script
from tests.models.networks.tiny_networks import (
    TOKENIZERS,
    byte_level_tokenizer,
    gpt2_config,
    llama_config,
    neox_config,
)


class Runner:
    """A process that cannot import this repository, and runs scripts in empty folders."""

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={"HF_HUB_OFFLINE": "1", "PATH": ""},
        )

    def run(self, code: str, seconds: float = 120.0) -> list[str]:
        """The lines that a script prints. Fails with its traceback where it fails."""
        self.count += 1
        path = self.folder / f"script{self.count}.py"
        empty = self.folder / f"empty{self.count}"
        path.write_text(code, encoding="utf-8")
        empty.mkdir()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(
            json.dumps({"path": str(path), "folder": str(empty), "seconds": seconds}) + "\n"
        )
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        errors = Path(f"{path}.err").read_text(encoding="utf-8")
        assert answer["status"] == 0, f"{path} ended with {answer['status']}\n{errors[-4000:]}"
        assert not list(empty.iterdir()), "the script left files behind"
        return Path(f"{path}.out").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def alone(tmp_path_factory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("alone"))
    yield runner
    assert runner.process.stdin is not None
    runner.process.stdin.close()
    runner.process.wait(timeout=30)


def printed(lines: list[str], names: int) -> Any:
    """The value in a script's last line, or by name in its last lines."""
    read = {"nan": math.nan, "inf": math.inf, "__builtins__": {}}
    if not names:
        return eval(lines[-1], read)
    found = {}
    for line in lines[-names:]:
        name, _equals, value = line.rpartition(" = ")
        found[name] = eval(value, read)
    return found


def check(script: Script, runner: Runner, seconds: float = 120.0) -> None:
    """Run a script, and compare what it prints with what the page shows."""
    lines = runner.run(script.code, seconds)
    if not isinstance(script.prints, Mapping):
        assert isinstance(script.tolerance, float)
        compare("the result", printed(lines, 0), script.prints, script.tolerance)
        return
    found = printed(lines, len(script.prints))
    assert list(found) == list(script.prints)
    for name, expected in script.prints.items():
        tolerance = script.tolerance
        compare(name, found[name], expected, tolerance if isinstance(tolerance, float) else tolerance[name])


def compare(name: str, found: Any, expected: Any, tolerance: float) -> None:
    """Within the tolerance, relative to the largest number that is expected; words exactly."""
    expected = rounded(expected)
    if not _are_numbers(expected):
        assert found == expected, name
        return
    expected = np.array(expected, dtype=float)
    finite = expected[np.isfinite(expected)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    np.testing.assert_allclose(
        np.array(found, dtype=float), expected, rtol=0, atol=tolerance * largest, err_msg=name
    )


def _are_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_are_numbers, value))
    return isinstance(value, int | float)


@pytest.fixture(scope="session")
def network_folder(tmp_path_factory) -> Callable[[str], str]:
    """The folder of a tiny random network, by its kind: how a hub's network is treated, without a hub."""

    @cache
    def build(kind: str) -> str:
        folder = tmp_path_factory.mktemp(kind)
        config = {"llama": llama_config, "gpt2": gpt2_config, "gpt_neox": neox_config}[kind]()
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        TOKENIZERS.get(kind, byte_level_tokenizer)().save_pretrained(folder)
        return str(folder)

    return build
