"""Follows the workers' journals while they are written: which request has begun on which worker, and which has ended.

A journal is the worker's own file, so this works with and without an observer of the pool. Faults and steps that wait
for "LABEL:sent" wait for the reports of this module.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol

import msgspec

from poolproof.bridge.worker.journal import Entry
from poolproof.harness.run.recording.worker_tracker import WorkerTracker

LOOK_EVERY_S = 0.002
MOST_BYTES = 1 << 16
"""How many bytes of one journal are read at a time."""

_decoder = msgspec.json.Decoder(Entry)


class Listener(Protocol):
    """Receives the begin and the end of requests, which it knows by their nonces."""

    def begun(self, nonce: str, *, pid: int, worker: int, at_ns: int) -> None:
        """The worker has begun this request."""
        ...

    def answered(self, nonce: str, at_ns: int) -> None:
        """The worker has ended this request."""
        ...


class JournalReader:
    """Reads new entries in the journals of `folder`, and reports them to `roll` and `listener`. Thread-safe.

    `start` makes a thread that reads every 2 ms until `stop`. A journal that cannot be opened now, for example without
    a free descriptor, is tried again at the next read.
    """

    def __init__(self, folder: Path, roll: WorkerTracker, listener: Listener) -> None:
        self._folder = folder
        self._roll = roll
        self._listener = listener
        self._lock = threading.Lock()
        self._open: dict[str, _Journal] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="journals", daemon=True)

    def start(self) -> None:
        """Start the thread that reads."""
        self._thread.start()

    def look(self) -> None:
        """Read the new entries and report them before returning."""
        with self._lock:
            if self._ended.is_set():
                return
            try:
                names = os.listdir(self._folder)
            except OSError:  # no free descriptor
                names = []
            for name in names:
                if name not in self._open and (journal := _open(self._folder, name)) is not None:
                    self._open[name] = journal
                    self._roll.journalled = True
                    self._roll.seen.add(journal.pid)
            for journal in self._open.values():
                for entry in journal.read():
                    self._tell(journal, entry)

    def stop(self) -> None:
        """Read once more, then end the thread and close all journals. Idempotent."""
        self.look()
        with self._lock:
            self._ended.set()
            for journal in self._open.values():
                os.close(journal.fd)
            self._open.clear()
        if self._thread.ident is not None:
            self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.look()

    def _tell(self, journal: _Journal, entry: Entry) -> None:
        if entry.end_ns is None:
            self._roll.begin(journal.pid, journal.worker)
            if isinstance(entry.nonce, str):
                self._listener.begun(entry.nonce, pid=journal.pid, worker=journal.worker, at_ns=entry.start_ns)
        else:
            self._roll.end(journal.pid)
            if isinstance(entry.nonce, str):
                self._listener.answered(entry.nonce, entry.end_ns)


class _Journal:
    """One worker's journal, read up to the last whole line."""

    def __init__(self, fd: int, pid: int, worker: int) -> None:
        self.fd = fd
        self.pid = pid
        self.worker = worker
        self._rest = b""

    def read(self) -> list[Entry]:
        """Return the new entries. An invalid line is left out."""
        found = []
        while data := os.read(self.fd, MOST_BYTES):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                try:
                    found.append(_decoder.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
        return found


def _open(folder: Path, name: str) -> _Journal | None:
    pid, _, worker = name.removesuffix(".jsonl").partition("-")
    if not name.endswith(".jsonl") or not pid.isdecimal() or not worker.isdecimal():
        return None
    try:
        return _Journal(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC), int(pid), int(worker))
    except OSError:
        return None
