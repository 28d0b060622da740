"""The pages of Loupe, in the order in which they are listed. A new page is a new line here."""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.lesson import Lesson, read_lesson
from components.words import mark

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class PageEntry:
    """A page: its one name in every room, its section (translated when shown), its icon."""

    name: str
    section: str
    icon: str

    @property
    def thumbnail(self) -> Path:
        return ASSETS / "thumbnails" / f"{self.name}.png"

    @property
    def picture(self) -> str:
        """The thumbnail itself as an address: a file that Streamlit serves goes when its page is left."""
        return f"data:image/png;base64,{b64encode(self.thumbnail.read_bytes()).decode()}"


HOME = PageEntry("home", "", ":material/home:")
QUESTIONS = PageEntry("questions", "", ":material/quiz:")
PAGES = (
    PageEntry("attention", mark("Attention and positions"), ":material/grid_on:"),
    PageEntry("masks", mark("Attention and positions"), ":material/visibility_off:"),
    PageEntry("positions", mark("Attention and positions"), ":material/rotate_right:"),
    PageEntry("context", mark("Attention and positions"), ":material/expand:"),
    PageEntry("optimizers", mark("Training"), ":material/route:"),
    PageEntry("lora", mark("Training"), ":material/tune:"),
    PageEntry("preference", mark("Training"), ":material/thumbs_up_down:"),
    PageEntry("policy", mark("Training"), ":material/groups:"),
    PageEntry("quantization", mark("Quantization"), ":material/compress:"),
    PageEntry("moe", mark("Experts"), ":material/hub:"),
)


@cache
def lesson(name: str, language: str) -> Lesson:
    """The lesson of a page in one language."""
    return read_lesson(ASSETS / "lessons" / language / f"{name}.md")
