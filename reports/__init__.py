"""Reports: one comparison becomes HTML, Markdown, JUnit and JSON."""

from __future__ import annotations

if __name__ == "reports":
    raise ImportError("there is no package reports: import poolproof.reports")

from poolproof.reports.export import FORMATS, INDEX_FILE, view_with_extras, write_reports, write_site
from poolproof.reports.formats.github import publish
from poolproof.reports.schema import Document, schema_of
from poolproof.reports.view import View, build_view

__all__ = [
    "FORMATS",
    "INDEX_FILE",
    "Document",
    "View",
    "build_view",
    "publish",
    "schema_of",
    "view_with_extras",
    "write_reports",
    "write_site",
]
