"""Locks an open file for this process (flock), and waits for such a lock.

The kernel releases the lock when the last descriptor of the open file is closed, even by a crash.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

POLL_S = 0.02


def lock_file(fd: int, *, shared: bool = False, stop: Callable[[], bool] = lambda: True) -> bool:
    """Lock this open file, exclusively or `shared`; return whether it is locked.

    While another process holds the lock, try again every POLL_S seconds until `stop` returns true. By default this
    tries once. Raises OSError for a file system without locks.
    """
    how = fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    while True:
        try:
            fcntl.flock(fd, how)
        except BlockingIOError:
            if stop():
                return False
            time.sleep(POLL_S)
        else:
            return True


def unlock_file(fd: int) -> None:
    """Release the lock of this open file."""
    fcntl.flock(fd, fcntl.LOCK_UN)
