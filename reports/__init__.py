"""Reports: one comparison becomes HTML, Markdown, JUnit and JSON."""

from __future__ import annotations

from reports.export import FORMATS, write_reports
from reports.schema import comparison_schema
from reports.view import View, build_view

__all__ = ["FORMATS", "View", "build_view", "comparison_schema", "write_reports"]
