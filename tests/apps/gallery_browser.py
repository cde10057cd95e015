"""A hand that draws digits, and the gallery in a real browser for it: server and headless Chromium.

For the tests and for `screenshots.py`.
"""

from __future__ import annotations

import base64
import io
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

REPO = Path(__file__).resolve().parents[2]
APP = REPO / "apps" / "streamlit_app.py"
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A fake camera, so that the camera page asks nobody for leave.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)

# Strokes as a hand makes them: corners in percent of the sheet's width and height.
STROKES: dict[str, list[list[tuple[int, int]]]] = {
    "0": [[(52, 20), (36, 28), (29, 50), (36, 73), (50, 80), (64, 72), (70, 50), (64, 28), (52, 20)]],
    "1": [[(52, 18), (50, 40), (49, 60), (48, 82)]],
    "3": [[(34, 25), (48, 18), (63, 25), (62, 38), (48, 47), (65, 55), (67, 70), (52, 82), (33, 75)]],
    "4": [[(42, 18), (38, 32), (32, 50), (50, 52), (68, 50)], [(62, 20), (60, 50), (58, 82)]],
    "7": [[(28, 22), (50, 22), (72, 21), (62, 40), (52, 60), (44, 82)]],
}


def draw_digit(digit: str, size: int = 280, paper: int = 255, ink: int = 0) -> bytes:
    """A digit as the canvas would send it: a PNG, black strokes on white."""
    image = Image.new("L", (size, size), paper)
    pen = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        corners = [(x * size / 100, y * size / 100) for x, y in stroke]
        pen.line(corners, fill=ink, width=round(size * 0.065), joint="curve")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def as_drawing(png: bytes) -> dict[str, object]:
    """What the session keeps of a drawing."""
    return {"png": "data:image/png;base64," + base64.b64encode(png).decode(), "strokes": []}


@contextmanager
def gallery(log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The gallery's server on a free port, as `streamlit run` starts it; gives its address and ends it at the end."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", str(APP), f"--server.port={port}", "--server.headless=true"]
    with log.open("w") as output:
        # From another folder: neither the theme nor an import may depend on where the server is started.
        server = subprocess.Popen(
            words, stdout=output, stderr=output, cwd=log.parent, env={**os.environ, **(environment or {})}
        )
        try:
            url = f"http://localhost:{port}"
            for _ in range(300):
                if server.poll() is not None:
                    raise RuntimeError(f"the gallery ended at its start:\n{log.read_text()}")
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise RuntimeError(f"the gallery did not start within 30 s:\n{log.read_text()}")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


class Visitor:
    """One person in front of one browser window."""

    def __init__(self, driver: webdriver.Chrome, url: str, width: int, height: int):
        self.driver, self.url = driver, url
        self.resize(width, height)

    def go(self, path: str = "") -> None:
        """Open a page of the gallery and wait until it has come to rest."""
        self.driver.get(f"{self.url}/{path}")
        self.rest()

    def resize(self, width: int | None = None, height: int | None = None) -> None:
        """Make the window another size; below 600 pixels it is that of a phone."""
        self.width, self.height = width or getattr(self, "width", 0), height or getattr(self, "height", 0)
        metrics = {"width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": self.width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def find(self, css: str, text: str = "", seconds: float = 120) -> WebElement:
        """The first visible element that has the text in it, as soon as there is one."""
        return self._look(css, text, seconds)[0]

    def read(self, css: str, text: str = "", seconds: float = 120) -> str:
        """All the text of that element; the page may draw itself anew in the next moment."""
        return self._look(css, text, seconds)[1]

    def _look(self, css: str, text: str, seconds: float) -> tuple[WebElement, str]:
        def look(driver: webdriver.Chrome) -> tuple[WebElement, str] | None:
            try:
                seen = [(one, one.text) for one in driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()]
            except StaleElementReferenceException:
                return None
            return next(((one, words) for one, words in seen if text in words), None)

        try:
            return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(look)
        except TimeoutException:
            page = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"no {css} with {text!r} within {seconds} s on this page:\n{page}") from None

    def rest(self, seconds: float = 240) -> None:
        """Wait until the page's script has run to its end."""

        def resting(driver: webdriver.Chrome) -> bool:
            try:
                app = driver.find_element(By.CSS_SELECTOR, '[data-testid="stApp"]')
                return app.get_attribute("data-test-script-state") == "notRunning" and not driver.find_elements(
                    By.CSS_SELECTOR, '[data-testid="stSpinner"]'
                )
            except (NoSuchElementException, StaleElementReferenceException):
                return False

        WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(resting)

    def until(self, true: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until something is true."""
        WebDriverWait(self.driver, seconds, 0.05, [StaleElementReferenceException]).until(lambda driver: true())

    def choose(self, option: str) -> None:
        """Press the option of a segmented control."""
        self.find('button[role="radio"]', option).click()
        time.sleep(0.3)  # the click is on its way to the server
        self.rest()

    def sheet(self) -> WebElement:
        """The drawing area."""
        return self.inside(".board")

    def inside(self, css: str) -> WebElement:
        """An element inside one of our components, which live in shadow roots of their own."""
        look = """for (const host of document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')) {
                    const found = host.shadowRoot && host.shadowRoot.querySelector(arguments[0]);
                    if (found) return found;
                  }"""
        return WebDriverWait(self.driver, 30).until(lambda driver: driver.execute_script(look, css))

    def click_at(self, css: str, x: float, y: float) -> None:
        """Click into an element of one of our components, at shares of its width and height."""
        element = self.inside(css)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", element)
        offset = round((x - 0.5) * element.size["width"]), round((y - 0.5) * element.size["height"])
        ActionChains(self.driver).move_to_element_with_offset(element, *offset).click().perform()

    def press(self, tool: str) -> None:
        """Press a button below the drawing area, e.g. `"undo"`."""
        sheet = self.sheet()
        self.driver.execute_script("arguments[0].getRootNode().querySelector('.' + arguments[1]).click()", sheet, tool)
        self.rest()

    def draw(self, strokes: Sequence[Sequence[tuple[int, int]]], pointer: str = "mouse") -> None:
        """Draw with a `"mouse"` or by `"touch"`: press at a stroke's first corner, move through the others, let go."""
        sheet = self.sheet()
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", sheet)
        size = sheet.size
        for stroke in strokes:
            actions = ActionBuilder(self.driver, mouse=PointerInput(pointer, pointer), duration=12)
            for index, (x, y) in enumerate(_dense(stroke)):
                offset = round((x / 100 - 0.5) * size["width"]), round((y / 100 - 0.5) * size["height"])
                actions.pointer_action.move_to(sheet, *offset)
                if index == 0:
                    actions.pointer_action.pointer_down()
            actions.pointer_action.pointer_up()
            actions.perform()
        self.rest()

    def answer(self, label: str, seconds: float = 120) -> str:
        """The large answer on the page, as soon as it is `label`."""
        return self.read(".k-label", label, seconds)

    def scroll_to_top(self) -> None:
        """Back to the head of the page, with the pointer out of the way."""
        self.driver.execute_script("document.querySelector('[data-testid=\"stMain\"]').scrollTo(0, 0)")
        ActionChains(self.driver).move_by_offset(0, 0).perform()


def _dense(stroke: Sequence[tuple[int, int]], steps: int = 4) -> list[tuple[float, float]]:
    """The stroke with points between its corners: a mouse reports many."""
    points: list[tuple[float, float]] = [stroke[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(stroke):
        points += [(x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps) for step in range(1, steps + 1)]
    return points


@contextmanager
def visitor(url: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> Iterator[Visitor]:
    """A fresh headless Chromium that looks at the gallery at `url`."""
    assert CHROMIUM, "needs chromium and chromedriver"
    with tempfile.TemporaryDirectory(prefix="kapps-chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            yield Visitor(driver, url, width, height)
        finally:
            driver.quit()
