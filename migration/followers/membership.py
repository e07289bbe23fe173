"""Follows the state of a migration for one pool, and publishes in the register which position this process applies.

A process that cannot register goes on serving; it says so in the log and in `trouble`, and tries again.
"""

from __future__ import annotations

import contextlib
import logging
import time

from poolproof.migration.control import Control, machine_load
from poolproof.migration.followers.record import Record
from poolproof.migration.followers.registry import Registration, forget_dead
from poolproof.migration.sessions import Ledger
from poolproof.migration.shadowing.metrics import GuardrailMetrics

logger = logging.getLogger("poolproof.migration")
HEARTBEAT_S = 0.5


class Membership:
    """The membership of one pool in its migration. Publishes at once; then a watching thread calls `look`."""

    def __init__(self, name: str, control: Control, metrics: GuardrailMetrics, ledger: Ledger) -> None:
        self._name = name
        self._control = control
        self._metrics = metrics
        self._ledger = ledger
        self._unregistered = ""
        self._step = 0
        self._since = self._started = time.time()
        self._published_s = 0.0
        self._told: tuple[object, ...] = ()
        self._registration = None if control.file is None else Registration(control.file.followers_path)
        if control.source is not None:
            logger.info("pool %r follows the migration of %s", name, control.source.name)
        if control.file is not None:
            with contextlib.suppress(OSError):
                forget_dead(control.file.followers_path)
        self._publish()

    @property
    def place(self) -> str:
        """The state file beside which this pool registers; empty if the migration is private."""
        return "" if self._control.file is None else str(self._control.file.path)

    @property
    def trouble(self) -> str:
        """What keeps this process from following, in sentences; empty if nothing does."""
        return "; ".join(filter(None, (self._control.trouble, self._unregistered)))

    def look(self) -> None:
        """Follow the state once, and publish what is served, if that is due or something has changed."""
        try:
            self._control.look()
        finally:
            told = self._essence()
            if told != self._told or time.monotonic() - self._published_s >= HEARTBEAT_S:
                self._publish()

    def close(self) -> None:
        """Follow no more, and leave the register. Idempotent."""
        self._control.close()
        if self._registration is not None:
            self._registration.close()

    def _essence(self) -> tuple[object, ...]:
        control = self._control
        return (control.entry.sequence, control.step.epoch, control.paused, control.trouble, control.last_breach)

    def _publish(self) -> None:
        registration, control = self._registration, self._control
        if registration is None:
            return
        self._told = self._essence()
        self._published_s = time.monotonic()
        step, served, now_s = control.step, self._metrics.served(), time.time()
        if step.epoch != self._step:
            self._step, self._since = step.epoch, now_s
        homes = [record.home.value for record in self._ledger.records() if record.known]
        record = Record(
            pid=registration.pid,
            start_ticks=registration.start_ticks,
            host=registration.host,
            name=self._name,
            started=self._started,
            heard=now_s,
            sequence=control.entry.sequence,
            position=str(step.position),
            flag=control.flag,
            wanted=control.wanted if control.flag else "",
            since=self._since,
            calls=served.calls,
            failed=served.failed,
            copies=served.copies,
            mismatches=served.mismatches,
            sessions={home: homes.count(home) for home in sorted(set(homes))},
            ramp=control.plan.ramp,
            idempotent=tuple(sorted(control.plan.idempotent)),
            load=machine_load(),
            breach=control.last_breach,
            trouble=control.trouble,
        )
        try:
            registration.publish(record)
        except OSError as error:
            told = f"this process cannot register as a follower: {error}"
            if told != self._unregistered:
                logger.error("the migration is not in control of this process's pool: %s", told)
            self._unregistered = told
        else:
            self._unregistered = ""
