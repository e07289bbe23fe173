"""A comparison prepared for readers: plain data that every format shows."""

from __future__ import annotations

from poolproof.reports.view.builder import build_view
from poolproof.reports.view.model import FIGURES, Cell, FindingView, Row, View

__all__ = ["FIGURES", "Cell", "FindingView", "Row", "View", "build_view"]
