"""Checks that each call of a session sees all that was acknowledged before the call, on whichever worker it runs."""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from poolproof.harness.checkers.calls.calls import SessionCall, calls_by_session
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

JUDGED = frozenset({"put", "append", "get"})
OTHERS = frozenset({"delete", "cleanup_session", "restore_session"})
NEVER_NS = 1 << 63


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Each call of a session sees a version at least as new as the last one acknowledged before the call began (G18).

    The version of a list is its length; the version of another value is the last call that put it. The checker only
    sorts, so it decides histories of any size, where a search for an order is slow. Keys that are both put and appended
    to, sessions with another command that changes the keys, and calls after a SessionLost are not judged.
    """

    name: str = "versions"
    guarantees: tuple[str, ...] = ("G18",)

    def check(self, history: History) -> Finding:
        """Judge the run by the put, append and get operations of sessions."""
        ops = history.ops
        judged = ops.command.are(*JUDGED) | ops.outcome.are("SessionLost")
        skipped = ops.session.codes[ops.command.are(*OTHERS)]
        decided = 0
        wrong: list[str] = []
        for session, calls in calls_by_session(history, judged & ~np.isin(ops.session.codes, skipped)):
            end_ns = min((call.invoked_ns for call in calls if call.outcome == "SessionLost"), default=NEVER_NS)
            keys: dict[str, list[SessionCall]] = defaultdict(list)
            for call in calls:
                if call.command in JUDGED:
                    keys[call.key].append(call)
            for key, of_key in keys.items():
                told = list(_judge_key(of_key, end_ns))
                decided += len(told)
                wrong += [f"session {session!r}, key {key!r}, {text}" for text in told if text]
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} answers showed an older state than an earlier acknowledgement",
                examples=wrong,
            )
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no call read a state that had been acknowledged before")
        claim = f"{decided} answers showed a state at least as new as the last one acknowledged before"
        return finding(self, Verdict.PASS, claim, figures={"decided": decided})


def _judge_key(calls: list[SessionCall], end_ns: int) -> Iterator[str]:
    answered = [call for call in calls if call.type is OpType.OK and isinstance(call.value, dict)]
    answered = [call for call in answered if (call.completed_ns or NEVER_NS) < end_ns]
    commands = {call.command for call in calls}
    if commands <= {"append", "get"}:
        yield from _short_lists(answered)
    elif commands <= {"put", "get"}:
        yield from _stale_values(calls, answered)


def _short_lists(ops: list[SessionCall]) -> Iterator[str]:
    # Yields one text for each answer that could be judged; the text is empty if the answer is right.
    acknowledged = sorted((op.completed_ns or 0, _length(op)) for op in ops if op.command == "append")
    most = list(itertools.accumulate((length for _, length in acknowledged), max))
    for op in ops:
        before = bisect.bisect_left(acknowledged, (op.invoked_ns, 0))
        if before:
            least = most[before - 1] + (op.command == "append")
            seen = _length(op)
            yield (
                ""
                if seen >= least
                else (
                    f"call {op.index} read version {seen}, but version {most[before - 1]} had been acknowledged before"
                )
            )


def _stale_values(ops: list[SessionCall], judged: list[SessionCall]) -> Iterator[str]:
    acknowledged = sorted((op.completed_ns or 0, op.invoked_ns) for op in judged if op.command == "put")
    latest = list(itertools.accumulate((invoked for _, invoked in acknowledged), max))
    ends: dict[bytes, int] = {}
    for op in ops:
        if op.command == "put" and op.type is not OpType.FAIL:
            value = _canonical(op.args.get("value"))
            end_ns = op.completed_ns if op.type is OpType.OK and op.completed_ns is not None else NEVER_NS
            ends[value] = max(end_ns, ends.get(value, 0))
    for op in judged:
        before = bisect.bisect_left(acknowledged, (op.invoked_ns, 0))
        if op.command == "get" and before:
            put_ns = ends.get(_canonical(op.value.get("value")), 0)
            stale = put_ns < latest[before - 1]
            yield (
                (f"call {op.index} read {str(op.value)[:80]}, which is older than the last acknowledged state")
                if stale
                else ""
            )


def _length(op: SessionCall) -> int:
    held = op.value.get("values" if op.command == "append" else "value")
    return len(held) if isinstance(held, list) else 0


def _canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    return msgspec.json.encode(value, order="deterministic")
