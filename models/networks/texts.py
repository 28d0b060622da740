"""The passages that ship with Loupe: default texts, and what networks are measured on."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "assets" / "passages"


@dataclass(frozen=True)
class Passage:
    """A passage written for Loupe. ``text`` reads the file, so that listing passages stays cheap."""

    name: str
    language: str  # of the text, not of the title
    path: Path
    title_en: str
    title_zh: str
    excerpt: str  # a few sentences that stand on their own, the default text of a page

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def title(self, language: str) -> str:
        return self.title_zh if language.startswith("zh") else self.title_en


@lru_cache(maxsize=1)
def passages() -> tuple[Passage, ...]:
    """Every passage, in the order of the index."""
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return tuple(
        Passage(
            item["name"],
            item["language"],
            FOLDER / item["file"],
            item["title"]["en"],
            item["title"]["zh"],
            item["excerpt"],
        )
        for item in index
    )
