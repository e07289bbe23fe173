"""Measures which lines and branches of the candidate each scenario executes, by coverage.py contexts.

Each run is a separate process, so its context is the scenario's name from the first line on; workers, zygotes and their
forks inherit it. Knows nothing of verdicts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolproof.harness.compare.comparison import Cover, FileCover, ScenarioCover
from poolproof.harness.model.errors import RecordError

if TYPE_CHECKING:
    import coverage

DATA_FILE = ".coverage"
CONFIG_FILE = "coverage.ini"
VARIABLES = ("COVERAGE_FILE", "COVERAGE_RCFILE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""Environment variables of a coverage measurement of this process. A run would obey them, so it is started without."""
PACKAGES = {
    "v1": ("poolproof.pool_v1", "poolproof.bridge"),
    "v2": ("poolproof.pool_v2", "poolproof.bridge"),
}
NOT_THE_POOL = ("bridge/telemetry/*",)
"""Files that count as no part of the pool: a part of the public API that no scenario tests."""


def sources_of(pool: str) -> tuple[str, ...]:
    """Return the packages of a pool: its own and the bridge; of a factory, its top-level package."""
    if pool in PACKAGES:
        return PACKAGES[pool]
    return (pool.partition(":")[0].partition(".")[0],)


class CoverageRun:
    """The coverage of one comparison, kept in `folder`."""

    def __init__(self, folder: Path, sources: Sequence[str]) -> None:
        self._folder = folder.absolute()
        self._sources = tuple(sources)
        self._config = self._folder / CONFIG_FILE
        folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob(f"{DATA_FILE}*"):
            old.unlink()
        self._config.write_text(
            "[run]\nbranch = true\nparallel = true\nrelative_files = true\n"
            f"data_file = {self._folder / DATA_FILE}\n"
            f"source_pkgs =\n{''.join(f'    {name}{chr(10)}' for name in self._sources)}"
            f"omit =\n{''.join(f'    */{name}{chr(10)}' for name in NOT_THE_POOL)}"
            "patch =\n    subprocess\n    _exit\n    fork\n"
            "disable_warnings =\n    no-data-collected\n    module-not-imported\n    module-not-measured\n"
            "[report]\nexclude_also =\n    if TYPE_CHECKING:\n    ^\\s*\\.\\.\\.$\n    assert_never\\(\n"
        )

    def command(self, scenario: str, module: str) -> list[str]:
        """Return the command that runs `module` with this scenario as the context, even if this process is measured."""
        return self._coverage("run", f"--context={scenario}", "-m", module)

    def _coverage(self, command: str, *words: str) -> list[str]:
        # Runs coverage in a separate process: a Coverage object here would end another measurement of this process.
        # With -P that process needs the environment of `bridge.processes.interpreter`.
        unset = [word for name in VARIABLES for word in ("-u", name)]
        measuring = [sys.executable, "-P", "-m", "coverage", command, f"--rcfile={self._config}"]
        return ["/usr/bin/env", *unset, *measuring, *words]

    def read(self) -> Cover:
        """Read what was executed, after all runs have ended. Raises RecordError if nothing was recorded."""
        import coverage  # every job imports this module and none needs coverage

        outfile = self._folder / "coverage.json"
        self._run("combine")
        self._run("json", "--show-contexts", "-o", str(outfile))
        with closing(coverage.CoverageData(basename=str(self._folder / DATA_FILE))) as data:
            try:
                told = json.loads(outfile.read_text())
                data.read()
            except (coverage.CoverageException, OSError, ValueError) as error:
                raise RecordError(f"no coverage in {self._folder}: {error}") from error
            return _cover(self._sources, data, told["files"])

    def read_lines(self) -> dict[str, dict[str, frozenset[int]]]:
        """Read, in place of `read`, the executed lines of each context and file.

        Raises RecordError if nothing was recorded.
        """
        import coverage

        self._run("combine")
        with closing(coverage.CoverageData(basename=str(self._folder / DATA_FILE))) as data:
            try:
                data.read()
            except coverage.CoverageException as error:
                raise RecordError(f"no coverage in {self._folder}: {error}") from error
            found: dict[str, dict[str, frozenset[int]]] = {}
            for context in sorted(name for name in data.measured_contexts() if name):
                data.set_query_context(context)
                found[context] = {file: frozenset(data.lines(file) or ()) for file in data.measured_files()}
            return found

    def _run(self, command: str, *words: str) -> None:
        done = subprocess.run(self._coverage(command, *words), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RecordError(f"no coverage in {self._folder}: {(done.stdout + done.stderr).strip()}")


def _cover(sources: tuple[str, ...], data: coverage.CoverageData, files: dict[str, Any]) -> Cover:
    names = sorted(name for name in data.measured_contexts() if name)
    lines = {name: _lines_of(name, files) for name in names}
    return Cover(
        sources=sources,
        files=tuple(_file(path, found) for path, found in files.items()),
        scenarios=tuple(
            ScenarioCover(
                scenario=name,
                lines=sum(map(len, lines[name].values())),
                branches=_count_branches(data, name, files),
                alone=_count_alone(name, lines),
                files={path: ranges(found) for path, found in lines[name].items() if found},
            )
            for name in names
        ),
    )


def _file(path: str, found: dict[str, Any]) -> FileCover:
    summary = found["summary"]
    return FileCover(
        path=path,
        statements=summary["num_statements"],
        executed=summary["covered_lines"],
        branches=summary["num_branches"],
        taken=summary["covered_branches"],
        missing=ranges(found["missing_lines"]),
        untaken=", ".join(f"{start}->{end}" for start, end in found["missing_branches"]),
    )


def _lines_of(name: str, files: dict[str, Any]) -> dict[str, list[int]]:
    return {
        path: sorted(int(line) for line, contexts in found["contexts"].items() if name in contexts)
        for path, found in files.items()
    }


def _count_alone(name: str, lines: dict[str, dict[str, list[int]]]) -> int:
    others = {(path, n) for other, found in lines.items() if other != name for path in found for n in found[path]}
    return sum((path, n) not in others for path, found in lines[name].items() for n in found)


def _count_branches(data: coverage.CoverageData, name: str, files: dict[str, Any]) -> int:
    data.set_query_context(name)
    count = 0
    for path in data.measured_files():
        known = files.get(path) or next((found for key, found in files.items() if path.endswith(f"/{key}")), None)
        if known is not None:
            count += len(set(data.arcs(path) or ()) & set(map(tuple, known["executed_branches"])))
    return count


def ranges(lines: Iterable[int]) -> str:
    """Return line numbers as text: "3-5, 9"."""
    told: list[list[int]] = []
    for line in sorted(lines):
        if told and line == told[-1][1] + 1:
            told[-1][1] = line
        else:
            told.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in told)
