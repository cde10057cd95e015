"""Where the gallery and the shipped models lie, in a checkout and in an installed wheel.

    checkout:  <repo>/apps/streamlit_app.py            <repo>/saved_models/<name>/
    wheel:     kapps/_gallery/apps/streamlit_app.py    kapps/_gallery/saved_models/<name>/

Standard library only. The wheel's place is asked first: beside an installed `kapps` may lie a foreign folder `apps`.
"""

from __future__ import annotations

from pathlib import Path

from kapps.errors import KappsError

PACKAGE = Path(__file__).resolve().parent


def checkout_dir() -> Path | None:
    """The root of the repository that this package is run from; None when it runs from an installed wheel."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "apps").is_dir() else None


def gallery_dir() -> Path:
    """The folder that holds `streamlit_app.py`.

    Raises:
        KappsError: this installation has no gallery.
    """
    return _shipped("apps", "streamlit_app.py")


def saved_models_dir() -> Path:
    """The folder of the shipped models, `<name>/<version>/` each.

    Raises:
        KappsError: this installation has no shipped models.
    """
    return _shipped("saved_models", "")


def _shipped(folder: str, inside: str) -> Path:
    candidates = [PACKAGE / "_gallery" / folder]
    if (root := checkout_dir()) is not None:
        candidates.append(root / folder)
    for candidate in candidates:
        if (candidate / inside).exists():
            return candidate
    raise KappsError(
        f"expected {Path(folder, inside)} in {PACKAGE / '_gallery'} or in a checkout, found it in neither: "
        "install kapps anew with pip, or run it from a clone"
    )
