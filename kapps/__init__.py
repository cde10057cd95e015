"""kapps: the deep-learning canon as readable Keras 3 code, proven, trained, explained, shown and served.

Each public name below is loaded on first use, so `import kapps` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that holds it
_PUBLIC = {
    "list_models": "kapps.catalog",
    "info": "kapps.catalog",
    "create_model": "kapps.create",
    "create_backbone": "kapps.create",
    "features": "kapps.create",
    "list_learners": "kapps.catalog",
    "create_learner": "kapps.create",
    "list_detectors": "kapps.catalog",
    "create_detector": "kapps.tasks.detection.create",
    "train": "kapps.tasks.train",
    "evaluate": "kapps.tasks.evaluate",
    "export": "kapps.exporting.saved_model",
    "explain": "kapps.explaining.explain",
    "load": "kapps.predict",
    "transfer": "kapps.tasks.transfer.transfer",
}

if TYPE_CHECKING:
    from kapps.catalog import info, list_detectors, list_learners, list_models
    from kapps.create import create_backbone, create_learner, create_model, features
    from kapps.explaining.explain import explain
    from kapps.exporting.saved_model import export
    from kapps.predict import load
    from kapps.tasks.detection.create import create_detector
    from kapps.tasks.evaluate import evaluate
    from kapps.tasks.train import train
    from kapps.tasks.transfer.transfer import transfer

__all__ = [
    "create_backbone",
    "create_detector",
    "create_learner",
    "create_model",
    "evaluate",
    "explain",
    "export",
    "features",
    "info",
    "list_detectors",
    "list_learners",
    "list_models",
    "load",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kapps' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
