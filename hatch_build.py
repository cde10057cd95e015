"""Puts the gallery and the shipped models into the wheel, so that `pip install` alone is enough for `kapps demo`.

A hook and not a plain `force-include`: an editable install takes both from the checkout and must not copy them.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GalleryHook(BuildHookInterface):
    """Adds `apps` and `saved_models` under `kapps/_gallery` (see kapps/paths.py)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; `version` is `standard` or `editable`."""
        if version == "standard":
            for folder in ("apps", "saved_models"):
                build_data["force_include"][folder] = f"kapps/_gallery/{folder}"
