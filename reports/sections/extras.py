"""Report sections for files beside a comparison: what changed since the last run, a kill matrix, a bench, a sweep.

Reads files and decides nothing. A file that cannot be read becomes a sentence in its section, never a missing section.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.stored.since import SINCE_FILE
from poolproof.reports.charts.drawing import side_names
from poolproof.reports.sections.covered import cells_section, coverage_section, explored_section, faces_section
from poolproof.reports.sections.lab import bench_section, matrix_section, sweep_section
from poolproof.reports.sections.section import Section
from poolproof.reports.sections.since import since_section

MATRIX_FILE = "kill-matrix.json"
BENCH_FILE = "bench.json"
SWEEP_FILE = "sweep.json"


def comparison_sections(comparison: Comparison) -> list[Section]:
    """The sections that are built from the comparison itself; a section without data is left out."""
    found = [explored_section(comparison), cells_section(comparison), faces_section(comparison)]
    if comparison.coverage is not None:
        found.append(coverage_section(comparison.coverage))
    return [section for section in found if section is not None]


def read_sections(home: Path, comparison: Comparison) -> list[Section]:
    """A section for each known file in `home`."""
    sides = side_names(comparison.baseline, comparison.candidate)
    makers: dict[str, tuple[str, Callable[[bytes], Section]]] = {
        SINCE_FILE: ("Since the last run", since_section),
        BENCH_FILE: ("Bench", bench_section),
        SWEEP_FILE: ("Scalability", lambda data: sweep_section(data, sides)),
        MATRIX_FILE: ("Kill matrix", matrix_section),
    }
    found = []
    for name, (title, make) in makers.items():
        path = home / name
        if not path.is_file():
            continue
        try:
            found.append(make(path.read_bytes()))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            key = title.lower().replace(" ", "-")
            found.append(Section(key=key, title=title, sentences=(f"{name} could not be read: {error}",)))
    return found
