"""A worker's own journal: which request it worked on and when, with one JSON line at each begin and each end.

The pool under test does not write it, so it can contradict the pool. `poolproof.bridge.worker.intervals` reads it.
"""

from __future__ import annotations

import os

import msgspec

from poolproof.bridge.clock import now_ns

JOURNAL_VARIABLE = "POOLPROOF_JOURNAL_DIR"


class Entry(msgspec.Struct, frozen=True):
    """One line: the begin of a request if `end_ns` is None, otherwise its end."""

    request_id: int
    command: str
    nonce: str | int | None
    start_ns: int
    end_ns: int | None = None
    ok: bool | None = None


class Journal:
    """Appends to `<directory>/<pid>-<worker_id>.jsonl`; does nothing without a directory.

    `who` stands for the pid in the file's name, where the workers are threads of one process.
    """

    def __init__(self, worker_id: int, directory: str | None, *, who: int | None = None) -> None:
        self._fd = -1
        self._owner_pid = os.getpid()
        if directory:
            path = os.path.join(directory, f"{os.getpid() if who is None else who}-{worker_id}.jsonl")
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def begin(self, request_id: int, command: str, nonce: object) -> Entry | None:
        """Record the begin of a request. Returns the entry for `end`."""
        if self._fd < 0:
            return None
        known = nonce if isinstance(nonce, str | int) and not isinstance(nonce, bool) else None
        entry = Entry(request_id, command, known, now_ns())
        self._write(entry)
        return entry

    def end(self, entry: Entry | None, *, ok: bool) -> None:
        """Record the end of a request, with success or not. A child forked by the handler records nothing."""
        if entry is not None and self._fd >= 0 and os.getpid() == self._owner_pid:
            self._write(msgspec.structs.replace(entry, end_ns=now_ns(), ok=ok))

    def close(self) -> None:
        """Close the file; later entries are not recorded. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write(self, entry: Entry) -> None:
        os.write(self._fd, msgspec.json.encode(entry) + b"\n")
