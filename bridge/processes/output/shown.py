"""Shows what workers write to stderr: forwards it to this process's stderr, or logs it line by line.

A thread of its own does that, so that a blocked terminal or a slow log handler delays no worker and no call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from queue import SimpleQueue

from poolproof.bridge.safe_text import one_line

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""How much unshown output may wait; if more comes, it is dropped, and a line says so."""
END_TIMEOUT_S = 5.0
"""How long `close` waits for output that cannot be shown, because nobody reads it, in seconds."""
MOST_LINE_BYTES = 8 * 1024
"""A longer line is logged in parts of this size."""
STDERR_FD = 2
logger = logging.getLogger("poolproof.workers")


class Output:
    """The unshown output of one pool's workers."""

    def __init__(self, pool: str, *, log: bool) -> None:
        """With `log`, each line becomes a log record; otherwise the bytes are forwarded as they are."""
        self._pool = pool
        self._log = log
        self._waiting: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._waiting_bytes = 0
        self._dropped_bytes = 0
        self._lines: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"{pool}-output", daemon=True)
        self._thread.start()

    def show(self, worker: str, data: bytes) -> None:
        """Show these bytes soon; empty bytes are the end of this worker's output. May be called from any thread."""
        with self._lock:
            if self._waiting_bytes + len(data) > MOST_WAITING_BYTES:
                self._dropped_bytes += len(data)
                return
            self._waiting_bytes += len(data)
        self._waiting.put((worker, data))

    def close(self) -> None:
        """Show what is left, and end. Idempotent."""
        self._waiting.put(None)
        self._thread.join(END_TIMEOUT_S)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            worker, data = item
            with self._lock:
                self._waiting_bytes -= len(data)
                dropped, self._dropped_bytes = self._dropped_bytes, 0
            if dropped:
                logger.warning("pool %s: %d bytes of its workers' output were dropped", self._pool, dropped)
            if not self._log:
                _write(data)
                continue
            try:
                self._log_lines(worker, data)
            except Exception:  # a filter of the application
                logger.exception("pool %s: a line of %s could not be logged", self._pool, worker)
        for worker in list(self._lines):
            self._log_lines(worker, b"")

    def _log_lines(self, worker: str, data: bytes) -> None:
        *lines, rest = (self._lines.pop(worker, b"") + data).split(b"\n")
        if rest and (not data or len(rest) >= MOST_LINE_BYTES):
            lines.append(rest)
        elif rest:
            self._lines[worker] = rest
        for line in lines:
            for begin in range(0, max(len(line), 1), MOST_LINE_BYTES):
                text = line[begin : begin + MOST_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
                logger.info("%s: %s", worker, one_line(text), extra={"pool": self._pool, "worker": worker})


def _write(data: bytes) -> None:
    left = memoryview(data)
    with contextlib.suppress(OSError):  # nobody reads it
        while left:
            try:
                left = left[os.write(STDERR_FD, left) :]
            except BlockingIOError:  # somebody has set the terminal's non-blocking mode
                select.select([], [STDERR_FD], [])
