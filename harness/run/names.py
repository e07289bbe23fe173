"""Unique pool names: for concurrent runs, many xdist workers, and many pools in one process.

A name shows where it comes from: scenario, pool, test run, xdist worker, pid, counter.
"""

from __future__ import annotations

import itertools
import os
import re

_counter = itertools.count(1)
_LONGEST_PART = 24
_LONGEST_POOL = 40


def pool_name(scenario: str, pool: str) -> str:
    """Return a name that no other process and no earlier call has used."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    parts = [scenario[:_LONGEST_PART], pool[-_LONGEST_POOL:], run[:12], worker, str(os.getpid()), str(next(_counter))]
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(part for part in parts if part))
