"""Draw the pictures of all pages: ``python -m components.thumbnails``."""

from components.catalogue import PAGES
from components.thumbnails import drawing

for entry in PAGES:
    entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
    drawing(entry.name).save(entry.thumbnail, optimize=True)
    print(entry.thumbnail.name)
