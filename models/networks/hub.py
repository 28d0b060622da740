"""Files of a network from a hub, with an answer within seconds where no hub can be reached."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from models.errors import InputError

SECONDS = 6.0  # longest wait for the hub's first answer
DESCRIPTION = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
]
WEIGHTS = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


def downloaded(hub_id: str) -> Path | None:
    """The folder of a network that was downloaded before, whole; the hub is not asked."""
    try:
        folder = Path(
            snapshot_download(hub_id, allow_patterns=DESCRIPTION + WEIGHTS, local_files_only=True)
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    has_weights = any((folder / name).is_file() for name in ("model.safetensors", WEIGHTS[-1]))
    return folder if has_weights else None


def ask(hub_id: str) -> None:
    """Ask the hub whether it holds such a network.

    Raises InputError when the hub does not answer within seconds, does not know the network or
    does not give it to everyone, or holds it without safetensors weights.
    """
    info = _info(hub_id)
    files = [sibling.rfilename for sibling in info.siblings or ()]
    if not any(name in files for name in ("model.safetensors", "model.safetensors.index.json")):
        refuse_without_safetensors(hub_id, files)


def bring(hub_id: str, weights: bool) -> Path:
    """Download what describes a network, and its weights where asked for; the folder.

    Raises InputError where that fails half-way.
    """
    patterns = DESCRIPTION + WEIGHTS if weights else DESCRIPTION
    try:
        # No revision is named: the hub's client then remembers which one is "main", without which
        # a network that was downloaded would not be found again when the hub is away.
        return Path(snapshot_download(hub_id, allow_patterns=patterns, etag_timeout=SECONDS))
    except Exception as error:  # of several libraries: connection, disk, permission, checksum
        raise InputError(
            "{name} could not be downloaded from the hub: {reason}.",
            name=hub_id,
            reason=type(error).__name__,
        ) from error


def refuse_without_safetensors(name: str, files: list[str]) -> None:
    """Raise the InputError that says why files without safetensors weights are not loaded."""
    if any(file.endswith(PICKLED) for file in files):
        raise InputError(
            "{name} has its weights in a pickled file only, which could run a program when it is read; "
            "only safetensors are loaded.",
            name=name,
        )
    raise InputError("{name} holds no weights: a file model.safetensors is needed.", name=name)


def _info(hub_id: str) -> ModelInfo:
    """In a thread of its own: a name server that does not answer knows no time limit."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
    try:
        return executor.submit(HfApi().model_info, hub_id, timeout=SECONDS).result(timeout=SECONDS)
    except GatedRepoError as error:
        raise InputError("{name} is on the hub, but not open to everyone.", name=hub_id) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError("The hub does not know a network named {name}.", name=hub_id) from error
    except Exception as error:  # httpx, timeouts, offline mode: whatever it is, there is no hub
        raise InputError(
            "{name} lies on a hub that cannot be reached from here; "
            "choose a network that ships with Loupe, or try again later.",
            name=hub_id,
        ) from error
    finally:
        executor.shutdown(wait=False)
