"""Shadow mode's copies: separate threads take them from a bounded queue, run them on v2 and compare the responses.

The caller of the original call only pays for a bounded copy of its arguments and its response. If v2 hangs, dies or
raises, only copies are lost (counted as dropped); callers are not affected.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

import msgspec

from poolproof.bridge import Pool
from poolproof.bridge.clock import now_ns
from poolproof.harness.model.intended import Comparing
from poolproof.migration.plan import Plan, Side
from poolproof.migration.shadowing.comparing import Answer, TooLarge, compare_answers, copy_value
from poolproof.migration.shadowing.metrics import GuardrailMetrics

logger = logging.getLogger("poolproof.migration")


class ShadowFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the calls that may be copied. `last` has the last mismatches, in sentences."""

    copied: int
    dropped: int
    too_large: int
    compared: int
    ignored: int
    mismatches: int
    last: tuple[str, ...]


class _Copy(msgspec.Struct, frozen=True):
    epoch: int
    command: str
    args: dict[str, Any]
    answer: Answer


class Shadow:
    """Runs the copies of one migrating pool. `pool` is v2."""

    def __init__(self, pool: Pool, plan: Plan, comparing: Comparing, metrics: GuardrailMetrics) -> None:
        self.pool = pool
        self._plan = plan
        self._comparing = comparing
        self._metrics = metrics
        self._copies: queue.Queue[_Copy | None] = queue.Queue(plan.shadow_queue)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._counts = {"copied": 0, "dropped": 0, "too_large": 0, "compared": 0, "ignored": 0, "mismatches": 0}
        self._last: list[str] = []
        self._stopped = False

    def offer(
        self,
        epoch: int,
        command: str,
        args: dict[str, Any] | None,
        outcome: str,
        value: Any = None,  # noqa: ANN401 - any JSON value
        error: str = "",
    ) -> None:
        """Queue a copy of a call and of v1's response, if there is room. Never waits or raises.

        Runs in the caller's thread, so the caller pays for the copying.
        """
        what = "copied"
        if len(self._copies.queue) >= self._plan.shadow_queue:  # read without a lock
            what = "dropped"
        else:
            try:
                copy = _Copy(epoch, command, copy_value(args or {}), Answer(outcome, copy_value(value), error))
                self._copies.put_nowait(copy)
            except queue.Full:
                what = "dropped"
            except (TooLarge, RecursionError):
                what = "too_large"
        with self._lock:
            self._counts[what] += 1
        if len(self._threads) < self._plan.shadow_threads:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._stopped or len(self._threads) >= self._plan.shadow_threads:
                return
            name = f"migration-shadow-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while (copy := self._copies.get()) is not None and not self._stopped:
            try:
                self._carry_out(copy)
            except Exception:
                logger.exception("a copy of %r could not be compared", copy.command)

    def _carry_out(self, copy: _Copy) -> None:
        start, call = now_ns(), object()
        self._metrics.began(copy.epoch, call, start)
        try:
            value = self.pool.execute(copy.command, copy.args, timeout_s=self._plan.shadow_timeout_s)
            answer = Answer("result", value)
        except Exception as error:
            answer = Answer.of_error(error)
        # A command's own error is a response here: it is compared, and is no failure of v2.
        outcome = "result" if answer.outcome == "CommandError" else answer.outcome
        self._metrics.ended(copy.epoch, Side.V2, call, start, outcome)
        found = compare_answers(copy.command, copy.args, copy.answer, answer, self._comparing)
        with self._lock:
            self._counts["ignored" if found.ignored else "compared"] += 1
            if found.mismatch:
                self._counts["mismatches"] += 1
                self._last = [*self._last[-4:], found.mismatch]
        if not found.ignored:
            self._metrics.compared(copy.epoch, found.mismatch)

    def figures(self) -> ShadowFigures:
        """Return the counts so far."""
        with self._lock:
            return ShadowFigures(**self._counts, last=tuple(self._last))

    def stop(self) -> None:
        """Start no more copies; running copies end with v2. Never waits."""
        self._stopped = True
        for _ in range(self._plan.shadow_threads):
            try:
                self._copies.put_nowait(None)
            except queue.Full:  # then every thread finds a copy, and sees that `_stopped` is set
                return
