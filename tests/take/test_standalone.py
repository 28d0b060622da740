"""Python to take along, run as a person does: in an empty folder, where Loupe cannot be imported."""

import contextlib
import io
import subprocess
import sys

import pytest

from components.catalogue import PAGES
from components.take.standalone import standalone, stands_alone
from tests.pages.screen import open_page

# A view a page whose numbers need no network that ships with Loupe, and none that takes long.
RUN = {
    "attention": "softmax",
    "masks": "cost",
    "positions": "encode",
    "context": "frequencies",
    "optimizers": "matrices",
    "lora": "scaling",
    "preference": "objective",
    "policy": "kl",
    "quantization": "numbers",
    "moe": "loss",
}


def snippets(page: str, view: str) -> list[str]:
    screen = open_page(page, **{f"{page}_view": view})
    return [code.value for code in screen.code if "import" in code.value]


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_in_an_empty_folder_it_prints_what_the_short_form_prints_here(name, tmp_path):
    (snippet,) = snippets(name, RUN[name])
    assert stands_alone(snippet)
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(snippet, {})
    away = subprocess.run(
        [sys.executable, "-I", "-c", standalone(snippet)], cwd=tmp_path, capture_output=True, text=True
    )
    assert away.returncode == 0, away.stderr[-2_000:]
    assert away.stdout == here.getvalue()
    assert any(sign.isdigit() for sign in away.stdout)
    gone = subprocess.run([sys.executable, "-I", "-c", "import models"], cwd=tmp_path, capture_output=True)
    assert gone.returncode != 0  # nothing of this repository could have been imported


def test_what_reads_an_embedded_network_does_not_claim_to_stand_alone():
    assert not stands_alone("from models.networks.loading import load\n\nprint(load('loupe-llama'))\n")
    assert stands_alone("from models.attention.softmax import log_sum_exp\n\nprint(log_sum_exp)\n")


def test_a_page_goes_without_a_script_that_cannot_be_made(monkeypatch):
    def broken(_imports):
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr("components.take.standalone._stands_alone", broken)
    assert not stands_alone("from models.attention.softmax import log_sum_exp\n")
