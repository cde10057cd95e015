"""The gallery in the place where a wheel puts it, how light it is to open, and that a visitor's text stays text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from apps import layout
from kapps import paths

# Opens a page in a process of its own and reports what it loaded. The page is chosen before the first run, which would
# otherwise open the landing page.
OPEN = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=120).switch_page(sys.argv[2]).run()
print(json.dumps({
    "title": [title.value for title in app.title],
    "errors": [error.message for error in app.exception],
    "apps": sys.modules["apps"].__path__[0],
    "heavy": sorted({"tensorflow", "keras", "sklearn", "matplotlib"} & set(sys.modules)),
}))
"""


def open_page(app: Path, view: str, cwd: Path) -> dict[str, object]:
    """What a fresh Python says of a page."""
    found = subprocess.run(
        [sys.executable, "-c", OPEN, str(app), view],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.parametrize(("view", "title"), [("views/catalogue.py", "Catalogue"), ("views/results.py", "Results")])
def test_a_page_without_a_network_loads_nothing_heavy(view: str, title: str, tmp_path: Path) -> None:
    app = paths.gallery_dir() / "streamlit_app.py"
    assert open_page(app, view, tmp_path) == {"title": [title], "errors": [], "apps": str(app.parent), "heavy": []}


def test_the_gallery_runs_where_a_wheel_puts_it(tmp_path: Path) -> None:
    """The copy is run, not the checkout's `apps`, although that can be imported too."""
    installed = tmp_path / "kapps/_gallery/apps"
    shutil.copytree(paths.gallery_dir(), installed, ignore=shutil.ignore_patterns("__pycache__"))
    report = open_page(installed / "streamlit_app.py", "views/catalogue.py", tmp_path)
    assert (report["title"], report["errors"], report["apps"]) == (["Catalogue"], [], str(installed))


def test_the_theme_lies_beside_the_main_script_and_has_a_light_and_a_dark_side() -> None:
    settings = tomllib.loads((paths.gallery_dir() / ".streamlit/config.toml").read_text(encoding="utf-8"))
    assert settings["theme"]["light"].keys() == settings["theme"]["dark"].keys()
    assert settings["server"]["port"] == 8600
    assert settings["server"]["address"] == "localhost"
    assert settings["browser"]["gatherUsageStats"] is False


def contrast(first: str, second: str) -> float:
    """The contrast of two colours `#rrggbb` by WCAG 2.2: 1 to 21."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("side", ["light", "dark"])
def test_words_and_shapes_stand_out_from_their_ground(side: str) -> None:
    theme = tomllib.loads((paths.gallery_dir() / ".streamlit/config.toml").read_text(encoding="utf-8"))["theme"][side]
    for ground in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(theme["textColor"], theme[ground]) >= 7
        assert contrast(theme["linkColor"], theme[ground]) >= 4.5
    for colour in ("blueColor", "orangeColor", "primaryColor"):
        assert contrast(theme[colour], theme["backgroundColor"]) >= 3


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("seven.png", r"seven\.png"),
        ("![x](http://a)", r"\!\[x\]\(http\://a\)"),
        ("a_b*c", r"a\_b\*c"),
        ("$x$ `y` <b>", r"\$x\$ \`y\` \<b\>"),
    ],
)
def test_text_of_a_visitor_is_no_markup(text: str, markdown: str) -> None:
    assert layout.plain(text) == markdown
