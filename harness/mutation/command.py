"""The command `poolproof selfcheck`: runs the self-check, shows the matrix and stores it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console

from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.mutation.check import selfcheck
from poolproof.harness.mutation.markdown import alarm_text, as_markdown, row_text, sentences
from poolproof.harness.mutation.matrix import SCHEMA_VERSION, KillMatrix
from poolproof.harness.mutation.mutant import Mutant
from poolproof.harness.run.runner import Request
from poolproof.harness.run.store import write_whole

MATRIX_FILE = "kill-matrix.json"
MARKDOWN_FILE = "kill-matrix.md"
MOST_SEEDS = 100


def run_selfcheck(
    mutants: list[Mutant],
    request: Request,
    out: Path,
    *,
    seeds: int,
    jobs: int,
    exhaustive: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> KillMatrix:
    """Run the self-check with `seeds` seeds from the request's seed on, store the results under `out`, and show them.

    Raises UsageError for a bad number of seeds.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"--seeds {seeds}: must be a whole number from 1 to {MOST_SEEDS}")
    chosen = [(request.seed + number) % 2**32 for number in range(seeds)]
    with Steps(Terminal(stderr=True), quiet=quiet) as steps:
        matrix = selfcheck(mutants, chosen, request, out / "runs", jobs=jobs, progress=steps, exhaustive=exhaustive)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / MATRIX_FILE, msgspec.json.format(msgspec.json.encode(matrix)))
    write_whole(out / MARKDOWN_FILE, as_markdown(matrix).encode())
    if as_json:
        say_json(matrix)
    else:
        show_matrix(Terminal(), matrix, out / MARKDOWN_FILE)
    return matrix


def show_matrix(console: Console, matrix: KillMatrix, kept: Path) -> None:
    """Show one line for each mutant, then the summary."""
    show_table(console, ("mutant", "breaks", "killed", "by"), [row_text(row) for row in matrix.rows])
    lines = [*sentences(matrix), *(f"undecided: {text}" for text in matrix.undecided)]
    lines += [f"false alarm: {alarm_text(alarm)} (kept in {alarm.folder})" for alarm in matrix.false_alarms]
    for line in (*lines, f"took {matrix.duration_s:.1f} s; matrix: {kept}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def read_matrix(path: Path) -> KillMatrix:
    """Read a stored matrix. Raises RecordError if it cannot be read, is damaged or has another major version."""
    try:
        matrix = msgspec.json.decode(path.read_bytes(), type=KillMatrix)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from error
    if matrix.schema_version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise RecordError(f"{path} has the schema version {matrix.schema_version}; this reads {SCHEMA_VERSION}")
    return matrix
