"""What the gallery's tests share: the pages without a browser, and one server with one browser for the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

REPO = Path(__file__).resolve().parents[2]
# `apps` is no installed package, and the helper module lies beside this file.
sys.path[:0] = [folder for folder in (str(REPO), str(Path(__file__).parent)) if folder not in sys.path]

import gallery_browser  # noqa: E402


@pytest.fixture(scope="package", autouse=True)
def _keras_afterwards() -> Iterator[None]:
    """The gallery switches off `keras.backend.clear_session`; the tests of other folders get it back."""
    import keras

    clear_session = keras.backend.clear_session
    yield
    keras.backend.clear_session = clear_session


@pytest.fixture
def page() -> Callable[..., AppTest]:
    """Opens a page of the gallery: `page("views/scenes.py", key=value, ...)`, with values for the session."""

    def open_page(view: str, query: dict[str, str] | None = None, **state: object) -> AppTest:
        app = AppTest.from_file(str(gallery_browser.APP), default_timeout=120)
        for key, value in state.items():
            app.session_state[key] = value
        for key, value in (query or {}).items():
            app.query_params[key] = value
        if view != "views/read_a_digit.py":
            app.run()  # the router has to know its pages before one can be chosen
            app.switch_page(view)
        return app.run()

    return open_page


@pytest.fixture(scope="session")
def gallery_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running gallery, as `kapps demo` starts it."""
    with gallery_browser.gallery(tmp_path_factory.mktemp("gallery") / "server.log") as url:
        yield url


@pytest.fixture(scope="module")
def visitor(gallery_url: str) -> Iterator[gallery_browser.Visitor]:
    """A person with a mouse before a 1280x900 window."""
    with gallery_browser.visitor(gallery_url) as someone:
        yield someone
