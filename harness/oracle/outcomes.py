"""States which outcomes a call may have, from its command, its limits, and the faults of the run.

Rules, each from the guarantees G1 to G27 or the checkout rules:

1. A command that must fail fails, with its own message; a command that cannot fail does not.
2. A command that ends its worker or breaks the frame ends as WorkerCrashed, with what its own worker wrote last.
3. WorkerCrashed otherwise needs a cause: an end of the process that served the call, or of one that could have.
4. A timeout needs that the call had a limit that could be reached (see also the checker `deadlines`).
5. Cancelled needs a client that cancelled, or was interrupted in, this call.
6. QueueFull needs a bounded queue and that many other calls at that time.
7. PoolClosed needs a close or a drain; and either lets the calls that run end within its grace.
8. SessionLost needs that a worker ended, and a session log too short for the session.
9. CircuitOpen needs that as many starts in a row failed as the options say. A worker that ends before its first answer
   counts too, beyond the first two for each place of the pool.
10. A sleep lasts as long as it was asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from poolproof.bridge.safe_text import printable
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History, Op
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import CLIENT_FAULTS, CLOSING, START_FAULTS, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.ends import DEADLY
from poolproof.harness.oracle.waiters import WAITER_LABEL

FAILING = frozenset({"fail"})
UNKNOWN_PREFIX = "unknown_"
CANCELLED_LABELS = ("cancelled", WAITER_LABEL)
"""How the labels of the calls begin that their client may cancel."""
DEADLY_FAULTS = frozenset({FaultKind.KILL, FaultKind.PARENT_KILL, FaultKind.GRANDCHILD, *START_FAULTS})
SHORT_LOG_BYTES = 1 << 20
"""A session log of this size holds every generated session."""
FREE_EARLY_ENDS = 2
"""How many workers in each place of the pool may end before their first answer without a delay of later starts."""
LONG_NS = 10_000_000_000
"""A remaining grace that is longer than any generated call."""


class ExplainedOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Every outcome is explained by the command, its limits and the faults of the run (G1, G3, G4, G13, G22, G25)."""

    name: str = "explained_outcomes"
    guarantees: tuple[str, ...] = ("G1", "G3", "G4", "G13", "G22", "G25")

    def check(self, history: History) -> Finding:
        """Decide from every operation, the journals and the fault records."""
        ops = history.judged_ops
        if not len(ops):
            return finding(self, Verdict.UNKNOWN, "no call was made")
        judge = _Judge(history)
        wrong = [
            f"call {op.index} ({op.command}, nonce {op.nonce}) ended as {op.outcome}: {why}"
            for op in ops
            if op.outcome != "pending"
            for why in judge.objections(op)
        ]
        wrong += judge.objections_to_all()
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} outcomes have no explanation", examples=wrong)
        return finding(self, Verdict.PASS, f"each of {len(ops)} outcomes is explained")


class _Judge:
    def __init__(self, history: History) -> None:
        self._history = history
        ops = history.ops
        faults = [fault for fault in history.faults if fault.landed]
        self._kinds = {fault.kind for fault in faults}
        self._closes = [fault.at_ns for fault in faults if fault.kind in CLOSING]
        if history.trouble and history.close_began_ns is not None:
            self._closes.append(history.close_began_ns)  # the run was given up, so its last calls met the close
        deadly = ops.command.are(*DEADLY) | ops.outcome.are("CallTimeout", "Cancelled")
        self._ended = set(ops.pid[deadly].tolist()) | {f.pid for f in faults if f.kind in DEADLY_FAULTS}
        self._ended -= {NONE, None}
        self._some_end = bool(deadly.any()) or bool(self._kinds & DEADLY_FAULTS)
        self._mapped = history.info.face == "executor"  # where one failure ends all that were mapped with it
        self._failed_starts = [fault.at_ns for fault in faults if fault.kind in START_FAULTS]
        dying = ops.completed_ns[ops.command.are(*DEADLY)]
        self._deaths_ns = np.sort(
            np.array(
                [*dying[dying != NONE].tolist(), *(fault.at_ns for fault in faults if fault.kind in DEADLY_FAULTS)]
            )
        )
        self._interrupts = sum(fault.kind in CLIENT_FAULTS for fault in faults)
        self._served_ns = np.where(history.serving >= 0, _at(history.services.start_ns, history.serving), NONE)
        self._served_end_ns = np.where(history.serving >= 0, _at(history.services.end_ns, history.serving), NONE)
        self._place = {int(index): place for place, index in enumerate(ops.index)}
        self._began = np.sort(ops.invoked_ns)
        self._ends = np.sort(np.where(ops.completed_ns == NONE, np.iinfo(np.int64).max, ops.completed_ns))
        self._nonces = {nonce for nonce, command in ops.rows("nonce", "command") if command == "exit"}

    def objections(self, op: Op) -> Iterator[str]:
        if op.outcome in _RULES:
            yield from _RULES[op.outcome](self, op)
        else:
            yield "no fault of this run and no option of the pool can cause that"
        yield from self._broken_off(op)

    def objections_to_all(self) -> Iterator[str]:
        cancelled = self._history.ops.take(self._history.ops.outcome.are("Cancelled"))
        uncalled = [op for op in cancelled if not op.label.startswith(CANCELLED_LABELS)]
        if len(uncalled) > self._interrupts:
            yield f"{len(uncalled)} calls ended as Cancelled; {self._interrupts} clients were interrupted"
        elif len({op.client for op in uncalled}) > 1:
            yield "calls of several clients ended as Cancelled; only one client was interrupted"

    # One rule for each outcome.

    def _result(self, op: Op) -> Iterator[str]:
        if op.command in FAILING or op.command.startswith(UNKNOWN_PREFIX):
            yield "the command fails"
        if op.command in DEADLY:
            yield "the command ends its worker before it answers"
        if op.command == "sleep":
            yield from self._slept(op)
        if op.command == "pid" and isinstance(op.value, dict) and op.pid is not None and op.value.get("pid") != op.pid:
            yield f"the answer is of process {op.value.get('pid')}; process {op.pid} served the call"

    def _slept(self, op: Op) -> Iterator[str]:
        seconds = op.args.get("seconds")
        if isinstance(op.value, dict) and op.value.get("slept_s") != seconds:
            yield f"it slept {op.value.get('slept_s')} s instead of {seconds} s"
        if op.completed_ns is not None and seconds and (op.completed_ns - op.invoked_ns) / 1e9 < seconds:
            yield f"a sleep of {seconds} s was answered in {(op.completed_ns - op.invoked_ns) / 1e9:.4f} s"

    def _command_error(self, op: Op) -> Iterator[str]:
        if op.command.startswith(UNKNOWN_PREFIX):
            if op.command not in op.error:
                yield f"the error does not name the command: {op.error[:100]}"
        elif op.command in FAILING:
            message = op.args.get("message")
            if isinstance(message, str) and printable(message) not in op.error:
                yield f"the error is not the command's own: {op.error[:100]}"
        elif op.command in _CANNOT_FAIL:
            yield f"the command cannot fail: {op.error[:100]}"

    def _crashed(self, op: Op) -> Iterator[str]:
        if op.command in DEADLY:
            if op.command == "exit":
                yield from self._last_words(op)
        elif op.pid is not None and op.pid in self._ended:
            return
        elif not self._some_end and not self._closes:
            yield "nothing has ended a worker in this run"
        elif op.pid is not None and not self._closes and not self._kinds & START_FAULTS and not self._mapped:
            yield f"nothing has ended process {op.pid}, which served the call"

    def _last_words(self, op: Op) -> Iterator[str]:
        if op.sent != "yes":
            return  # its worker may have ended before the call
        others = [nonce for nonce in self._nonces if nonce != op.nonce and f"nonce {nonce}\n" in f"{op.error}\n"]
        mine = f"nonce {op.nonce}" in op.error
        if others:  # each is written by a worker that ends with this call
            yield f"the error has the last words of the worker of call {others[0]}"
        elif not mine and "options" in self._history.info.capabilities:
            yield f"the error lacks what the worker wrote last: {op.error[:100]}"

    def _timeout(self, op: Op) -> Iterator[str]:
        if op.command in DEADLY and op.timeout_s is None:
            yield "the worker had ended long before"

    def _cancelled(self, op: Op) -> Iterator[str]:
        if not op.label.startswith(CANCELLED_LABELS) and not self._interrupts:
            yield "nobody cancelled the call"

    def _queue_full(self, op: Op) -> Iterator[str]:
        most = self._history.info.options.get("max_queue")
        if most is None:
            yield "the queue has no limit"
        elif op.completed_ns is not None:
            others = int(np.searchsorted(self._began, op.completed_ns, "right"))
            others -= int(np.searchsorted(self._ends, op.invoked_ns, "left")) + 1
            if others < most:
                yield f"{others} other calls were there; {most} may wait"

    def _circuit_open(self, op: Op) -> Iterator[str]:
        info, services = self._history.info, self._history.services
        failed = np.array(self._failed_starts)
        early = 0 if op.completed_ns is None else int(np.searchsorted(self._deaths_ns, op.completed_ns))
        early = max(0, early - FREE_EARLY_ENDS * (info.workers + info.options.get("overflow", 0)))
        if not len(failed) and not early:
            yield "no start of a worker has failed"
        least = info.options.get("start_failures_to_open")
        if least is None or info.workers > 1 or "overflow" in info.options or op.completed_ns is None:
            return  # starts at the same time fail in no order
        begun = services.take(services.start_ns < op.completed_ns) if len(services) else services
        good_ns = max((int(begun.start_ns[begun.pid == pid].min()) for pid in set(begun.pid.tolist())), default=0)
        count = int(((failed > good_ns) & (failed < op.completed_ns)).sum()) + early
        if count < least:
            yield f"{count} starts had failed in a row; start_failures_to_open is {least}"

    def _pool_closed(self, op: Op) -> Iterator[str]:
        if not self._closes:
            yield "the pool was not closed"
        elif op.completed_ns is not None and op.completed_ns < min(self._closes):
            yield "the pool was closed later"

    def _session_lost(self, op: Op) -> Iterator[str]:
        options = self._history.info.options
        recycled = bool({"max_requests", "min_workers", "max_age_s", "overflow"} & options.keys())
        if op.session is None:
            yield "the call is in no session"
        elif not self._some_end and not recycled:
            yield "no worker has ended in this run"
        elif "options" in self._history.info.capabilities and options.get("session_log_bytes", SHORT_LOG_BYTES) >= (
            SHORT_LOG_BYTES
        ):
            yield "the log holds the whole session"

    def _broken_off(self, op: Op) -> Iterator[str]:
        # A call that ran when the close began must end by itself, since the grace is longer than any call.
        if not self._closes or op.outcome not in ("PoolClosed", "WorkerCrashed") or op.command in DEADLY:
            return
        place = self._place[op.index]
        if NONE < self._served_ns[place] < min(self._closes) and op.pid not in self._ended:
            yield "it ran when the close began, and the close gives running calls time"


_CANNOT_FAIL = frozenset(
    {"echo", "sleep", "blob", "binary", "pid", "parts", "put", "get", "delete", "list", "print", "ping"}
)
_RULES: dict[str, Callable[[_Judge, Op], Iterator[str]]] = {
    "result": _Judge._result,
    "CommandError": _Judge._command_error,
    "WorkerCrashed": _Judge._crashed,
    "CallTimeout": _Judge._timeout,
    "CheckoutTimeout": _Judge._timeout,
    "Cancelled": _Judge._cancelled,
    "QueueFull": _Judge._queue_full,
    "CircuitOpen": _Judge._circuit_open,
    "PoolClosed": _Judge._pool_closed,
    "SessionLost": _Judge._session_lost,
}


def _at(values: Any, rows: Any) -> Any:  # noqa: ANN401 - numpy arrays
    return values[rows] if len(values) else np.full(len(rows), NONE)
