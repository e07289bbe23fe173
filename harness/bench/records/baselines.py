"""Named baselines: saved bench reports in the store's folder, one file for each; regression.py compares them."""

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
    """The named baselines of a store."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (store_folder() if folder is None else folder) / "baselines"

    def save(self, name: str, report: BenchReport, *, replace: bool = False) -> Path:
        """Save the report. Raises UsageError if the name is bad or taken, or if the figures are invalid."""
        path = self._path(name)
        if not replace:
            self.require_free(name)
        for bench in report.benches:
            if not bench.validity.valid:
                raise UsageError(
                    f"{bench.work} cannot be saved as a baseline, because the measurement is "
                    f"invalid: {bench.validity.problems[0]}"
                )
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(report))
        return path

    def require_free(self, name: str) -> None:
        """Raise UsageError if the name is bad or taken."""
        if self._path(name).exists():
            raise UsageError(f"a baseline {name!r} exists already; --replace overwrites it")

    def load(self, name: str) -> BenchReport:
        """Read the report of that name. Raises UsageError if there is none, RecordError if its file is damaged."""
        path = self._path(name)
        if not path.exists():
            names = ", ".join(self.names()) or "none"
            raise UsageError(f"there is no baseline {name!r}; the saved baselines are: {names}")
        return read_report(path)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.json") if NAME_PATTERN.fullmatch(path.stem)))

    def _path(self, name: str) -> Path:
        if not NAME_PATTERN.fullmatch(name):
            raise UsageError(
                f"the baseline's name {name!r}: must be 1 to 80 letters, digits, '.', '_' or '-', and begin with "
                "a letter or a digit"
            )
        return self._folder / f"{name}.json"
