"""The folder into which a command writes its results, and the end of a command that is interrupted."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from poolproof.bridge.redaction import redact_words
from poolproof.harness.cli.output import warn
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.retention import DEFAULT_OUT, make_folder, remove, runs_in
from poolproof.harness.run.store import COMPARISON_FILE


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
