"""The machine, and its other activity while figures are measured."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import psutil

from benchmarks.records import Load, Machine
from poolproof.harness.bench.machine import Times, processor
from poolproof.harness.run.lock import measuring

REST_S = 0.25
PACKAGES = ("msgspec", "pebble", "loky")


class Watch:
    """The result of `quietly_timed`, filled in when the block ends."""

    load: Load | None = None
    seconds: float = 0.0


@contextmanager
def quietly_timed() -> Iterator[Watch]:
    """Hold the measuring lock; measure the load of other programs before and after, and the steal meanwhile."""
    watch = Watch()
    with measuring():
        loadavg = os.getloadavg()[0]
        busy_before = busy_share(REST_S)
        before, began = Times(), time.monotonic()
        yield watch
        watch.seconds = time.monotonic() - began
        after = Times()
        watch.load = Load(
            loadavg_1m=loadavg,
            busy_before=busy_before,
            busy_after=busy_share(REST_S),
            steal=(after.steal - before.steal) / max(after.total - before.total, 1),
        )


def busy_share(rest_s: float) -> float:
    """The share of processor time that was used while this program rested for `rest_s` seconds."""
    before = Times()
    time.sleep(rest_s)
    after = Times()
    total = after.total - before.total
    return 1 - (after.idle - before.idle) / total if total else 0.0


def describe() -> Machine:
    """The machine's properties, without any name that identifies it."""
    return Machine(
        processor=processor(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: found for name in PACKAGES if (found := _version(name))},
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
