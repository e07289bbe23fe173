"""The measuring lock: nothing is timed on this machine while another timing of the same user runs.

Every xdist worker and every other run respects it; its holder's end releases it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from bridge.rundir import pools_dir


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Hold the lock, waiting for whoever has it."""
    fd = os.open(pools_dir().parent / "measuring.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
