"""The position of a migration in this process: follows its source, rolls back at a breach, promotes on schedule.

Independent of pools and calls. Each call reads `step` once; `step` is always replaced as a whole. The source is the
state file or a flag (poolproof.migration.source). A rollback takes effect in this process before it is written to the
source. A change of the source takes effect within `plan.poll_s` seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator

import msgspec

from poolproof.bridge import ConfigError
from poolproof.bridge.clock import now_ns
from poolproof.bridge.safe_text import one_line
from poolproof.migration.plan import Mode, OnBreach, Plan, Position, Side
from poolproof.migration.shadowing.metrics import GuardrailMetrics
from poolproof.migration.source import open_file, open_source
from poolproof.migration.state import Entry, StateConflict, StateError, whoami

logger = logging.getLogger("poolproof.migration")
GUARDRAIL = "guardrail"
AUTOMATIC = "plan"
LOADED = 1.5
"""From this load for each processor on, latencies also measure the machine."""


class Step(msgspec.Struct, frozen=True):
    """The active position, with the step's number for the metrics. `plain`: v1 serves alone and nothing is measured.

    `good` is the entry that is counted for each call of v1 that has a result: step, side and outcome.
    """

    position: Position
    epoch: int
    plain: bool
    good: tuple[int, Side, str] = (0, Side.V1, "result")


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A change of position, as reported to the `on_change` callback."""

    before: Position
    after: Position
    who: str
    why: str


class Control:
    """Controls the position of one migrating pool. A background thread calls `look` repeatedly.

    A source that is lost (a file that is removed, damaged or unreadable, a flag without a valid value) changes nothing:
    the process keeps its position, and says so in `trouble` and in the log until the source is there again. Only a
    process that begins while it is lost uses v1. A change that cannot be written to the source is in force in this
    process until the source has another entry.

    `file` is where followers register, None if the migration is private; `source` is None if only this process sets
    the position.
    """

    def __init__(self, plan: Plan, metrics: GuardrailMetrics, on_change: Callable[[Moved], None] | None = None) -> None:
        self.plan = plan
        self._metrics = metrics
        self._on_change = on_change
        # Held while the position changes, which also writes a file. No call ever takes this lock.
        self._changing = threading.RLock()
        self.file = open_file(plan)
        self.source = open_source(plan, self.file, metrics.urgent.set)
        self._stamp: object = None
        self.entry = Entry(sequence=0, mode=Mode.V1)
        self._unwritten: tuple[Position, str, str, str] | None = None
        self._reported = ""
        self.last_breach = ""
        self._lost = self._alone = ""
        self.paused = ""
        self.step = self._make_step(Position())
        self._since_ns = now_ns()
        self._begin(Position.parse(plan.begin))

    def _begin(self, position: Position) -> None:
        if self.source is not None:
            self._stamp = self.source.stamp()
            entry = self.source.read()
            if entry is None:
                if position.mode is Mode.V1:  # somebody else begins the migration
                    return
                try:
                    entry = self.source.write(position, who=whoami(), why="begun as configured", expected=0)
                except StateConflict:  # another process created the file at the same time
                    entry = self.source.read()
                self._stamp = self.source.stamp()
            if entry is not None:
                self._take(entry, "this process uses v1")
                return
        if position != self.step.position:
            self._set(position, whoami(), "begun as configured")

    @property
    def position(self) -> Position:
        """The active position."""
        return self.step.position

    @property
    def trouble(self) -> str:
        """Why this process may apply another position than the source has, in sentences; empty if it does not."""
        return "; ".join(filter(None, (self._lost, self._alone)))

    @property
    def flag(self) -> str:
        """The flag that sets the position, with its provider; empty if none does."""
        return self.source.name if self.plan.flag and self.source is not None else ""

    @property
    def wanted(self) -> str:
        """The position that the source has; empty if that is not known now."""
        return str(self.entry.position) if self.entry.sequence and not self._lost else ""

    def change(self, position: Position, *, who: str = "", why: str) -> None:
        """Write the position to the source and activate it. If writing fails, raises StateError, without effect."""
        if not why.strip():
            raise ConfigError("why '': a change of a migration needs a reason")
        with self._changing:
            who = who or whoami()
            self._write(position, who, why)
            self._set(position, who, why)

    def roll_back(self, why: str, *, who: str = "") -> None:
        """Roll back to v1 at once: first in this process, then in the source, whatever position that has."""
        with self._changing:
            who = who or whoami()
            if self.flag:
                self._follow()  # this rollback is from what the flag has now, so only its next change ends it
            self._set(Position(), who, why)
            self._unwritten = (Position(), who, why, "")
            self._write_down()

    def pause(self, why: str, *, who: str = "") -> None:
        """Stop the promotion of the migration, here and then in the source. The position stays."""
        with self._changing:
            self.paused = why
            logger.warning("the migration is paused at the step %s: %s", self.position, one_line(why))
            self._unwritten = (self.position, who or whoami(), why, why)
            self._write_down()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Prevent changes during the block. Raises ConfigError unless v1 serves alone."""
        with self._changing:
            if not self.step.plain:
                raise ConfigError(f"the migration is at the step {self.position}, so v2 is in use; roll back first")
            yield

    def look(self) -> None:
        """Follow the source, act on a breach as planned, and promote if the plan is automatic and a step is due."""
        with self._changing:
            self._follow()
            self._write_down()
            if self.step.plain or self.paused:
                return
            if why := self._metrics.find_breach():
                self._breached(why)
            elif self.plan.automatic and self._is_due() and not self.entry.finished:
                following = self.plan.next_step(self.position)
                if following is not None:
                    told = f"{self._metrics.candidate_calls} calls of v2 without a breach"
                    try:
                        self.change(following, who=f"{AUTOMATIC} of {whoami()}", why=told)
                    except StateError as error:
                        logger.error("the migration stays at the step %s: %s", self.position, one_line(error))

    def _breached(self, why: str) -> None:
        if why.startswith("latency") and (load := machine_load()) > LOADED:
            why += f" (the machine itself is loaded: {load:.1f} processes want each processor)"
        self.last_breach = why
        who = f"{GUARDRAIL} of {whoami()}"
        match self.plan.on_breach:
            case OnBreach.ROLLBACK:
                self.roll_back(why, who=who)
            case OnBreach.PAUSE:
                self.pause(why, who=who)
            case OnBreach.REPORT:
                kind = f"{self.step.epoch} {why.partition(':')[0]}"
                if kind != self._reported:  # once for each step and limit, though every look finds it again
                    self._reported = kind
                    logger.error("a limit is breached, and the plan only reports it: %s", one_line(why))

    def _is_due(self) -> bool:
        long_enough = now_ns() - self._since_ns >= self.plan.step_s * 1e9
        return long_enough and self._metrics.candidate_calls >= self.plan.step_calls

    def close(self) -> None:
        """Stop following the source. Idempotent."""
        if self.source is not None:
            self.source.close()

    def _follow(self) -> None:
        if self.source is None:
            return
        stamp = self.source.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        entry = self.source.read()
        if entry is None:
            entry = Entry(sequence=0, mode=Mode.V1, trouble=f"{self.source.name} no longer exists")
        if entry != self.entry or self._lost:
            number = "" if self.plan.flag else f", number {self.entry.sequence}"
            self._take(entry, f"this process keeps {self.position}{number}")

    def _take(self, entry: Entry, otherwise: str) -> None:
        if entry.trouble:
            lost = f"{entry.trouble}; {otherwise}"
            logger.error("the state of the migration is lost: %s", one_line(lost))
            self._lost = lost  # after the log: whoever sees the state finds the reason there
            return
        if self._lost:
            logger.warning("the state of the migration is back: %s", one_line(self._lost))
        self._lost = ""
        if self._unwritten is not None and entry == self.entry:
            return  # it is the entry that our pending change replaces
        self._unwritten, self._alone = None, ""  # whoever made this entry has replaced our pending change
        before, self.entry = self.entry, entry
        resumed = before.paused and not entry.paused
        if entry.position != self.position or resumed:
            self._set(entry.position, entry.who, entry.why)
        self.paused = entry.paused

    def _write(self, position: Position, who: str, why: str, paused: str = "") -> None:
        if self.source is None:
            return
        self.entry = self.source.write(position, who=who, why=why, above=self.entry.sequence, paused=paused)
        self._stamp = self.source.stamp()

    def _write_down(self) -> None:
        if self._unwritten is None:
            return
        position, who, why, paused = self._unwritten
        try:
            self._write(position, who, why, paused)
        except StateError as error:
            told = f"{error}; this process applies {position} nevertheless, until the state changes: {why[:200]}"
            if self._alone != told:  # each look tries again, but the error is logged only once
                self._alone = told
                logger.error("a change of the migration is in force in this process alone: %s", one_line(told))
            return
        self._lost = self._alone = ""
        self._unwritten = None

    def _set(self, position: Position, who: str, why: str) -> None:
        before = self.step.position
        self.paused = ""
        self.step = self._make_step(position)
        self._since_ns = now_ns()
        level = logging.WARNING if position.mode is Mode.V1 and before.mode is not Mode.V1 else logging.INFO
        logger.log(level, "migration: %s to %s by %s: %s", before, position, one_line(who), one_line(why))
        if self._on_change is not None:
            try:
                self._on_change(Moved(before=before, after=position, who=who, why=why))
            except Exception:
                logger.exception("the listener of the migration failed at %s", position)

    def _make_step(self, position: Position) -> Step:
        epoch = self._metrics.restart()
        return Step(position, epoch, position.mode is Mode.V1, self._metrics.good)


def machine_load() -> float:
    """Return the number of processes that want to run for each processor, over the last minute; 0 if unknown."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0
