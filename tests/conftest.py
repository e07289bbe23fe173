"""What every test relies on: that the tests before it have left no process to this one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

TRACKERS = ("multiprocessing.resource_tracker", "loky.backend.resource_tracker")


@pytest.fixture(autouse=True, scope="module")
def no_trackers_left() -> Iterator[None]:
    """multiprocessing and loky keep a process each that notes semaphores, until the interpreter ends."""
    yield
    for name in TRACKERS:
        module = sys.modules.get(name)
        if module is not None:
            module._resource_tracker._stop()
