"""The pictures of the gallery, made anew:

    python tests/apps/screenshots.py             docs/images/gallery.png, the picture in the README
    python tests/apps/screenshots.py FOLDER      every page in FOLDER: light, dark, and on a phone

It needs chromium and chromedriver, and shows what a visitor sees: the real server, the shipped model, a drawn digit.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gallery_browser import REPO, STROKES, Visitor, gallery, visitor
from PIL import Image

README_PICTURE = REPO / "docs" / "images" / "gallery.png"
LARGEST = 300_000  # bytes


def read_a_digit(someone: Visitor) -> None:
    """The landing page with an answer; the second drawing, so that the times are not those of a first call."""
    someone.go()
    for _ in range(2):
        someone.draw(STROKES["4"])
        someone.answer("4")
        someone.find("figcaption", "Saliency")
        someone.press("clear")
    someone.draw(STROKES["4"])
    someone.answer("4")
    someone.find("figcaption", "F6")


def look_at_a_photo(someone: Visitor) -> None:
    """An example with all that is drawn of it."""
    someone.go("photo")
    someone.choose("Example")
    someone.find("figcaption", "stage3")


def teach_it_yours(someone: Visitor) -> None:
    """An example, ready to be taught."""
    someone.go("teach")
    someone.choose("Example")
    someone.find(".k-thumbs")


def why(someone: Visitor) -> None:
    """The methods side by side on an example."""
    someone.go("why")
    someone.find("figcaption", "Occlusion")


def perceptron(someone: Visitor) -> None:
    """A line that parts two clouds."""
    someone.go("perceptron")
    someone.choose("Blobs")
    someone.find('[data-testid="stAlert"]', "It ends")


def two_layers(someone: Visitor) -> None:
    """XOR, solved."""
    someone.go("perceptron")
    someone.choose("XOR")
    someone.choose("Two layers")
    someone.find('[data-testid="stAlert"]', "All 4")


def page(path: str) -> Callable[[Visitor], None]:
    """A page as it opens."""
    return lambda someone: someone.go(path)


SCENES: dict[str, Callable[[Visitor], None]] = {
    "read_a_digit": read_a_digit,
    "look_at_a_photo": look_at_a_photo,
    "teach_it_yours": teach_it_yours,
    "why": why,
    "perceptron": perceptron,
    "two_layers": two_layers,
    "scenes": page("scenes"),
    "catalogue": page("catalogue?model=lenet5"),
    "results": page("results"),
}


def shoot(someone: Visitor, file: Path) -> None:
    """Write the whole page as a PNG."""
    time.sleep(1.5)  # the last movement ends
    someone.scroll_to_top()
    height = someone.driver.execute_script("return document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
    someone.resize(height=max(someone.height, min(height, 4000)))
    time.sleep(1)
    picture = Image.open(io.BytesIO(someone.driver.get_screenshot_as_png())).convert("RGB")
    picture.save(file, optimize=True)
    print(f"{file}: {picture.width}x{picture.height}, {file.stat().st_size:,} bytes")


def main(folder: Path | None) -> int:
    """Take the pictures; returns the exit code."""
    with tempfile.TemporaryDirectory() as logs, gallery(Path(logs) / "server.log") as url:
        if folder is None:
            with visitor(url, 1280, 900) as someone:
                read_a_digit(someone)
                shoot(someone, README_PICTURE)
            return int(README_PICTURE.stat().st_size > LARGEST)
        folder.mkdir(parents=True, exist_ok=True)
        for look, settings in {
            "light": {"width": 1280, "height": 900},
            "dark": {"width": 1280, "height": 900, "dark": True},
            "phone": {"width": 390, "height": 844},
        }.items():
            with visitor(url, **settings) as someone:
                for name, show in SCENES.items():
                    show(someone)
                    shoot(someone, folder / f"{name}_{look}.png")
                    someone.resize(height=settings["height"])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
