"""Python to take along, run as a person does: in an empty folder, where Loupe cannot be imported."""

import contextlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch

import components.take.standalone as standalone
from components.catalogue import PAGES, lesson
from components.panels.quantization import matrix
from components.panels.quantization.settings import YOURS, Source
from components.take.standalone import archive, needs, networks, script
from models.lora.fine_tuning import CHARACTERS
from models.networks.catalogue import DEFAULT
from models.quantization.error import matrix_error
from models.quantization.weight_formats import Setting, quantize
from models.runtime.settings import settings
from tests.pages.screen import ROOT, views
from tests.take.collecting import screen_of, snippet_on

# Views that train or measure for long, at settings that take seconds.
QUICK = {
    "context.distance": "context_length=512",
    "context.loss": "context_length=512&context_method=ntk",
    "context.needle": "context_length=512&context_trials=4",
    "lora.compare": "lora_steps=10&lora_ranks=2&lora_seeds=2&lora_names=kaiming,pissa",
    "lora.real": "lora_real_steps=3",
    "moe.train": "moe_run_seed=3&moe_router=softmax",
    "optimizers.depth": "optimizers_depth=2",
    "optimizers.training": "optimizers_training_steps=12",
    "policy.learning": "policy_lab_steps=8&policy_seeds=2",
    "policy.real": "policy_real_steps=2&policy_new_tokens=6&policy_real_answers=3",
    "preference.real": "preference_real_steps=2",
}
# Still more than some seconds, most of it training.
SLOW = {
    "context.loss",
    "lora.audit",
    "lora.compare",
    "lora.real",
    "masks.stream",
    "moe.duel",
    "moe.specialise",
    "moe.train",
    "optimizers.decay",
    "optimizers.depth",
    "optimizers.matrices",
    "optimizers.paths",
    "optimizers.rotation",
    "policy.real",
    "quantization.sensitivity",
}
VIEWS = [
    pytest.param(f"{page.name}.{view}", marks=pytest.mark.slow if f"{page.name}.{view}" in SLOW else ())
    for page in PAGES
    for view in lesson(page.name, "en").views
]
NUMBER = re.compile(r"(?<![A-Za-z_\d.])-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
READ = {  # a line of a script that says what it reads from beside itself
    "passages": "\nPASSAGES = ",
    "domains": "\nPYTHON_SAMPLE = ",
    "library": "\nPYTHON_SOURCE = ",
}


class Away:
    """A process that cannot import this repository, and runs scripts in folders that hold nothing else."""

    def __init__(self, folder: Path):
        self.folder, self.numbers = folder, count()
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={"HF_HUB_OFFLINE": "1", "PATH": ""},
        )

    def run(self, zipped: bytes, seconds: float = 240.0) -> str:
        """What the script in a zip prints. Fails with its traceback where it fails."""
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        with zipfile.ZipFile(io.BytesIO(zipped)) as file:
            file.extractall(folder)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["status"] == 0, Path(f"{folder}.err").read_text(encoding="utf-8")[-3000:]
        return Path(f"{folder}.out").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def away(tmp_path_factory) -> Iterator[Away]:
    runner = Away(tmp_path_factory.mktemp("away"))
    with runner.process:  # closes its pipes at the end, and waits for it
        yield runner


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_offers_python_that_prints_its_numbers_in_an_empty_folder(
    name, away, tmp_path, monkeypatch
):
    """The short form calls the functions that the page calls; tests/pages hold it to the screen."""
    screen = screen_of(*name.split("."), QUICK.get(name, ""))
    snippet = snippet_on(screen)
    assert [b.key for b in screen.get("download_button") if b.key.endswith("_py")] == [
        name.replace(".", "_") + "_py"
    ]
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)  # one writes an adapter
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(snippet, {})
    compare(away.run(archive(snippet)), here.getvalue())
    needed, text = needs(snippet), script(snippet)
    assert {kind for kind, line in READ.items() if line in text} == set(needed) - set(networks(needed))
    assert all(network in text for network in networks(needed))


def compare(found: str, expected: str) -> None:
    """The same words; numbers within one in the last digit that is printed, and rounding."""
    assert NUMBER.findall(expected), expected
    assert words(found) == words(expected)
    for one, other in zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True):
        allowed = max(unit(one), unit(other)) + 1e-4 * abs(float(other))
        assert abs(float(one) - float(other)) <= allowed, (one, other, expected[:400])


def words(printed: str) -> list[str]:
    return NUMBER.sub("", printed).split()


def unit(number: str) -> float:
    """What one in the last digit of a printed number is worth; at most 1e-4, for 0 to 4 decimals."""
    digits, _e, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 0.0 if "." not in digits else 10.0 ** (int(exponent or 0) - decimals)


@pytest.mark.parametrize("other", ["a [0.1237, 2.0e-05]", "a [0.1234, 2.3e-05]", "b [0.1234, 2.0e-05]"])
def test_a_number_or_word_that_is_off_is_seen(other):
    compare("a [0.1234, 2.0e-05]", "a [0.1235, 2.0e-05]")
    with pytest.raises(AssertionError):
        compare("a [0.1234, 2.0e-05]", other)


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_all_views_of_a_page_are_run(name):
    run = {view.values[0] for view in VIEWS}
    assert {f"{name}.{view.name}" for view in views(name)} == {
        one for one in run if one.startswith(f"{name}.")
    }


def test_a_zip_holds_the_script_and_what_it_reads_and_nothing_else():
    snippet = "from models.networks.loading import load\n\nprint(load('loupe-llama').layers)\n"
    with zipfile.ZipFile(io.BytesIO(archive(snippet, "What it is."))) as file:
        files = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        assert sorted(file.namelist()) == [*(f"loupe-llama/{name}" for name in files), "script.py"]
        lines = file.read("script.py").decode().splitlines()
    assert lines[0] == "# What it is."
    assert "pip install numpy==" in lines[2]
    assert "torch==" in lines[2]


def test_a_matrix_of_ones_own_travels_with_the_script(away, monkeypatch):
    mine = torch.randn(32, 64, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(matrix, "values", lambda source: mine)
    source = Source(DEFAULT, 0, YOURS, "")
    made = matrix.own_file(source)
    assert made is not None
    found = quantize(mine, Setting())
    expected = f"{found.effective_bits} {matrix_error(mine, found.dequantized)}"
    compare(away.run(archive(matrix.snippet(source, Setting()), "", made())), expected)
    monkeypatch.setattr(matrix, "values", lambda source: mine[:2])
    assert matrix.own_file(source) is None


def test_the_library_is_as_long_as_a_run_reads():
    assert standalone.LIBRARY_CHARACTERS == CHARACTERS


def test_a_script_reads_as_much_of_a_text_as_the_page(monkeypatch):
    snippet = "from models.networks.tracing import trace\nprint(trace)\n"
    monkeypatch.setenv("LOUPE_TEXT_TOKENS", "77")
    settings.cache_clear()
    try:
        assert "    text_tokens: int = 77\n" in script(snippet)
    finally:
        settings.cache_clear()


def test_a_parser_that_fails_once_is_asked_again(monkeypatch):
    made, failures = standalone.bundle, iter([SystemError("AST constructor recursion depth mismatch")])

    def broken(*args, **options):
        for failure in failures:
            raise failure
        return made(*args, **options)

    monkeypatch.setattr(standalone, "bundle", broken)
    assert "print(log_sum_exp)" in script(
        "from models.attention.softmax import log_sum_exp\n\nprint(log_sum_exp)  # twice\n"
    )
