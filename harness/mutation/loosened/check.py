"""Checks the checkers: weakens each in many ways, and looks whether a test fails or a planted bug is no longer found.

An entry point. Each trial runs in a fork of one of `jobs` servers; see trial.py.
"""

from __future__ import annotations

import ast
import contextlib
import os
import pickle
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import msgspec

from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import environment, with_flags
from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.compare.jobs.jobs import Progress
from poolproof.harness.model.errors import RunError
from poolproof.harness.mutation.generated.equivalents import Equivalent, find_stale, reason_of
from poolproof.harness.mutation.loosened.findings import CheckerFindings, Loosening, Pair
from poolproof.harness.mutation.loosened.kills import PREFIX, Kill, deciding, find_lost
from poolproof.harness.mutation.loosened.loosenings import FOLDER, OTHERS, find_loosenings
from poolproof.harness.mutation.loosened.pairs import broken_rules, without
from poolproof.harness.mutation.loosened.reasons import HARMLESS
from poolproof.harness.mutation.loosened.trial import Asked, Preparation, Trial, Verdicts
from poolproof.harness.mutation.operators.places import Place, mutate
from poolproof.harness.run.runner import Request, plan_of

EVERYTHING = "poolproof"
"""The package that a fork imports anew, as a whole, if a module that many others import is loosened."""


class TrialServer:
    """One server of trials, as its parent sees it; a context manager."""

    def __init__(self, prepared: Preparation) -> None:
        self._prepared = prepared

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            with_flags(module_command("poolproof.harness.mutation.loosened.trial")),
            env={**os.environ, **environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._send(msgspec.json.encode(self._prepared))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def try_out(self, trial: Trial) -> Verdicts:
        """Try one loosening. Raises RunError if the server has ended."""
        self._send(msgspec.json.encode(trial))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RunError("a server of trials has ended")
        return msgspec.json.decode(line, type=Verdicts)

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RunError("a server of trials has ended") from error


def check_checkers(
    files: Mapping[str, str],
    kills: Sequence[Kill],
    tests: Path | None,
    *,
    jobs: int,
    progress: Progress,
    harmless: Sequence[Equivalent] = HARMLESS,
) -> CheckerFindings:
    """Try every loosening of the files, `jobs` at a time, and every pair of a scenario and a checker.

    `kills` are the accusations of recorded runs, and `tests` is the folder with the checkers' tests.
    """
    began = time.monotonic()
    places = find_loosenings(files)
    progress.planned(len(places))
    again = [kill for kill in kills if kill.again]
    affected = find_affected(files)
    asked = tuple(
        Asked(module=kill.module, kind=kill.kind, fields=pickle.dumps(dict(kill.fields)), folder=kill.folder)
        for kill in again
    )
    idle: SimpleQueue[tuple[TrialServer, TrialServer]] = SimpleQueue()

    def try_out(place: Place) -> Loosening:
        name = f"{place.file}:{place.line} {place.operator}"
        progress.began(name)
        told = Loosening(
            operator=place.operator,
            file=place.file,
            line=place.line,
            statement=place.statement,
            change=place.change,
            reason=reason_of(place, harmless),
        )
        text = mutate(files[place.file], place)
        if text is None:
            return msgspec.structs.replace(told, failed="it is not valid Python")
        module = module_of(place.file)
        numbers = tuple(number for number, kill in enumerate(again) if kill.module in affected[module])
        trial = Trial(
            module=module, text=text, again=numbers, tests=find_tests(place.file, tests, files, affected[module])
        )
        servers = idle.get()
        try:
            verdicts = servers[not module.startswith(PREFIX)].try_out(trial)
        finally:
            idle.put(servers)
        told = msgspec.structs.replace(
            told, failed=verdicts.failed, lost=find_lost(kills, [again[number] for number in verdicts.silent])
        )
        progress.ended(name, "noticed" if told.noticed else "unnoticed")
        return told

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="trial") as executor:
        for _ in range(jobs):
            pair = (
                stack.enter_context(TrialServer(Preparation(asked=asked, purged=(PREFIX,)))),
                stack.enter_context(TrialServer(Preparation(asked=(), purged=(EVERYTHING,)))),
            )
            idle.put(pair)
        loosenings = list(executor.map(try_out, places))
    return CheckerFindings(
        loosenings=tuple(loosenings),
        pairs=check_pairs(kills),
        mutants=len(deciding(kills)),
        asked_again=len(again),
        tested=tests is not None,
        stale=find_stale(places, harmless),
        duration_s=time.monotonic() - began,
    )


def check_pairs(kills: Sequence[Kill]) -> tuple[Pair, ...]:
    """Leave each checker out of each scenario of the catalogue in turn."""
    found = []
    for scenario in all_scenarios().values():
        plan = plan_of(scenario, Request())
        usual = set(broken_rules(scenario, plan))
        for checker in scenario.checkers:
            rules: tuple[str, ...] = ("it would have no checker",)
            if len(scenario.checkers) > 1:
                rules = tuple(rule for rule in broken_rules(without(scenario, checker), plan) if rule not in usual)
            silent = [kill for kill in kills if (kill.stage, kill.checker) == (scenario.name, checker.name)]
            pair = Pair(scenario=scenario.name, checker=checker.name, rules=rules, lost=find_lost(kills, silent))
            found.append(pair)
    return tuple(found)


def read_checkers(home: Path) -> dict[str, str]:
    """Return the text of each file to loosen, by its path in the package; the package is in the folder `home`."""
    chosen = [home / name for name in (FOLDER, *OTHERS)]
    files = [file for one in chosen for file in (sorted(one.rglob("*.py")) if one.is_dir() else (one,))]
    return {file.relative_to(home).as_posix(): file.read_text() for file in files}


def module_of(file: str) -> str:
    """Return the module name of a file of the package."""
    return "poolproof." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def find_affected(files: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module: the module itself and all modules that import it, directly or through other modules."""
    imports: dict[str, set[str]] = {}
    for file, text in files.items():
        names = (node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom))
        imports[module_of(file)] = {name for name in names if name is not None}
    affected = {module: {module} for module in imports}
    for module, found in affected.items():
        while more := {other for other, used in imports.items() if used & found} - found:
            found |= more
        assert module in found
    return affected


def find_tests(file: str, tests: Path | None, files: Mapping[str, str], affected: Iterable[str]) -> tuple[str, ...]:
    """The test files that can notice a loosened file, its own first: those that mention a module that the file affects.

    `affected` are the modules of `files` that the file affects. A test that mentions none of them does not run them.
    """
    if tests is None:
        return ()
    stem = Path(file).stem
    if not file.startswith(FOLDER):
        return tuple(str(path) for path in sorted(tests.parent.rglob(f"test_{stem}.py")))
    names = {"ALL", "CORE"}
    for other, text in files.items():
        if module_of(other) in affected:
            body = ast.parse(text).body
            names |= {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    words = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    found = [path for path in sorted(tests.glob("test_*.py")) if words.search(path.read_text())]
    return tuple(str(path) for path in sorted(found, key=lambda path: path.stem != f"test_{stem}"))
