"""Assembles, reads and writes the report of benches; it holds the claims of all tests, the machine and the commit."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from poolproof.harness.bench.machine import describe
from poolproof.harness.bench.statistics.analysis import claim_of, decide
from poolproof.harness.bench.statistics.claims import Claim, overall
from poolproof.harness.bench.statistics.figures import SCHEMA_VERSION, Bench, BenchReport
from poolproof.harness.model.errors import RecordError
from poolproof.harness.model.verdict import Verdict, worst
from poolproof.harness.run.store import write_whole

BENCH_FILE = "bench.json"
GIT_TIMEOUT_S = 5.0


def assemble(benches: Sequence[Bench], *, command: str = "") -> BenchReport:
    """The report of the benches; Holm's correction decides the claims over all tests of all benches."""
    tests = list(itertools.chain.from_iterable(bench.tests for bench in benches))
    decided = iter(decide(tests))
    found = []
    for bench in benches:
        mine = tuple(itertools.islice(decided, len(bench.tests)))
        word = claim_of(mine) if bench.validity.valid else Claim.INCONCLUSIVE
        found.append(msgspec.structs.replace(bench, tests=mine, claim=word))
    budgets = [result.verdict for bench in found for result in bench.budgets]
    return BenchReport(
        claim=overall(bench.claim for bench in found),
        budgets=worst(budgets) if budgets else None,
        benches=tuple(found),
        machine=describe(),
        commit=find_commit(Path.cwd()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        tool_version=version("poolproof"),
    )


def verdict_of(report: BenchReport) -> Verdict:
    """FAIL: a wrong answer, a worse candidate or a budget not met. UNKNOWN: something is undecided. PASS: otherwise."""
    if any(bench.wrong for bench in report.benches):
        return Verdict.FAIL
    claim = {Claim.WORSE: Verdict.FAIL, Claim.INCONCLUSIVE: Verdict.UNKNOWN}.get(report.claim, Verdict.PASS)
    return worst([claim] if report.budgets is None else [claim, report.budgets])


def find_commit(folder: Path) -> str:
    """The commit checked out in `folder`, with "+" if tracked files differ from it; empty without a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def write_report(report: BenchReport, folder: Path) -> Path:
    """Write bench.json into the folder, which is made if missing, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / BENCH_FILE
    write_whole(path, msgspec.json.encode(report))
    return path


def read_report(path: Path) -> BenchReport:
    """Read the report in this folder or file. Raises RecordError if it cannot be read or decoded."""
    file = path / BENCH_FILE if path.is_dir() else path
    try:
        report = msgspec.json.decode(file.read_bytes(), type=BenchReport)
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} is damaged, or its schema version is not {SCHEMA_VERSION}: {error}") from error
    return report
