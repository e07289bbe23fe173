"""Tries loosened checkers, each in a fork: lets them judge recorded runs again, and runs their tests.

`python -m poolproof.harness.mutation.loosened.trial` reads the accusations and the recorded histories once, then one
Trial after another from its standard input, and answers each with a line. All modules that no checker changes are
imported before the forks, so that a trial costs what its tests cost. It imports no checker before a fork.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import io
import os
import pickle
import select
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec

from poolproof.bridge.processes.interpreter import adopt
from poolproof.harness.history.history import History
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.store import RunFolder

if TYPE_CHECKING:
    import pytest

PACKAGE = "poolproof."
TRIAL_LIMIT_S = 120.0
OF_TESTS = ("hypothesis", "psutil", "pytest", "poolproof.harness.run.runner")
"""The modules that the checkers' tests need, imported before the first fork; none of them imports a checker."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One finding to decide again: the checker by module, class and pickled fields, and the run's folder."""

    module: str
    kind: str
    fields: bytes
    folder: str


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """The data that all trials share. `purged` are the modules that a fork imports anew."""

    asked: tuple[Asked, ...]
    purged: tuple[str, ...]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One loosened module: its new text, the findings to decide again, and the test files, the most related first."""

    module: str
    text: str
    again: tuple[int, ...] = ()
    tests: tuple[str, ...] = ()


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial found: the accusations that the checker no longer makes, and the first test that failed."""

    silent: tuple[int, ...] = ()
    failed: str = ""


class Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another text."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the planted module: its usual path, loaded from the planted text."""
        if name != self._name:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        return importlib.util.spec_from_file_location(name, found.origin, loader=self) if found is not None else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let Python create an ordinary module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Execute the planted text in the module."""
        exec(compile(self._text, module.__spec__.origin or self._name, "exec"), module.__dict__)  # type: ignore[union-attr]


class Failures:
    """A pytest plugin that keeps the name of the first test that fails."""

    def __init__(self) -> None:
        self.first = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure."""
        if report.failed:
            self.first = self.first or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a test file that cannot be imported as a failure."""
        if report.failed:
            self.first = self.first or report.nodeid


def try_out(trial: Trial, prepared: Preparation, histories: dict[str, History]) -> Verdicts:
    """Plant the text in this process, ask the checkers again and run the tests."""
    for name in list(sys.modules):
        if any(name == purged or name.startswith(f"{purged}.") for purged in prepared.purged):
            del sys.modules[name]
    sys.meta_path.insert(0, Planted(trial.module, trial.text))
    try:
        importlib.import_module(trial.module)
    except Exception as error:
        return Verdicts(silent=trial.again, failed=f"the import: {type(error).__name__}: {error}")
    silent = tuple(
        place for place in trial.again if not _fails(prepared.asked[place], histories[prepared.asked[place].folder])
    )
    return Verdicts(silent=silent, failed=run_tests(trial.tests))


def _fails(asked: Asked, history: History) -> bool:
    try:
        checker = getattr(importlib.import_module(asked.module), asked.kind)(**pickle.loads(asked.fields))
        return bool(checker.check(history).verdict is Verdict.FAIL)
    except Exception:
        return False  # a checker that raises gives UNKNOWN


def run_tests(files: Sequence[str]) -> str:
    """Run these test files one by one up to the first failure; return the name of that test, or an empty string."""
    import pytest  # here, as the command `poolproof` imports this module at each of its starts

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins would cost more than the tests
    for file in files:
        failures = Failures()
        words = ["-x", "-q", "-c", os.devnull, "--rootdir", os.path.dirname(file), "--import-mode=importlib", file]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = pytest.main(words, plugins=[failures])
        if failures.first or code != 0:
            return failures.first or f"pytest: exit code {int(code)}"
    return ""


def in_a_fork(trial: Trial, prepared: Preparation, histories: dict[str, History]) -> Verdicts:
    """Try the loosening out in a fork of this process, which is ended if it takes too long."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            told = msgspec.json.encode(try_out(trial, prepared, histories))
        except BaseException as error:
            told = msgspec.json.encode(Verdicts(failed=f"the trial broke: {type(error).__name__}: {error}"))
        with open(write, "wb") as out:
            out.write(told)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        if not select.select([answer], [], [], TRIAL_LIMIT_S)[0]:
            os.kill(pid, signal.SIGKILL)
        data = answer.read()
    os.waitpid(pid, 0)
    if not data:
        return Verdicts(silent=trial.again, failed=f"no end within {TRIAL_LIMIT_S:g} s")
    return msgspec.json.decode(data, type=Verdicts)


def main() -> int:
    """Read trials from standard input, carry each out, and answer it, until standard input is closed."""
    for name in OF_TESTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    prepared = msgspec.json.decode(sys.stdin.buffer.readline(), type=Preparation)
    folders = sorted({asked.folder for asked in prepared.asked})
    histories = {folder: RunFolder(Path(folder)).read_history() for folder in folders}
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        out.write(msgspec.json.encode(in_a_fork(msgspec.json.decode(line, type=Trial), prepared, histories)) + b"\n")
        out.flush()
    return 0


if __name__ == "__main__":
    adopt()
    sys.exit(main())
