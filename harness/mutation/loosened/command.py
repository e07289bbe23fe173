"""The command `poolproof selfcheck --checkers`: checks the checkers, shows the findings and stores them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console

from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.command import MATRIX_FILE, read_matrix
from poolproof.harness.mutation.generated.tree import package_folder
from poolproof.harness.mutation.loosened.check import check_checkers, read_checkers
from poolproof.harness.mutation.loosened.findings import CheckerFindings, as_markdown, sentences
from poolproof.harness.mutation.loosened.kills import find_kills
from poolproof.harness.run.store import write_whole

FINDINGS_FILE = "loosened-checkers.json"
PAGE_FILE = "loosened-checkers.md"
USUAL_TESTS = Path("tests/harness/checkers")


def run_checkers(
    recorded: Path,
    out: Path,
    *,
    tests: Path | None = None,
    jobs: int,
    quiet: bool = False,
    as_json: bool = False,
) -> CheckerFindings:
    """Check the checkers against the runs that a self-check has left in the folder `recorded`.

    `tests` is the folder with the checkers' tests; by default that of this project, if the current folder has it.
    Raises UsageError for a folder that is not there, and RecordError for a damaged matrix.
    """
    if tests is not None and not tests.is_dir():
        raise UsageError(f"--tests {tests}: there is no such folder")
    if tests is None and USUAL_TESTS.is_dir():
        tests = USUAL_TESTS
    kills = find_kills(read_matrix(recorded / MATRIX_FILE), recorded / "runs")
    with Steps(Terminal(stderr=True), quiet=quiet) as steps:
        files = read_checkers(package_folder())
        found = check_checkers(files, kills, None if tests is None else tests.resolve(), jobs=jobs, progress=steps)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / FINDINGS_FILE, msgspec.json.format(msgspec.json.encode(found)))
    write_whole(out / PAGE_FILE, as_markdown(found).encode())
    if as_json:
        say_json(found)
    else:
        show_findings(Terminal(), found, out / PAGE_FILE)
    return found


def verdict_of(found: CheckerFindings) -> Verdict:
    """FAIL if a loosening is not noticed or a reason is stale, UNKNOWN if no test was run, else PASS."""
    if found.unnoticed or found.stale:
        return Verdict.FAIL
    return Verdict.PASS if found.tested else Verdict.UNKNOWN


def show_findings(console: Console, found: CheckerFindings, kept: Path) -> None:
    """Show what nothing notices, and the summary."""
    unnoticed = [(one.name, one.statement[:70], one.change) for one in found.unnoticed]
    show_table(console, ("unnoticed loosening", "statement", "change"), unnoticed)
    pairs = [f"nothing notices that {pair.scenario} is judged without {pair.checker}" for pair in found.unneeded]
    for line in (*pairs, *sentences(found), f"all of it: {kept}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
