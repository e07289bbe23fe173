"""The errors of the harness: one class for each case that a caller handles differently.

Pure. The errors of pools are defined in bridge; the harness records these errors and never raises them.
"""

from __future__ import annotations


class HarnessError(Exception):
    """Base class of the harness's errors; the message is one sentence for the user."""


class UsageError(HarnessError, ValueError):
    """Invalid usage: the user named something that does not exist, or gave an invalid value."""


class RunError(HarnessError):
    """The run itself failed, so its result says nothing about the pool."""


class RecordError(HarnessError):
    """A stored run cannot be read."""
