"""The record of a pool's workers in its run directory: one line per step, so a crash of the owner loses nothing.

A line is "+<pid> <start>" for a started worker, "-<pid>" for a reaped one. The start is in clock ticks since boot.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading

from poolproof.bridge.machine.procfs import is_alive, pid_space, start_ticks
from poolproof.bridge.processes.rundir.manifest import open_new, read_manifest
from poolproof.bridge.regular_file import read_regular, write_all

LARGEST_RECORD_BYTES = 1024 * 1024
COMPACTED_LINES = 256
"""The record is rewritten when it has this many lines, and at least two lines for each worker."""
STARTED = re.compile(rb"\+([1-9]\d{0,6}) (\d{1,19})")
REAPED = re.compile(rb"-([1-9]\d{0,6})")


class WorkerRecord:
    """The file `workers` of the directory `dir_fd`, written by the owner. Raises OSError without it."""

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._fd = open_new(dir_fd, "workers")
        self._lock = threading.Lock()
        self._workers: dict[int, int] = {}
        self._lines = 0

    def add(self, pid: int) -> None:
        """Record a worker that was started."""
        ticks = start_ticks(pid) or 0
        with self._lock:
            self._workers[pid] = ticks
            self._append(f"+{pid} {ticks}\n")

    def remove(self, pid: int) -> None:
        """Record that a worker was reaped."""
        with self._lock:
            self._workers.pop(pid, None)
            self._append(f"-{pid}\n")

    def close(self) -> None:
        """Close the file; later starts and ends of workers are not recorded. Idempotent."""
        with self._lock:
            self._close()

    def close_in_child(self) -> None:
        """Close a forked child's copy; the thread that held the lock is in the parent."""
        self._lock = threading.Lock()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, line: str) -> None:
        # A full disk must not cost a worker: then `reap_orphans` knows less, but the lifeline still works.
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            os.write(self._fd, line.encode())
            self._lines += 1
            if self._lines >= max(COMPACTED_LINES, 2 * len(self._workers)):
                self._compact()

    def _compact(self) -> None:
        self._lines = len(self._workers)  # after a failure, not at once again
        fd = open_new(self._dir_fd, ".workers")
        try:
            data = "".join(f"+{pid} {ticks}\n" for pid, ticks in self._workers.items()).encode()
            write_all(fd, data)
            os.replace(".workers", "workers", src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd


def living_workers(dir_fd: int) -> list[tuple[int, int]]:
    """Return the recorded workers that live, as (pid, start in clock ticks)."""
    # A damaged record must not lead to a signal to init, to this process or to its parent. Without a manifest nobody
    # knows where the recorded pids are valid.
    manifest = read_manifest(dir_fd)
    if manifest is None or manifest.pid_space != pid_space():
        return []
    try:
        lines = read_regular("workers", LARGEST_RECORD_BYTES, dir_fd=dir_fd).split(b"\n")
    except OSError:
        return []
    found: dict[int, int] = {}
    for line in lines:
        if started := STARTED.fullmatch(line):
            found[int(started[1])] = int(started[2])
        elif reaped := REAPED.fullmatch(line):
            found.pop(int(reaped[1]), None)  # any other line was truncated by a full disk
    spared = {1, os.getpid(), os.getppid(), os.getpgrp()}
    return [(pid, ticks) for pid, ticks in found.items() if pid not in spared and is_alive(pid, ticks)]
