"""Three kinds of text that the mixture-of-experts networks learn: prose, program text, arithmetic."""

import random
import sysconfig
from functools import lru_cache
from pathlib import Path

from models.networks.texts import passages
from models.networks.windows import SplitText, split_text

DOMAINS = ("prose", "python", "arithmetic")
SIGNS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def python_source(most_characters: int) -> str:
    """Modules of the Python standard library, in order of their names, without tests.

    The library of whichever Python runs this: another version gives another text.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    left_out = {"test", "tests", "idlelib", "lib2to3", "site-packages", "encodings", "pydoc_data"}
    parts: list[str] = []
    size = 0
    for path in sorted(folder.rglob("*.py")):
        if left_out & set(path.relative_to(folder).parts) or size >= most_characters:
            continue
        source = path.read_text(encoding="utf-8", errors="ignore")
        parts.append(source)
        size += len(source)
    return "".join(parts)[:most_characters]


def arithmetic(lines: int, seed: int) -> str:
    """Lines such as ``37+48=85``: sums and differences to 999, products to 99 × 99."""
    generator = random.Random(seed)
    text = []
    for _ in range(lines):
        sign = generator.choice("+-*")
        largest = 99 if sign == "*" else 999
        left, right = generator.randint(0, largest), generator.randint(0, largest)
        text.append(f"{left}{sign}{right}={SIGNS[sign](left, right)}\n")
    return "".join(text)


def domain_texts(prose: str, characters: int = 4_000_000, seed: int = 0) -> dict[str, SplitText]:
    """The three domains, each in a part to learn and a part to measure.

    ``characters`` is the most of each domain; a line of arithmetic has about ten. Raises ValueError
    when the prose is too short to hold anything out.
    """
    texts = (prose[:characters], python_source(characters), arithmetic(characters // 10, seed))
    return {name: split_text(text) for name, text in zip(DOMAINS, texts, strict=True)}


SAMPLE_CHARACTERS = 6_000
PYTHON_SAMPLE = Path(__file__).parents[2] / "assets" / "domains" / "python.txt"


@lru_cache(maxsize=1)
def domain_samples() -> dict[str, str]:
    """A few thousand characters of each domain that ship with Loupe, none of them learned from.

    Prose: the first passage written for Loupe. Program text: functions of Loupe. Arithmetic: lines
    of another seed, among which sums of small numbers may have been learned all the same.
    """
    prose = passages()[0].text
    arithmetic_lines = arithmetic(SAMPLE_CHARACTERS // 10, seed=1)
    texts = (prose, PYTHON_SAMPLE.read_text(encoding="utf-8"), arithmetic_lines)
    return {name: _whole_lines(text) for name, text in zip(DOMAINS, texts, strict=True)}


def _whole_lines(text: str) -> str:
    """The first SAMPLE_CHARACTERS or fewer, up to the end of a line or sentence."""
    part = text[:SAMPLE_CHARACTERS]
    end = max(part.rfind("\n"), part.rfind(". ") + 1)
    return part[: end + 1]
