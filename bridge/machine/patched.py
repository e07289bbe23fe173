"""Finds out whether a library of green threads has replaced what pools need of the standard library."""

from __future__ import annotations

import _thread
import os
import select
import sys
from types import BuiltinFunctionType

from poolproof.bridge.errors import ConfigError

LIBRARIES = ("gevent", "eventlet")


def require_real_threads() -> None:
    """Raise ConfigError if `threading` starts green threads, or if `select` or `os` are not the originals.

    A pool's threads wait in the kernel. As green threads they would stop the whole program at their first wait.
    """
    replaced = []
    if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
        replaced.append("threading")
    if not hasattr(select, "epoll"):
        replaced.append("select")
    if not isinstance(os.posix_spawnp, BuiltinFunctionType):
        replaced.append("os")
    if replaced:
        library = next((name for name in LIBRARIES if name in sys.modules), "a library")
        raise ConfigError(
            f"{library} has replaced {', '.join(replaced)} of the standard library by its own (monkey patching), and a "
            "pool needs the originals: leave them as they are, as gevent.monkey.patch_all(thread=False, select=False, "
            "os=False, signal=False) and eventlet.monkey_patch(thread=False, select=False) do, or use the pool in "
            "another process"
        )
