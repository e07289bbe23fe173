"""The position of a migration in this process: follows the state file, rolls back at a breach, promotes on schedule.

Independent of pools and calls. Each call reads `step` once; `step` is always replaced as a whole. A rollback takes
effect in this process before it is written to the state file. A change in the file takes effect within `plan.poll_s`
seconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import msgspec

from poolproof.bridge import ConfigError
from poolproof.bridge.clock import now_ns
from poolproof.bridge.safe_text import one_line
from poolproof.migration.plan import Mode, Plan, Position
from poolproof.migration.shadowing.metrics import GuardrailMetrics
from poolproof.migration.state import Entry, StateConflict, StateError, StateFile, whoami

logger = logging.getLogger("poolproof.migration")
GUARDRAIL = "guardrail"
AUTOMATIC = "plan"


class Step(msgspec.Struct, frozen=True):
    """The active position, with the step's number for the metrics. `plain`: v1 serves alone and nothing is measured."""

    position: Position
    epoch: int
    plain: bool


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A change of position, as reported to the `on_change` callback."""

    before: Position
    after: Position
    who: str
    why: str


class Control:
    """Controls the position of one migrating pool. A background thread calls `look` repeatedly."""

    def __init__(self, plan: Plan, metrics: GuardrailMetrics, on_change: Callable[[Moved], None] | None = None) -> None:
        self._plan = plan
        self._metrics = metrics
        self._on_change = on_change
        # Held while the position changes, which also writes a file. No call ever takes this lock.
        self._changing = threading.RLock()
        self._state = None if plan.state_file is None else StateFile(plan.state_file)
        self._stamp: tuple[int, int, int] | None = None
        self._sequence = 0
        self._unwritten: tuple[str, str] | None = None
        self.last_breach = ""
        self.trouble = ""
        self.step = self._make_step(Position())
        self._since_ns = now_ns()
        self._begin(Position.parse(plan.begin))

    def _begin(self, position: Position) -> None:
        if self._state is not None:
            self._stamp = self._state.stamp()
            entry = self._state.read()
            if entry is None:
                try:
                    entry = self._state.write(position, who=whoami(), why="begun as configured", expected=0)
                except StateConflict:  # another process created the file at the same time
                    entry = self._state.read()
                self._stamp = self._state.stamp()
            if entry is not None:
                self._take(entry)
                return
        if position != self.step.position:
            self._set(position, whoami(), "begun as configured")

    @property
    def position(self) -> Position:
        """The active position."""
        return self.step.position

    def change(self, position: Position, *, who: str = "", why: str) -> None:
        """Write the position to the state file and activate it. If writing fails, raises StateError, without effect."""
        if not why.strip():
            raise ConfigError("why '': a change of a migration needs a reason")
        with self._changing:
            who = who or whoami()
            if self._state is not None:
                entry = self._state.write(position, who=who, why=why)
                self._sequence, self._stamp = entry.sequence, self._state.stamp()
            self._set(position, who, why)

    def roll_back(self, why: str, *, who: str = "") -> None:
        """Roll back to v1 at once: first in this process, then in the state file, whatever position the file has."""
        with self._changing:
            who = who or whoami()
            self._set(Position(), who, why)
            self._unwritten = (who, why)
            self._write_down()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Prevent changes during the block. Raises ConfigError unless v1 serves alone."""
        with self._changing:
            if not self.step.plain:
                raise ConfigError(f"the migration is at the step {self.position}, so v2 is in use; roll back first")
            yield

    def look(self) -> None:
        """Follow the state file, roll back at a breach, and promote if the plan is automatic and a step is due."""
        with self._changing:
            self._follow()
            self._write_down()
            if self.step.plain:
                return
            if why := self._metrics.find_breach():
                self.last_breach = why
                self.roll_back(why, who=f"{GUARDRAIL} of {whoami()}")
            elif self._plan.automatic and self._is_due():
                following = self._plan.next_step(self.position)
                if following is not None:
                    told = f"{self._metrics.candidate_calls} calls of v2 without a breach"
                    try:
                        self.change(following, who=f"{AUTOMATIC} of {whoami()}", why=told)
                    except StateError as error:
                        logger.error("the migration stays at the step %s: %s", self.position, one_line(error))

    def _is_due(self) -> bool:
        long_enough = now_ns() - self._since_ns >= self._plan.step_s * 1e9
        return long_enough and self._metrics.candidate_calls >= self._plan.step_calls

    def _follow(self) -> None:
        if self._state is None:
            return
        stamp = self._state.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        entry = self._state.read()
        if entry is None:
            entry = Entry(sequence=0, mode=Mode.V1, trouble=f"{self._state.path} no longer exists")
        if entry.trouble or entry.sequence != self._sequence:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._sequence = entry.sequence
        self.trouble = entry.trouble
        self._unwritten = None  # the process that wrote this entry replaced our pending rollback
        if entry.trouble:
            logger.error("the migration falls back to v1: %s", one_line(entry.trouble))
            self._set(Position(), "state file", entry.trouble)
        elif entry.position != self.position:
            self._set(entry.position, entry.who, entry.why)

    def _write_down(self) -> None:
        if self._state is None or self._unwritten is None:
            return
        who, why = self._unwritten
        try:
            entry = self._state.write(Position(), who=who, why=why)
        except StateError as error:
            if self.trouble != str(error):  # each look tries again, but the error is logged only once
                self.trouble = str(error)
                logger.error(
                    "the rollback is in effect in this process, but could not be written to the state file: %s",
                    one_line(error),
                )
            return
        self.trouble = ""
        self._unwritten = None
        self._sequence, self._stamp = entry.sequence, self._state.stamp()

    def _set(self, position: Position, who: str, why: str) -> None:
        before = self.step.position
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
        return Step(position, self._metrics.restart(), position.mode is Mode.V1)
