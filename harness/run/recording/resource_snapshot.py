"""Counts the resources of a process: children, descriptors and threads; and finds what was not there before.

Reads /proc and judges nothing. Processes are found by their ancestry, so children of workers count too.
"""

from __future__ import annotations

import os
import threading
import time

import msgspec
import psutil

from poolproof.bridge.clock import now_ns
from poolproof.bridge.redaction import redact_command
from poolproof.harness.history.history import Leftovers, Sample

LOOK_EVERY_S = 0.02
SHOWN_CHARACTERS = 200
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ResourceSnapshot(msgspec.Struct, frozen=True):
    """The resources that this process holds: children, descriptors and threads."""

    processes: frozenset[int]
    descriptors: frozenset[str]
    threads: frozenset[int]


def take_census() -> ResourceSnapshot:
    """Count the resources now. A zombie counts: it is a process that nobody has reaped."""
    return ResourceSnapshot(
        frozenset(child.pid for child in psutil.Process().children(recursive=True)),
        frozenset(_descriptors()),
        frozenset(thread.ident or 0 for thread in threading.enumerate()),
    )


def leftovers_since(
    before: ResourceSnapshot, *, patience_s: float, extra_pids: frozenset[int] = frozenset()
) -> Leftovers:
    """Return the resources that are not in `before` and are still held after a grace period.

    Returns as soon as nothing is left, at the latest after `patience_s` seconds. `extra_pids` are processes that were
    seen during the run and may no longer be descendants of this process.
    """
    deadline = time.monotonic() + patience_s
    while True:
        now = take_census()
        strays = {pid for pid in extra_pids - now.processes - before.processes if _lives(pid)}
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        left = Leftovers(
            processes=tuple(sorted((now.processes - before.processes) | strays)),
            descriptors=tuple(sorted(now.descriptors - before.descriptors)),
            threads=tuple(sorted(names.get(ident, "?") for ident in now.threads - before.threads)),
        )
        if left == Leftovers():
            return left
        if time.monotonic() >= deadline:
            return msgspec.structs.replace(left, commands=tuple(map(_command_of, left.processes)))
        time.sleep(LOOK_EVERY_S)


def take_sample() -> Sample:
    """Measure what this process holds now; fast enough (0.1 ms) to be called while a run is measured."""
    children = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as listed:
                children += len(listed.read().split())
        except OSError:
            continue  # the thread has ended, or this kernel has no such file
    with open("/proc/self/statm") as statm:
        resident_pages = int(statm.read().split()[1])
    return Sample(
        at_ns=now_ns(),
        memory_bytes=resident_pages * PAGE_BYTES,
        descriptors=len(os.listdir("/proc/self/fd")) - 1,  # less the descriptor of this listing
        threads=threading.active_count(),
        children=children,
    )


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the descriptor of this listing
    return found


def _command_of(pid: int) -> str:
    try:
        return redact_command(" ".join(psutil.Process(pid).cmdline()))[:SHOWN_CHARACTERS]
    except (psutil.Error, OSError):
        return ""


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
