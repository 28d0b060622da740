"""The version that the app shows, as pyproject.toml states it."""

import tomllib
from functools import cache
from pathlib import Path


@cache
def version() -> str:
    """Such as "0.2.0"."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])
