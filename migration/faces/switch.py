"""What a face of a migration needs besides its two sides: the position, the limits, and the register of followers."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

import msgspec

from poolproof.bridge import ConfigError
from poolproof.migration.control import Control, Moved
from poolproof.migration.followers.membership import Membership
from poolproof.migration.limits.guardrails import Figures
from poolproof.migration.plan import Plan, Position
from poolproof.migration.sessions import Ledger
from poolproof.migration.shadowing.metrics import GuardrailMetrics, Served
from poolproof.migration.turns import Turns
from poolproof.migration.watch import Watch


class SwitchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a migration in this process; see poolproof.migration.Report."""

    position: str
    windows: Figures
    served: Served
    last_breach: str
    trouble: str
    paused: str
    state_file: str
    flag: str


class Switch:
    """The switch of one face. It follows the state of the plan as `MigratingPool` does, until it is closed.

    A face that copies no calls treats shadow mode as v1. Raises ConfigError for an invalid plan, StateError if the
    state file cannot be written.
    """

    def __init__(self, name: str, plan: Plan, ledger: Ledger, on_change: Callable[[Moved], None] | None = None) -> None:
        self.plan = plan
        self.pid = os.getpid()
        self.metrics = GuardrailMetrics(plan.guardrails)
        self.control = Control(plan, self.metrics, on_change)
        self.turns = Turns(self.control, self.metrics)
        self._membership = Membership(name, self.control, self.metrics, ledger)
        self._watch = Watch(self._membership, self.metrics.urgent, plan.poll_s)
        weakref.finalize(self, self._membership.close)

    @property
    def position(self) -> Position:
        """The position of the migration in this process."""
        return self.control.position

    def change(self, position: Position | str, *, why: str, who: str = "") -> None:
        """Activate a position here and in the state file. Raises ConfigError, and StateError, without effect then."""
        self.control.change(Position.parse(position) if isinstance(position, str) else position, who=who, why=why)

    def promote(self, *, why: str, who: str = "") -> Position:
        """Go to the plan's next step and return it. Raises ConfigError if there is none."""
        following = self.plan.next_step(self.position)
        if following is None:
            raise ConfigError("v2 serves everything already, so there is no next step")
        self.change(following, who=who, why=why)
        return following

    def roll_back(self, *, why: str, who: str = "") -> None:
        """Let v1 serve everything from now on, even if the state file cannot be written."""
        self.control.roll_back(why, who=who)

    def report(self) -> SwitchReport:
        """Return the state of the migration and the figures of the guardrails."""
        return SwitchReport(
            position=str(self.position),
            windows=self.metrics.figures(),
            served=self.metrics.served(),
            last_breach=self.control.last_breach,
            trouble=self._membership.trouble,
            paused=self.control.paused,
            state_file=self._membership.place,
            flag=self.control.flag,
        )

    def close(self) -> None:
        """Stop following. Idempotent."""
        self._watch.stop()
        self._membership.close()
