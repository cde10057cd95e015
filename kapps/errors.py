"""The exceptions of kapps. Each message is one line: what was expected, what came, what to do.

KappsError                       everything below; the command line prints its line and exits with 2
├── UnknownNameError             a model, recipe, data set, feature or option that does not exist  (LookupError)
├── RecipeError                  a recipe or a config that cannot be run as written                (ValueError)
├── DataError                    a data set, folder or array that cannot be read as it is          (ValueError)
│   └── ImageError               one image that cannot be read rightly
├── WeightsError                 weights that do not fit the model                                 (ValueError)
├── SavedModelError              an exported model with missing, damaged or foreign parts          (ValueError)
├── TrainingError                a run that ended early (NaN loss, ...); good weights are kept     (RuntimeError)
├── OutputError                  a folder or file that cannot be written                           (OSError)
└── MissingExtraError            an optional dependency that is not installed; names the extra     (ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class KappsError(Exception):
    """Base of all errors that kapps raises on purpose."""


class UnknownNameError(KappsError, LookupError):
    """A name that is not known, answered with the nearest right ones.

    Args:
        kind: what the name should have been, e.g. `"model"`.
        name: what came.
        known: all right names.
        hint: what to do when nothing is near, e.g. ``"see `kapps list`"``.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = ""):
        self.kind, self.name, self.known = kind, name, tuple(known)
        self.nearest = nearest(name, self.known)
        if self.nearest:
            advice = "did you mean " + " or ".join(repr(near) for near in self.nearest) + "?"
        elif hint:
            advice = hint
        else:
            advice = "known: " + ", ".join(self.known)
        super().__init__(f"no {kind} is named {name!r}: {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.name, self.known)


class RecipeError(KappsError, ValueError):
    """A recipe or a config that cannot be run as written."""


class DataError(KappsError, ValueError):
    """A data set, folder or array that cannot be read as it is."""


class ImageError(DataError):
    """One image that cannot be read rightly."""


class WeightsError(KappsError, ValueError):
    """Weights that do not fit the model."""


class SavedModelError(KappsError, ValueError):
    """An exported model with missing, damaged or foreign parts."""


class TrainingError(KappsError, RuntimeError):
    """A run that ended early; what was good until then is kept."""


class OutputError(KappsError, OSError):
    """A folder or file that cannot be written."""


class MissingExtraError(KappsError, ImportError):
    """An optional dependency that is not installed.

    Args:
        package: the module that could not be imported.
        extra: the extra of kapps that installs it.
    """

    def __init__(self, package: str, extra: str):
        self.package, self.extra = package, extra
        super().__init__(f"{package} is needed for this and is not installed: pip install 'kapps[{extra}]'")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.package, self.extra)


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names in `known` that look most like `name`, best first, at most `most` of them."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.6)]
