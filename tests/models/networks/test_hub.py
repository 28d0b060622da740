"""Hub networks: none in reach, and one that a server of this test plays."""

import hashlib
import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import huggingface_hub
import pytest
import torch

from models.errors import InputError
from models.networks import hub, loading
from models.networks.loading import load
from models.networks.tracing import trace
from models.runtime.settings import settings
from tests.models.networks.tiny_networks import llama_config

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-llama"
TEXT = "Margery rowed out to the bell."
pytestmark = pytest.mark.usefixtures("empty_cache")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs, over the files of one folder."""

    folder: Path
    asked: list[str]

    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.asked.append(path)
        files = sorted(self.folder.iterdir())
        head, _, file = path.partition(f"/resolve/{REVISION}/")
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": self.tag(file)}
                for file in files
            ]
            self.reply(json.dumps(tree).encode(), send_body)
        elif path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            siblings = [{"rfilename": file.name} for file in files]
            info = {"id": NAME, "modelId": NAME, "sha": REVISION, "siblings": siblings, "private": False}
            self.reply(json.dumps(info).encode(), send_body)
        elif head == f"/{NAME}" and (self.folder / file).is_file():
            source = self.folder / file
            self.reply(source.read_bytes(), send_body, ETag=f'"{self.tag(source)}"')
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    @staticmethod
    def tag(file: Path) -> str:
        return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()

    def reply(self, body: bytes, send_body: bool, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"X-Repo-Commit": REVISION, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


def use_hub(monkeypatch, tmp_path, address: str) -> None:
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def served(build, tmp_path, monkeypatch):
    """The handler class of a running hub; its ``folder`` holds the files, ``asked`` the requests."""
    folder = tmp_path / "served"
    shutil.copytree(build(llama_config()), folder)
    handler = type("Served", (Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


def refusal(name: str = NAME) -> str:
    with pytest.raises(InputError) as refused:
        load(name)
    return str(refused.value)


def test_hub_network_is_downloaded_once_and_then_needs_no_hub(served):
    network = load(NAME)
    local = load(str(served.folder))
    assert torch.equal(trace(network, TEXT).logits, trace(local, TEXT).logits)
    assert (network.entry.source, network.entry.architecture) == ("hub", "LlamaForCausalLM")
    loading._networks.clear()
    served.asked.clear()
    assert load(NAME) is not network
    assert served.asked == []


def test_hub_network_that_is_too_large_is_refused_before_its_weights_come(served, monkeypatch):
    monkeypatch.setenv("LOUPE_LARGEST_NETWORK", "30000")
    settings.cache_clear()
    assert "parameters; at most 30000" in refusal()
    assert served.asked
    assert not any("safetensors" in path for path in served.asked)
    monkeypatch.setenv("LOUPE_LARGEST_NETWORK", "40000")
    settings.cache_clear()
    assert load(NAME).layers == 3  # what came before is no obstacle to the rest


def test_pickled_hub_network_is_refused_before_anything_comes(served):
    (served.folder / "model.safetensors").rename(served.folder / "pytorch_model.bin")
    assert "pickled" in refusal()
    assert not any("resolve" in path for path in served.asked)


def test_hub_network_with_remote_code_is_refused_before_its_weights_come(served):
    config = {"model_type": "new", "auto_map": {"AutoModel": "code.Model"}}
    (served.folder / "config.json").write_text(json.dumps(config))
    assert "program of its own" in refusal()
    assert not any("safetensors" in path for path in served.asked)


def test_damaged_hub_network_is_refused(served):
    (served.folder / "model.safetensors").write_bytes(b"x" * 100)
    assert "damaged or incomplete" in refusal()


def test_unknown_hub_network_is_refused(served):
    assert "does not know a network named someone/other" in refusal("someone/other")


def test_hub_that_breaks_off_is_one_sentence(served, monkeypatch):
    def break_off(*arguments, local_files_only=False, **options):
        raise OSError("not downloaded yet") if local_files_only else ConnectionError("reset")

    monkeypatch.setattr(hub, "snapshot_download", break_off)
    assert "could not be downloaded" in refusal()


def test_unreachable_hub_is_one_sentence_within_seconds(monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path, "http://hub.invalid")
    began = time.monotonic()
    assert "cannot be reached" in refusal("gpt2")
    assert time.monotonic() - began < 3 * hub.SECONDS  # retries alone would take 23 s


def test_hub_that_accepts_and_never_answers_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in refusal("gpt2")


def test_offline_mode_is_one_sentence(monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path, "http://hub.invalid")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached" in refusal("gpt2")
