"""The gallery as a visitor has it: a real Chromium, a mouse and a finger, the shipped model, the answer on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from gallery_browser import CHROMEDRIVER, CHROMIUM, STROKES, Visitor, draw_digit
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER),
    reason="needs the programs chromium and chromedriver (Debian: apt install chromium-driver)",
)


def upload(visitor: Visitor, file: Path) -> None:
    """Choose a file in the landing page's upload field."""
    visitor.choose("Upload")
    field = visitor.find('[data-testid="stFileUploader"]')
    field.find_element(By.CSS_SELECTOR, 'input[type="file"]').send_keys(str(file))


@pytest.mark.parametrize("digit", ["7", "1", "0", "3"])
def test_a_digit_drawn_with_the_mouse_is_read(visitor: Visitor, digit: str) -> None:
    visitor.go()
    visitor.find('[data-testid="stAlert"]', "Draw a digit")
    visitor.draw(STROKES[digit])
    assert visitor.answer(digit) == digit
    visitor.find("figcaption", "6 maps of 28 × 28")
    visitor.find("figcaption", "Integrated gradients")
    assert len(visitor.driver.find_elements(By.CSS_SELECTOR, ".k-bar")) == 10


def test_a_digit_drawn_with_a_finger_is_read(visitor: Visitor) -> None:
    visitor.go()
    visitor.draw(STROKES["7"], pointer="touch")
    assert visitor.answer("7") == "7"


def test_the_sheet_is_kept_taken_back_and_cleared(visitor: Visitor) -> None:
    def strokes() -> int:
        return len(visitor.sheet().find_elements(By.CSS_SELECTOR, "path"))

    visitor.go()
    visitor.draw([*STROKES["1"], *STROKES["7"]])
    visitor.find("a", "Catalogue").click()
    visitor.find("h1", "Catalogue")
    visitor.find("a", "Read a digit").click()
    visitor.find("h1", "Read a digit")
    assert strokes() == 2
    visitor.press("undo")
    assert visitor.answer("1") == "1"
    assert strokes() == 1
    visitor.press("clear")
    visitor.find('[data-testid="stAlert"]', "Draw a digit")
    assert strokes() == 0


def test_the_eraser_rubs_out(visitor: Visitor) -> None:
    """A 7 whose upper bar is rubbed out is a 1."""
    visitor.go()
    visitor.draw(STROKES["1"])
    visitor.draw([[(15, 82), (50, 82), (85, 82)]])
    visitor.press('tool[data-tool="eraser"]')
    for height in (78, 84):
        visitor.draw([[(15, height), (30, height), (42, height)], [(85, height), (70, height), (58, height)]])
    assert visitor.answer("1") == "1"


def test_an_uploaded_picture_is_read(visitor: Visitor, tmp_path: Path) -> None:
    (tmp_path / "three.png").write_bytes(draw_digit("3", 700, 210, 60))
    visitor.go()
    upload(visitor, tmp_path / "three.png")
    assert visitor.answer("3") == "3"


def test_a_text_file_renamed_png_gets_one_clear_line(visitor: Visitor, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("This is not a picture.\n")
    visitor.go()
    upload(visitor, tmp_path / "notes.png")
    line = visitor.read('[data-testid="stAlert"]', "notes.png")
    assert "\n" not in line
    assert not visitor.driver.find_elements(By.CSS_SELECTOR, '[data-testid="stException"], .k-label')


def test_the_perceptron_plays_its_corrections(visitor: Visitor) -> None:
    visitor.go("perceptron")
    visitor.choose("XOR")
    visitor.find('[data-testid="stAlert"]', "It never ends")
    last = visitor.inside(".slider").get_attribute("max")
    assert int(last) > 100
    visitor.inside(".play").click()
    visitor.until(lambda: visitor.inside(".count").text == f"3 of {last}")
    visitor.inside(".play").click()
    assert visitor.inside(".caption").text.startswith("Epoch 2: ")
    visitor.inside(".back").click()
    assert visitor.inside(".count").text in (f"{n} of {last}" for n in (2, 3))


def test_clicks_place_examples(visitor: Visitor) -> None:
    def examples(kind: str) -> int:
        return len(visitor.inside(".points").find_elements(By.CSS_SELECTOR, f".{kind}"))

    visitor.go("perceptron")
    visitor.choose("Your own")
    visitor.find('[data-testid="stAlert"]', "place examples")
    visitor.click_at(".plane.editable", 0.3, 0.6)
    visitor.click_at(".plane.editable", 0.2, 0.7)  # at once: a click does not wait for the server
    assert (examples("negative"), examples("positive")) == (2, 0)
    visitor.inside('.brush[data-positive="true"]').click()
    visitor.click_at(".plane.editable", 0.8, 0.2)
    visitor.find('[data-testid="stAlert"]', "It ends")
    assert (examples("negative"), examples("positive")) == (2, 1)
    visitor.inside(".undo").click()
    visitor.find('[data-testid="stAlert"]', "place examples")
    assert (examples("negative"), examples("positive")) == (2, 0)


@pytest.mark.parametrize("path", ["", "teach", "why", "perceptron", "scenes", "catalogue", "results"])
def test_a_page_asks_nothing_of_another_server_and_has_no_error(visitor: Visitor, path: str) -> None:
    visitor.driver.get_log("browser")  # empties it
    visitor.go(path)
    visitor.find("h1")
    addresses = visitor.driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    foreign = [address for address in addresses if not address.startswith((visitor.url, "data:", "blob:"))]
    assert addresses
    assert foreign == []
    severe = [entry["message"] for entry in visitor.driver.get_log("browser") if entry["level"] == "SEVERE"]
    # On a page that is opened by its address, Streamlit's own client first looks for its server below that address.
    assert [message for message in severe if f"{path}/_stcore/" not in message] == []
    assert not visitor.driver.find_elements(By.CSS_SELECTOR, '[data-testid="stException"]')


@pytest.mark.parametrize("path", ["", "teach", "why", "perceptron", "scenes", "catalogue", "results"])
def test_a_page_fits_on_a_phone(visitor: Visitor, path: str) -> None:
    visitor.resize(390, 844)
    try:
        visitor.go(path)
        visitor.find("h1")
        wide = visitor.driver.execute_script("return document.querySelector('[data-testid=\"stMain\"]').scrollWidth")
        assert wide <= 390
    finally:
        visitor.resize(1280, 900)
