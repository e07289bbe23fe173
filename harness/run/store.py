"""Run folders: they keep a run's history, its workers' journals and its result, and can be read back.

run.json        what was run                         history.jsonl   what happened, line by line; packed by gzip
                                                                     (history.jsonl.gz) once the run is judged
journal/        one file for each worker             stderr/         what each worker printed; large ones are packed
starts.jsonl    the faults at workers' starts        result.json     findings and figures
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from poolproof.bridge.worker.intervals import walk_journals
from poolproof.harness.compare.comparison import SCHEMA_VERSION, Comparison, RunResult
from poolproof.harness.history.codec import build_history
from poolproof.harness.history.history import History, RunInfo
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.run.retention import COMPARISON_FILE

Record = TypeVar("Record")

PIECE_BYTES = 2**20
PACKING = 6
"""The level of gzip: results are a fifth smaller than at level 1, for 0.1 s more processor time per megabyte."""
SMALL_BYTES = 4096
"""A journal, or the output of a worker, is packed too if it is larger than this (a block of the disk)."""
MOST_OF_NAME = 60
"""How many characters of a pool's name are part of a folder's name."""


class _Versioned(msgspec.Struct, frozen=True):
    schema_version: str


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = path / "history.jsonl"
        self.packed = path / "history.jsonl.gz"
        self.journal = path / "journal"
        self.stderr = path / "stderr"
        self.starts = path / "starts.jsonl"

    @classmethod
    def create(cls, parent: Path, info: RunInfo) -> RunFolder:
        """Make a folder under `parent`, named by scenario, pool, seed and face. Raises UsageError if that fails."""
        way = ("" if info.face == "execute" else f"-{info.face}") + ("" if info.observed else "-unobserved")
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{info.scenario}-{info.pool[-MOST_OF_NAME:]}-{info.seed}{way}")
        number = 1
        while True:
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not parent.is_dir():
                    raise UsageError(f"{parent} is not a folder") from None
                number += 1
            except OSError as error:
                raise UsageError(f"cannot write to {parent}: {error.strerror}") from error
        folder = cls(path)
        folder.journal.mkdir()
        folder.stderr.mkdir()
        write_whole(path / "run.json", msgspec.json.encode(info))
        return folder

    def read_info(self) -> RunInfo:
        """Read what was run. Raises RecordError."""
        return _read(self.path / "run.json", RunInfo)

    def read_history(self) -> History:
        """Read the history from disk alone. Raises RecordError if the folder is not a run folder."""
        info = self.read_info()
        try:
            with self.history.open("rb") if self.history.exists() else gzip.open(self.packed, "rb") as lines:
                history = build_history(info, lines, walk_journals(self.journal))
        except (OSError, EOFError, zlib.error) as error:
            file = self.packed if self.packed.exists() else self.history
            raise RecordError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
        return msgspec.structs.replace(history, faults=history.faults + self._read_starts())

    def _read_starts(self) -> tuple[FaultRecord, ...]:
        if not self.starts.exists():
            return ()
        found = []
        for line in self.starts.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=FaultRecord))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # a worker was killed while it wrote this line
        return tuple(found)

    def write_result(self, result: RunResult) -> None:
        """Store the result beside the history, and pack the history: it takes about a hundredth of its size then."""
        write_whole(self.path / "result.json", msgspec.json.encode(result))
        with contextlib.suppress(OSError):  # on a full disk it stays as it is
            if self.history.exists():
                _pack(self.history)
            for file in (*self.stderr.glob("*.log"), *self.journal.glob("*.jsonl")):
                if file.stat().st_size > SMALL_BYTES:
                    _pack(file)

    def read_result(self) -> RunResult:
        """Read the stored result. Raises RecordError."""
        return _read(self.path / "result.json", RunResult)


def read_comparison(path: Path) -> Comparison:
    """Read the comparison in this folder or file. Raises RecordError if it is damaged or of another major version."""
    file = path / COMPARISON_FILE if path.is_dir() else path
    version = _read(file, _Versioned).schema_version
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise RecordError(f"{file} has the schema version {version}; this poolproof reads {SCHEMA_VERSION}")
    return _read(file, Comparison)


def write_whole(path: Path, data: bytes) -> None:
    """Write all of the data or nothing: to a temporary file first, which is then renamed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def _pack(path: Path) -> None:
    # The file is there, or the packed one, or both with the same content.
    packed = path.with_name(f"{path.name}.gz")
    draft = path.with_name(f".{packed.name}.{os.getpid()}")
    try:
        with path.open("rb") as lines, gzip.open(draft, "wb", compresslevel=PACKING) as file:
            shutil.copyfileobj(lines, file, PIECE_BYTES)
        draft.replace(packed)
    finally:
        draft.unlink(missing_ok=True)
    path.unlink()


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from error
