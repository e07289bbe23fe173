"""Writes reports: the only module of this package that writes to a disk.

A new format is one entry of FORMATS. Files are written atomically: a file is complete or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec

from poolproof.bridge.safe_text import json_text
from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.run.retention import COMPARISON_FILE
from poolproof.harness.run.store import read_comparison, write_whole
from poolproof.reports.evidence.reading import read_evidence
from poolproof.reports.formats.ctrf import render_ctrf
from poolproof.reports.formats.junit import render_junit
from poolproof.reports.formats.render import render_html, render_markdown, render_site
from poolproof.reports.sections.extras import comparison_sections, read_sections
from poolproof.reports.site import Index, Stored, build_index
from poolproof.reports.view import View, build_view


def render_json(view: View) -> str:
    """The comparison itself, as JSON of the published schema."""
    return json_text(msgspec.json.encode(view.source)) + "\n"


INDEX_FILE = "index.html"
FORMATS: dict[str, tuple[str, Callable[[View], str]]] = {
    "json": (COMPARISON_FILE, render_json),
    "html": ("report.html", render_html),
    "md": ("report.md", render_markdown),
    "junit": ("junit.xml", render_junit),
    "ctrf": ("ctrf.json", render_ctrf),
}
"""The file name and the renderer of each format. JSON comes first, so the data are kept if a later renderer fails."""


def write_reports(
    comparison: Comparison, folder: Path, formats: Iterable[str] = FORMATS, *, home: Path | None = None
) -> dict[str, Path]:
    """Write the formats into `folder`, which is made if missing, and return the path of each format.

    Extra files beside the comparison's data in `home` (`folder` if not given), such as a kill matrix, are shown too.
    Raises UsageError for an unknown format or a folder that cannot be written.
    """
    wanted = list(formats)
    for name in wanted:
        if name not in FORMATS:
            raise UsageError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    view = view_with_extras(comparison, home or folder)
    written = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            file_name, render = FORMATS[name]
            write_whole(folder / file_name, render(view).encode())
            written[name] = folder / file_name
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return written


def view_with_extras(comparison: Comparison, home: Path) -> View:
    """The view of a comparison, with sections for the extra files in `home`, and the calls that show its failures."""
    sections = [*comparison_sections(comparison), *read_sections(home, comparison)]
    return build_view(comparison, sections, read_evidence(comparison, home))


def write_site(folder: Path) -> tuple[Path, Index]:
    """Write `folder`/index.html about every comparison below `folder`, and any missing HTML report of one.

    Raises UsageError if there is no such folder or it cannot be written.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found, unread = [], []
    for file in sorted(folder.rglob(COMPARISON_FILE)):
        name = file.parent.relative_to(folder).as_posix()
        try:
            comparison = read_comparison(file)
        except RecordError as error:
            unread.append(str(error))
            continue
        page = file.parent / FORMATS["html"][0]
        if not page.is_file():
            write_reports(comparison, file.parent, ["html"])
        address = quote(page.relative_to(folder).as_posix())
        found.append(Stored(name=name, page=f"./{address}", comparison=comparison))
    index = build_index(found, unread)
    path = folder / INDEX_FILE
    try:
        write_whole(path, render_site(index).encode())
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return path, index
