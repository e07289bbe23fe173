"""Equality of two JSON values by type and value, so 1 is not 1.0 and not True, and -0.0 is not 0.0.

Pure. `without` removes what differs between two correct runs: times, pids and the like.
"""

from __future__ import annotations

from math import copysign
from typing import Any

VOLATILE = frozenset(
    {
        "created_at",
        "current_session",
        "execution_time",
        "iterations",
        "last_executed",
        "memory_usage",
        "pid",
        "timestamp",
        "uptime",
        "worker_id",
        "command_count",
        "error_count",
        "programs_count",
    }
)
"""Fields of answers that depend on the time and the worker."""


def same_json(one: Any, other: Any) -> bool:  # noqa: ANN401 - any JSON
    """Return whether two JSON values are equal in type and value at every depth."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other) and (one != 0 or type(one) is not float or copysign(1, one) == copysign(1, other))


def without(value: Any, fields: frozenset[str]) -> Any:  # noqa: ANN401
    """Return a copy of a JSON value whose objects lack these fields at every depth."""
    if isinstance(value, dict):
        return {key: without(inner, fields) for key, inner in value.items() if key not in fields}
    if isinstance(value, list):
        return [without(inner, fields) for inner in value]
    return value
