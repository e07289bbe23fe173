"""Checks that a pool closes well: in bounded time, with correct counts, and with no resources left."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import msgspec

from poolproof.harness.history.history import History, Leftovers
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.evidence import FROM_STATISTICS, Evidence
from poolproof.harness.model.verdict import Verdict


class CloseBounded(msgspec.Struct, frozen=True, kw_only=True):
    """The close took at most `within_s` seconds, and waiting calls were refused within `refusal_s` seconds (G22).

    Calls that began before the close and ended as PoolClosed without being sent must end within `refusal_s` seconds of
    the close's begin.
    """

    within_s: float
    refusal_s: float = 0.5
    name: str = "close_bounded"
    guarantees: tuple[str, ...] = ("G22",)

    def check(self, history: History) -> Finding:
        """Judge the run by the marks of the close and the operations that ended as PoolClosed without being sent."""
        began, ended = history.close_began_ns, history.close_ended_ns
        if began is None:
            return finding(self, Verdict.UNKNOWN, "the pool was not closed")
        if ended is None:
            # If the run was cut off, it is unknown whether the close would have ended.
            verdict = Verdict.FAIL if history.finished else Verdict.UNKNOWN
            return finding(self, verdict, "closing the pool never ended")
        took_s = (ended - began) / 1e9
        late = [
            f"call {op.index} was refused {(op.completed_ns - began) / 1e9:.3f} s after close() began"
            for op in history.ops.take(history.ops.outcome.are("PoolClosed") & history.ops.sent.are("no"))
            if op.invoked_ns < began
            and op.completed_ns is not None
            and (op.completed_ns - began) / 1e9 > self.refusal_s
        ]
        figures: dict[str, float | int | str] = {"close_s": round(took_s, 4)}
        if took_s > self.within_s or late:
            claim = (
                f"close() took {took_s:.2f} s (the limit is {self.within_s:g} s), and {len(late)} waiting "
                "calls were refused too late"
            )
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=late)
        return finding(self, Verdict.PASS, f"close() took {took_s:.2f} s", figures=figures)


class Conserved(msgspec.Struct, frozen=True, kw_only=True):
    """The pool's own counts equal the history's: submitted = the sum of the outcomes, with nothing in flight (G27).

    Outcomes that the face's contract leaves out of the statistics (`uncounted`) must not be in the pool's counts.
    """

    name: str = "conserved"
    guarantees: tuple[str, ...] = ("G27",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_STATISTICS

    def check(self, history: History) -> Finding:
        """Judge the run by the pool's statistics after the last call and the operations."""
        counted = history.statistics
        if counted is None:
            return finding(self, Verdict.UNKNOWN, "the pool's statistics were not recorded")
        seen = history.ops.outcome.counts()
        for outcome in history.info.uncounted:
            seen.pop(outcome, None)
        told = Counter({outcome: count for outcome, count in counted.outcomes.items() if count})
        wrong = [
            f"{outcome}: the pool counted {told[outcome]} calls with this outcome, its callers saw {seen[outcome]}"
            for outcome in sorted(told.keys() | seen.keys())
            if told[outcome] != seen[outcome]
        ]
        if counted.in_flight:
            wrong.append(
                f"{counted.in_flight} calls are still in flight by the pool's count, although every call has ended"
            )
        if counted.submitted != counted.in_flight + sum(told.values()):
            wrong.append(f"{counted.submitted} submitted calls are not {counted.in_flight} + {sum(told.values())}")
        if wrong:
            return finding(
                self, Verdict.FAIL, "the pool's statistics do not agree with what its callers saw", examples=wrong
            )
        return finding(
            self,
            Verdict.PASS,
            f"the pool's statistics of its {counted.submitted} calls agree with what its callers saw",
        )


class NothingLeft(msgspec.Struct, frozen=True, kw_only=True):
    """After the close no process, descriptor or thread is left that was not there before (G20, G21)."""

    name: str = "nothing_left"
    guarantees: tuple[str, ...] = ("G20", "G21")

    def check(self, history: History) -> Finding:
        """Judge the run by the resource snapshots before and after."""
        left = history.leftovers
        if left is None:
            return finding(self, Verdict.UNKNOWN, "nobody counted the resources still held after close()")
        if left == Leftovers():
            return finding(self, Verdict.PASS, "no process, file descriptor or thread was left after close()")
        commands = (*left.commands, *("",) * len(left.processes))
        told = [
            f"process {pid}{f': {command}' if command else ''}"
            for pid, command in zip(left.processes, commands, strict=False)
        ]
        told += [f"file descriptor {name}" for name in left.descriptors]
        told += [f"thread {name}" for name in left.threads]
        return finding(
            self,
            Verdict.FAIL,
            f"{len(told)} processes, file descriptors or threads were left after close()",
            examples=told,
        )
