"""Drivers for tests, by their command lines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTED = Path(__file__).with_name("scripted_driver.py")
Scripted = Callable[..., str]


@pytest.fixture
def scripted() -> Scripted:
    """Return the command of the scripted driver that does these things wrong."""
    return lambda *words: shlex.join([sys.executable, "-I", str(SCRIPTED), *words])
