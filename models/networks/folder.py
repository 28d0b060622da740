"""A network's folder before anything is built from it: regular files, and what its weights hold."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.errors import InputError

LARGEST_JSON = 200_000_000  # bytes of a configuration, a tokenizer or an index
READ = (".json", ".safetensors", ".txt", ".model", ".jinja")


def check_files(folder: Path, name: str) -> None:
    """Raises InputError where a file of the network is a pipe, a device or a socket, or far too large.

    Whoever opens a pipe waits for its other end, and everybody else for the lock that is held meanwhile.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in READ)
        for path in paths:
            if path.exists() and not path.is_file():
                raise InputError("{file} of {name} is no regular file.", file=path.name, name=name)
            if path.suffix == ".json" and path.is_file() and path.stat().st_size > LARGEST_JSON:
                raise InputError("{file} of {name} is too large to be read.", file=path.name, name=name)
    except OSError as error:
        raise InputError("There is no folder {name}.", name=repr(name)) from error


def weight_files(folder: Path) -> set[str]:
    """The files that hold the weights, by the index where there is one.

    Raises ValueError on an index that names none, and on names that lead out of the folder.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {"model.safetensors"}
    read = json.loads(index.read_text(encoding="utf-8"))
    named = read.get("weight_map") if isinstance(read, dict) else None
    files = list(named.values()) if isinstance(named, dict) else []
    if not files or not all(isinstance(file, str) and Path(file).name == file for file in files):
        raise ValueError("The index names no files.")
    return set(files)


def held(folder: Path, files: Iterable[str]) -> tuple[int, int]:
    """How many tensors the weight files hold, and how many numbers; only their headers are read.

    Raises SafetensorError or OSError on a file that is damaged.
    """
    tensors = numbers = 0
    for file in files:
        with safe_open(folder / file, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  # it is no dictionary
                tensors += 1
                numbers += math.prod(weights.get_slice(key).get_shape())
    return tensors, numbers


def held_or_none(folder: Path) -> tuple[int, int] | None:
    """The same, and None where it cannot be read: what is wrong with the files is said later."""
    try:
        return held(folder, weight_files(folder))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
