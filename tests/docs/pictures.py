"""The pictures of docs/web.md: ``python -m tests.docs.pictures FOLDER`` makes them, in a real browser, of a board of
its own; into docs/images unless a folder is named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser import opened
from tests.docs.story import play
from tests.serving import served

ROOT = Path(__file__).parents[2]
# Each with the address, the size of the window, and whether it is light or dark. "{prices}": the id of that task.
PICTURES = (
    ("board", "", 1360, 720, "light"),
    ("board-dark", "", 1360, 720, "dark"),
    ("board-phone", "", 390, 720, "light"),
    ("task", "t/{prices}", 1160, 780, "light"),
    ("graph", "graph", 1360, 320, "light"),
    ("past", "?at=24", 1360, 560, "dark"),
    ("health", "health", 1160, 640, "dark"),
)


def main(folder: Path) -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        home.mkdir()
        ids = play(str(home))
        with served(str(home)) as address, opened(Path(scratch, "browser")) as page:
            for name, there, width, height, scheme in PICTURES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.set_viewport_size({"width": width, "height": height})
                page.goto(f"{address}b/default/{there.format(**ids)}")
                page.wait_for_selector(".live.is-on", state="attached")
                page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
