"""Three kinds of text that the mixture-of-experts networks learn: prose, program text, arithmetic."""

import random
import sysconfig
from pathlib import Path

from models.networks.training_data import SplitText, split_text

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
