"""Reads the workers' journals: the interval of each request that a worker has worked on.

Reading is tolerant, because a worker may be killed in the middle of a line.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import msgspec

from poolproof.bridge.events import ServiceInterval
from poolproof.bridge.worker.journal import Entry


def read_journals(directory: Path) -> list[ServiceInterval]:
    """Return every interval of the journals in `directory`, sorted by start. Ignores files with other names."""
    return sorted(walk_journals(directory), key=lambda interval: interval.start_ns)


def walk_journals(directory: Path) -> Iterator[ServiceInterval]:
    """Yield the intervals of `read_journals` journal by journal, with only one journal in memory at a time.

    A journal may be packed by gzip (`.jsonl.gz`); beside the plain file, which has the same lines, the packed one is
    ignored. Raises OSError, EOFError or zlib.error if a journal cannot be unpacked.
    """
    packed = (path for path in directory.glob("*-*.jsonl.gz") if not path.with_suffix("").exists())
    for path in sorted((*directory.glob("*-*.jsonl"), *packed)):
        pid, _, worker_id = path.name.partition(".")[0].partition("-")
        if pid.isdecimal() and worker_id.isdecimal():
            yield from _read(path, int(pid), int(worker_id))


def _read(path: Path, pid: int, worker_id: int) -> list[ServiceInterval]:
    entries: dict[tuple[int, int], Entry] = {}
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        entries[entry.request_id, entry.start_ns] = entry
    return [
        ServiceInterval(worker_id, pid, e.request_id, e.command, e.nonce, e.start_ns, e.end_ns, e.ok)
        for e in entries.values()
    ]
