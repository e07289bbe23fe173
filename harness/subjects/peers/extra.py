"""Imports peers, which are optional dependencies of poolproof."""

from __future__ import annotations

import importlib
from types import ModuleType

from poolproof.harness.model.errors import UsageError


def require(module: str) -> ModuleType:
    """Import a peer. Raises UsageError, which names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{module} is not installed; `pip install 'poolproof[peers]'` installs it ({error})"
        ) from error
