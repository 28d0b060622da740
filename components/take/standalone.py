"""A page's snippet as files for an empty folder: a script, and beside it what the script reads."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock

from components.take.bundle import bundle
from components.take.gather import Place
from models.networks import domains, texts
from models.networks.catalogue import CATALOGUE, DEFAULT, EMBEDDED, MIXTURES
from models.runtime.settings import settings

SCRIPT = "script.py"
LIBRARY_CHARACTERS = 300_000  # of the Python standard library, as models.lora.fine_tuning reads it
_BESIDE = "components.take.beside"
# How this program finds its files and settings, and what takes its place in a script.
REDIRECTED: dict[Place, Place] = {
    ("models.networks.loading", "load"): (_BESIDE, "load"),
    ("models.networks.loading", "fresh_copy"): (_BESIDE, "fresh_copy"),
    ("models.networks.texts", "FOLDER"): (_BESIDE, "PASSAGES"),
    ("models.networks.domains", "PYTHON_SAMPLE"): (_BESIDE, "PYTHON_SAMPLE"),
    ("models.networks.domains", "python_source"): (_BESIDE, "python_source"),
    ("models.runtime.settings", "settings"): (_BESIDE, "settings"),
}
# What functions of ours read besides the networks that a snippet names. It is written down, and held by a
# test, because pages ask at each rerun: following the sources takes a second and Python's parser.
_PASSAGES = ("passages",)
READ_BY: dict[str, tuple[str, ...]] = {
    "models.context.long_context.losses_of": _PASSAGES,
    "models.context.long_context.passage_tokens": _PASSAGES,
    "models.lora.fine_tuning.fine_tune": (DEFAULT, "passages", "library"),
    "models.networks.domains.domain_samples": ("passages", "domains"),
    "models.optimizers.training_lab.gradient_norms_at_start": _PASSAGES,
    "models.optimizers.training_lab.train": _PASSAGES,
    "models.quantization.bit_budget.measure_allocation": _PASSAGES,
    "models.quantization.kv_cache.cache_effect": _PASSAGES,
    "models.quantization.quantized_network.cascade": _PASSAGES,
    "models.quantization.quantized_network.sensitivities": _PASSAGES,
}
NETWORK_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
PACKAGES = {entry.name: entry.location for entry in CATALOGUE if entry.source == "package"}
_FROM = re.compile(r"^from (models\.[\w.]+) import (?:\(([^)]*)\)|([^\n]*))", re.MULTILINE)
_NETWORK = re.compile(rf"['\"](?:assets/networks/)?({'|'.join((DEFAULT, *MIXTURES))})['\"]")
_LOCATED = re.compile(rf"'assets/networks/({'|'.join((DEFAULT, *MIXTURES))})'")
_one_at_a_time = Lock()  # Python 3.11's parser mixes up what several threads ask of it


def needs(snippet: str) -> tuple[str, ...]:
    """What a snippet's script reads beside itself: embedded networks by name, kinds of text."""
    found = dict.fromkeys(_NETWORK.findall(snippet))
    for module, several, line in _FROM.findall(snippet):
        for name in re.findall(r"\w+", several or line):
            found |= dict.fromkeys(READ_BY.get(f"{module}.{name}", ()))
    return tuple(found)


def networks(needed: tuple[str, ...]) -> tuple[str, ...]:
    """Those of what is needed that are networks."""
    return tuple(name for name in needed if name in (DEFAULT, *MIXTURES))


def script(snippet: str, header: str = "") -> str:
    """The script for a snippet; ``header`` stands in its first lines.

    Raises BundleError where a name cannot be followed.
    """
    with _one_at_a_time:
        for _attempt in range(3):
            try:
                return _script(snippet, header)
            except SystemError:  # others in this process parse as well
                continue
        return _script(snippet, header)


@lru_cache(maxsize=16)
def _script(snippet: str, header: str) -> str:
    located = _LOCATED.sub(r'Path(__file__).parent / "\1"', snippet)
    located = located.replace('np.load("', 'np.load(Path(__file__).parent / "')
    for package in PACKAGES.values():
        if (place := f"'{package}/model'") in located:
            found = located.replace(place, f'Path({package}.__file__).parent / "model"')
            located = f"import {package}\n{found}"
    if located != snippet:
        located = f"from pathlib import Path\n\n{located}"
    packages = tuple(package for name, package in PACKAGES.items() if repr(name) in snippet)
    text = bundle(located, header, redirected=REDIRECTED, packages=packages)
    for name in ("text_tokens", "text_characters"):
        text = re.sub(rf"(    {name}: int = )[\d_]+", rf"\g<1>{getattr(settings(), name):_}", text)
    return text


def archive(snippet: str, header: str = "", own: Mapping[str, bytes] | None = None) -> bytes:
    """A zip with the script and what it reads; ``own`` are files of the person's, by name."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(SCRIPT, script(snippet, header))
        for name in needs(snippet):
            for inside, content in _files(name):
                file.writestr(inside, content if isinstance(content, str) else content.read_bytes())
        for name, data in (own or {}).items():
            file.writestr(name, data)
    return made.getvalue()


@lru_cache(maxsize=64)
def megabytes(needed: tuple[str, ...]) -> float:
    """The size of what lies beside a script."""
    parts = [content for name in needed for _inside, content in _files(name)]
    return sum(len(part) if isinstance(part, str) else part.stat().st_size for part in parts) / 1e6


def _files(name: str) -> Iterator[tuple[str, Path | str]]:
    """Names within the zip, and where each file lies or what it holds."""
    if name == "library":
        yield "library/python.txt", domains.python_source(LIBRARY_CHARACTERS)
    elif name == "domains":
        yield "domains/python.txt", domains.PYTHON_SAMPLE
    elif name == "passages":
        for path in sorted(texts.FOLDER.iterdir()):
            yield f"passages/{path.name}", path
    else:
        for file in NETWORK_FILES:
            if (path := EMBEDDED / name / file).is_file():
                yield f"{name}/{file}", path
