"""Catches errors that no caller of a pool sees: errors that the pool logs, and exceptions that end its threads.

A pool may go on after an internal error and answer its calls, so that its callers do not notice the error.
"""

from __future__ import annotations

import logging
import threading
import traceback
from types import TracebackType
from typing import Self

LOGGER = "poolproof"
MOST_KEPT = 5


class InternalErrors(logging.Handler):
    """Records from `poolproof` loggers at level ERROR, and exceptions that leave a thread, within a `with` block."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, with the innermost line of its traceback."""
        where = ""
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            where = f": {kind.__name__}: {error}{_innermost(trace)}"
        self._keep(f"it logged {record.getMessage()!r}{where}")

    def __enter__(self) -> Self:
        self._hook = threading.excepthook
        threading.excepthook = self._thread_ended
        logging.getLogger(LOGGER).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger(LOGGER).removeHandler(self)
        threading.excepthook = self._hook

    def _thread_ended(self, args: threading.ExceptHookArgs) -> None:
        name = "a thread" if args.thread is None else f"thread {args.thread.name}"
        self._keep(f"{name} ended with {args.exc_type.__name__}: {args.exc_value}{_innermost(args.exc_traceback)}")
        self._hook(args)

    def _keep(self, text: str) -> None:
        if len(self.found) < MOST_KEPT:
            self.found.append(text)


def _innermost(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
