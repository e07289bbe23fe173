"""The errors of the harness: one class for each thing that a caller would do differently.

Pure. A pool's own errors live in bridge and are recorded, never raised through the harness.
"""

from __future__ import annotations


class HarnessError(Exception):
    """Anything that the harness raises; the message is one sentence for the person who asked."""


class UsageError(HarnessError, ValueError):
    """What was asked for does not exist or cannot be."""


class RunError(HarnessError):
    """The run itself failed, so it says nothing about the pool."""


class RecordError(HarnessError):
    """A stored run cannot be read."""
