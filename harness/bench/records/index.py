"""The index of benches: a SQLite file with a row for each bench and each figure, usable by many processes at once.

SQLite of the standard library: it needs no server, and concurrent writers cannot damage the file. The reports stay in
the folders where they were written; the index has only the values that a trend needs.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.model.errors import RecordError, UsageError

STORE_VARIABLE = "POOLPROOF_STORE"
INDEX_FILE = "index.sqlite"
BUSY_S = 30.0
VERSION = 1
SCHEMA = """
create table bench (
    id integer primary key, created_at text not null, machine text not null, commit_id text not null,
    work text not null, load text not null, profile text not null, baseline text not null, candidate text not null,
    workers integer not null, clients integer not null, seed integer not null, claim text not null,
    valid integer not null, path text not null
);
create table figure (
    bench integer not null references bench on delete cascade, metric text not null, claim text not null,
    ratio real, low real, high real, baseline real, candidate real, unit text not null
);
create index figure_of on figure (bench, metric);
"""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one bench, as a row of the index. `id` increases with time."""

    id: int
    created_at: str
    machine: str
    commit: str
    work: str
    load: str
    profile: str
    baseline: str
    candidate: str
    claim: str
    valid: bool
    path: str
    metric: str
    metric_claim: str
    ratio: float | None
    low: float | None
    high: float | None
    baseline_value: float | None
    candidate_value: float | None
    unit: str


def store_folder() -> Path:
    """The folder of the baselines and the index: POOLPROOF_STORE, or .poolproof in the current folder."""
    return Path(os.environ.get(STORE_VARIABLE) or ".poolproof")


class Index:
    """The index in the store. Raises RecordError if its file cannot be used, is damaged, or is of another version."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = store_folder() if folder is None else folder
        path = self._folder / INDEX_FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            try:
                self._base.execute("pragma foreign_keys = on")
                self._prepare()
            except sqlite3.Error:
                self._base.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise RecordError(f"the index {path} cannot be used: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def add(self, report: BenchReport, path: Path) -> None:
        """Add all benches of a report in one transaction."""
        machine = msgspec.json.encode(report.machine).decode()
        base = self._base
        base.execute("begin immediate")
        try:
            for bench in report.benches:
                row = base.execute(
                    "insert into bench values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        report.created_at,
                        machine,
                        report.commit,
                        bench.work,
                        str(bench.load),
                        bench.schedule.profile,
                        bench.baseline,
                        bench.candidate,
                        bench.workers,
                        bench.clients,
                        bench.seed,
                        bench.claim.value,
                        bench.validity.valid,
                        os.path.abspath(path),
                    ),
                )
                figures = {pool.role: pool.figures for pool in bench.pools}
                for test in bench.tests:
                    ratio = test.ratio
                    values = []
                    for role in ("baseline", "candidate"):
                        figure = figures[role].get(test.metric)
                        values.append(figure.estimate.value if figure and figure.estimate else None)
                    base.execute(
                        "insert into figure values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            row.lastrowid,
                            test.metric,
                            test.claim.value,
                            None if ratio is None else ratio.value,
                            None if ratio is None else ratio.low,
                            None if ratio is None else ratio.high,
                            *values,
                            figures["candidate"][test.metric].unit if test.metric in figures["candidate"] else "1",
                        ),
                    )
        except BaseException:
            base.execute("rollback")
            raise
        base.execute("commit")

    def entries(
        self, *, metric: str = "p50", work: str | None = None, candidate: str | None = None, limit: int = 20
    ) -> tuple[Entry, ...]:
        """The last `limit` benches that have the metric, oldest first. Raises UsageError if `limit` is out of range."""
        if not 1 <= limit <= 100_000:
            raise UsageError(f"limit {limit}: must be a whole number from 1 to 100000")
        rows = self._base.execute(
            """
            select b.id, b.created_at, b.machine, b.commit_id, b.work, b.load, b.profile, b.baseline, b.candidate,
                   b.claim, b.valid, b.path, f.metric, f.claim, f.ratio, f.low, f.high, f.baseline, f.candidate, f.unit
            from bench b join figure f on f.bench = b.id
            where f.metric = ? and (? is null or b.work = ?) and (? is null or b.candidate = ?)
            order by b.id desc limit ?
            """,
            (metric, work, work, candidate, candidate, limit),
        ).fetchall()
        names = Entry.__struct_fields__
        return tuple(msgspec.convert(dict(zip(names, row, strict=True)), Entry, strict=False) for row in reversed(rows))

    def _prepare(self) -> None:
        base = self._base
        version = base.execute("pragma user_version").fetchone()[0]
        if version == VERSION:
            return
        base.execute("begin immediate")  # of two processes that find the file empty, one creates the tables
        version = base.execute("pragma user_version").fetchone()[0]
        if version == 0:
            for statement in filter(str.strip, SCHEMA.split(";")):
                base.execute(statement)
            base.execute(f"pragma user_version = {VERSION}")
        base.execute("commit")
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"it has the version {version}; this version of poolproof supports {VERSION}")
