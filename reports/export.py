"""Writes reports: the only file of this room that touches a disk.

A new format is one entry of FORMATS. A file is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from harness.comparison import Comparison
from harness.errors import UsageError
from harness.store import COMPARISON_FILE, write_whole
from reports.junit import render_junit
from reports.render import render_html, render_markdown
from reports.view import View, build_view


def render_json(view: View) -> str:
    """The comparison itself, as JSON of the published schema."""
    return msgspec.json.format(msgspec.json.encode(view.source), indent=1).decode() + "\n"


FORMATS: dict[str, tuple[str, Callable[[View], str]]] = {
    "json": (COMPARISON_FILE, render_json),
    "html": ("report.html", render_html),
    "md": ("report.md", render_markdown),
    "junit": ("junit.xml", render_junit),
}
"""The file name and the renderer of each format; the data first, so that whatever breaks later can be repeated."""


def write_reports(comparison: Comparison, folder: Path, formats: Iterable[str] = FORMATS) -> dict[str, Path]:
    """Write the formats into `folder`, which is made if need be; the paths by format.

    Raises UsageError for an unknown format or a folder that cannot be written.
    """
    wanted = list(formats)
    for name in wanted:
        if name not in FORMATS:
            raise UsageError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    view = build_view(comparison)
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
