"""What several commands share: options, exit codes, and the folder for their results."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Self

import typer

from poolproof.bridge.redaction import redact_words
from poolproof.harness.cli.output import warn
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.run.retention import COMPARISON_FILE, DEFAULT_OUT, make_folder, remove, runs_in

FULL_SCALE = 3.0
JOBS = 6
UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)", re.ASCII)
POOL_HELP = "a name from `poolproof list pools`, package.module:factory, or driver:COMMAND"


class Exit(IntEnum):
    """The exit codes."""

    GOOD = 0
    BAD = 1
    USAGE = 2
    UNDECIDED = 3
    BROKEN = 4
    INTERRUPTED = 130
    READER_GONE = 141


class Profile(StrEnum):
    """The thoroughness of a run.

    A comparison with the profile smoke ends within 45 s on two processors, with quick within 150 s. Full makes three
    times as many calls, and runs each scenario through each face.
    """

    SMOKE = "smoke"
    QUICK = "quick"
    FULL = "full"


OF_DECISION = {Decision.SAFE: Exit.GOOD, Decision.UNSAFE: Exit.BAD, Decision.INCONCLUSIVE: Exit.UNDECIDED}
OF_VERDICT = {Verdict.PASS: Exit.GOOD, Verdict.FAIL: Exit.BAD, Verdict.UNKNOWN: Exit.UNDECIDED}

Scenarios = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SCENARIO]...",
        help="Names from `poolproof list scenarios`, or Python files that define scenarios. Default: all scenarios.",
    ),
]
Suite = Annotated[
    str, typer.Option(metavar="SUITE", help="The suite to run if no scenario is named: default, or dspy.")
]
Seed = Annotated[int, typer.Option(help="The random seed for workloads, faults and orders, 0 to 4294967295.")]
Workers = Annotated[int, typer.Option(help="Worker processes of each pool, 1 to 1024.")]
Clients = Annotated[int, typer.Option(help="Client threads that make the calls, 1 to 1024.")]
Jobs = Annotated[int, typer.Option(help="How many runs go on at the same time, 1 to 64. Timings always run alone.")]
ProfileOption = Annotated[
    Profile, typer.Option(help="How thorough the test is: smoke is the quickest, full the most thorough.")
]
WorkerCommand = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="The command line of a worker program that speaks the wire protocol; "
        "{worker_id} becomes the worker's id. Default: the worker that poolproof ships.",
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="NAME",
        help="A Python file (or a pool package.module:factory) that stored results or a stored plan name, and that may "
        "be imported. May be repeated. Nothing that only they name is imported.",
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder for all results. Default: a new folder in out/.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder with results of `poolproof compare`, `poolproof run` or pytest.")
]


class Keeping:
    """Makes the folder for the records before anything is run, and prints its path if the run is interrupted.

    `at_the_end`: nothing is written before the end. Raises UsageError if the folder cannot be made or written.
    """

    def __init__(self, folder: Path, *, at_the_end: bool = False) -> None:
        self._folder = folder
        self._at_the_end = at_the_end
        self._made = False

    def __enter__(self) -> Self:
        if self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"--out {self._folder}: there is a file of that name")
        self._made = not self._folder.exists()
        try:
            make_folder(self._folder)
        except OSError as error:
            raise UsageError(f"--out {self._folder}: the folder cannot be made: {error.strerror}") from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise UsageError(f"--out {self._folder}: the folder cannot be written to")
        self._earlier = runs_in(self._folder)
        return self

    def remove_earlier(self) -> None:
        """Remove the runs of an earlier comparison in this folder, whose report was just replaced."""
        for run in self._earlier:
            remove(run)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and self._made:
            with contextlib.suppress(OSError):
                self._folder.rmdir()  # only if it is empty
        if kind is KeyboardInterrupt:
            kept = f"the runs recorded so far are in {self._folder}"
            if self._at_the_end:
                kept = "nothing was kept, because this command writes its results only at the end"
            warn(f"poolproof: interrupted; {kept}")


@contextlib.contextmanager
def ending(limit_s: float | None = None) -> Iterator[None]:
    """Let SIGTERM, and the end of `limit_s` seconds, end the block as Ctrl-C does. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGALRM)}
    if limit_s is not None:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_duration(option: str, text: str, *, most_s: float) -> float:
    """Return the seconds of a duration such as "90", "90s", "30m" or "1.5h"; without a unit it is in seconds.

    Raises UsageError, which names the option and the limits, if `text` is no duration from 1 s to `most_s`.
    """
    found = DURATION.fullmatch(text)
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 1 <= seconds <= most_s:
        limit = f"from 1s to {most_s / UNITS_S['h']:g}h"
        raise UsageError(f"{option} {text!r}: must be a duration {limit}, such as 90s, 10m or 1h")
    return seconds


def this_command() -> str:
    """The command line of this process, without secrets, as a report shows it."""
    return shlex.join(redact_words(["poolproof", *sys.argv[1:]]))


def new_folder(verb: str) -> Path:
    """The path of a new, unused folder in out/; the folder is not made."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return DEFAULT_OUT / f"{verb}-{stamp}-{time.monotonic_ns() % 1000:03d}"


def is_run(path: Path) -> bool:
    """True for the folder of one run, false for a comparison. Raises UsageError if the path is neither."""
    if not path.exists():
        raise UsageError(f"there is no {path}")
    if path.is_dir() and not (path / COMPARISON_FILE).is_file() and not (path / "run.json").is_file():
        raise UsageError(f"{path} holds neither a comparison ({COMPARISON_FILE}) nor a run (run.json)")
    return path.is_dir() and (path / "run.json").is_file()
