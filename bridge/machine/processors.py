"""How many processors this process can use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from poolproof.bridge.machine.cgroups import ROOT, cpu_quota


def usable_processors(root: Path = ROOT) -> int:
    """Return how many processors this process may run on, at least 1: its affinity and its control groups' quota.

    A quota that is no whole number is rounded up.
    """
    quota = cpu_quota(root)
    allowed = len(os.sched_getaffinity(0))
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))
