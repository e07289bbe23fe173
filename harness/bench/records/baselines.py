"""Named baselines: saved bench reports, one file a name, in the store's folder; regression.py compares them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from poolproof.harness.bench.records.index import store_folder
from poolproof.harness.bench.report import read_report
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.store import write_whole

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class Baselines:
    """The baselines of a store."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (store_folder() if folder is None else folder) / "baselines"

    def save(self, name: str, report: BenchReport, *, replace: bool = False) -> Path:
        """Keep the report under the name. Raises UsageError for a bad name, one that is taken, or invalid figures."""
        path = self._path(name)
        if not replace:
            self.require_free(name)
        for bench in report.benches:
            if not bench.validity.valid:
                raise UsageError(f"{bench.work} is no baseline, since it is invalid: {bench.validity.problems[0]}")
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(report))
        return path

    def require_free(self, name: str) -> None:
        """Raises UsageError for a bad name, or one that is taken."""
        if self._path(name).exists():
            raise UsageError(f"there is a baseline {name!r} already; --replace puts another in its place")

    def load(self, name: str) -> BenchReport:
        """The report of that name. Raises UsageError that names those there are, RecordError for a damaged file."""
        path = self._path(name)
        if not path.exists():
            names = ", ".join(self.names()) or "none"
            raise UsageError(f"there is no baseline {name!r}; there are: {names}")
        return read_report(path)

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.json") if NAME_PATTERN.fullmatch(path.stem)))

    def _path(self, name: str) -> Path:
        if not NAME_PATTERN.fullmatch(name):
            raise UsageError(
                f"the baseline's name {name!r}: 1 to 80 letters, digits, '.', '_' or '-', no mark in front"
            )
        return self._folder / f"{name}.json"
