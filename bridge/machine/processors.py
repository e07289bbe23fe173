"""How many processors this process can use, and which."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Collection
from pathlib import Path

from poolproof.bridge.errors import ConfigError
from poolproof.bridge.machine.cgroups import ROOT, cpu_quota


def usable_processors(root: Path = ROOT) -> int:
    """Return how many processors this process may run on, at least 1: its affinity and its control groups' quota.

    A quota that is no whole number is rounded up.
    """
    quota = cpu_quota(root)
    allowed = len(os.sched_getaffinity(0))
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def usable_cpus(wanted: Collection[int] | None) -> frozenset[int]:
    """Return the processors that workers shall run on; empty for all. Raises ConfigError if one is not usable.

    Tried in a separate thread, whose affinity ends with it: the kernel and a cpuset decide what is usable.
    """
    if wanted is None:
        return frozenset()
    granted: set[int] = set()

    def try_them() -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, wanted)
            granted.update(os.sched_getaffinity(0))

    thread = threading.Thread(target=try_them, name="worker-cpus")
    thread.start()
    thread.join()
    missing = sorted({*wanted} - granted)
    if missing:
        raise ConfigError(
            f"worker_cpus {wanted!r}: this process may not run on the processors {', '.join(map(str, missing))}"
        )
    return frozenset(wanted)
