"""A steady load on one pool, with regular checks of its status, its health and its memory.

Knows nothing of verdicts. Every answer is checked: an echo must return its own nonce, a session its own last value.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

import psutil

from poolproof.bridge import Capability, Pool, PoolConfig, PoolError
from poolproof.harness.model.errors import RunError
from poolproof.harness.readiness.checklist import Soak
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Subject

LOOK_S = 0.1
ROUND = 25
"""After this many calls a client ends its session, so that the load itself leaves no session behind."""
MOST_TOLD = 20
STOP_WAIT_S = 60.0


def soak(subject: Subject, *, workers: int, clients: int, seconds: float) -> Soak:
    """Load the pool with `clients` threads for `seconds`. Raises RunError if the pool breaks or a call hangs.

    Each client calls at least once, even if it can only begin later, as may happen on a busy machine.
    """
    try:
        pool = subject.make(PoolConfig(name=pool_name("soak", subject.name), workers=workers), None)
    except PoolError as error:
        raise RunError(f"the soak of {subject.name} could not begin: {error}") from error
    try:
        if Capability.WARM_UP in subject.capabilities:
            pool.warm_up()
        return _Load(pool, subject, clients, seconds).carry_out()
    except PoolError as error:
        raise RunError(f"the soak of {subject.name} broke: {error}") from error
    finally:
        pool.close()


class _Load:
    def __init__(self, pool: Pool, subject: Subject, clients: int, seconds: float) -> None:
        self._pool = pool
        self._subject = subject
        self._clients = clients
        self._seconds = seconds
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._alarms: list[str] = []
        self._looks = 0
        self._samples: list[tuple[float, float]] = []
        self._begun = time.monotonic()

    def carry_out(self) -> Soak:
        end = self._begun + self._seconds
        threads = [
            threading.Thread(target=self._call, args=(number, end), name=f"soak-{number}", daemon=True)
            for number in range(self._clients)
        ]
        for thread in threads:
            thread.start()
        self._look()
        while time.monotonic() < end:
            time.sleep(LOOK_S)
            self._look()
        for thread in threads:
            thread.join(STOP_WAIT_S)
            if thread.is_alive():
                raise RunError(
                    f"the soak of {self._subject.name}: a call was still running {STOP_WAIT_S:g} s after the load's end"
                )
        return Soak(
            pool=self._subject.name,
            seconds=self._seconds,
            outcomes=dict(self._outcomes),
            wrong=tuple(self._wrong),
            looks=self._looks,
            alarms=tuple(self._alarms),
            samples=tuple(self._samples),
        )

    def _call(self, client: int, end: float) -> None:
        number = 0
        with_sessions = Capability.SESSIONS in self._subject.capabilities
        while number == 0 or time.monotonic() < end:
            number += 1
            nonce = f"{client}/{number}"
            self._expect(nonce, "echo", {"value": nonce}, None, nonce)
            if not with_sessions:
                continue
            session = f"soak-{client}-{number // ROUND}"
            if self._expect(nonce, "put", {"key": "k", "value": nonce}, session, None):
                self._expect(nonce, "get", {"key": "k"}, session, nonce)
            if number % ROUND == ROUND - 1:
                with contextlib.suppress(PoolError):
                    self._pool.end_session(session)

    def _expect(
        self, nonce: str, command: str, args: dict[str, str], session: str | None, expected: str | None
    ) -> bool:
        outcome, told = "result", ""
        try:
            value = self._pool.execute(command, dict(args), session=session)
            found = value.get("value") if isinstance(value, dict) else value
            if expected is not None and found != expected:
                told = f"{command} {nonce}: {found!r:.60} was returned in place of the call's own answer"
        except PoolError as error:
            outcome = type(error).__name__
        with self._lock:
            self._outcomes[outcome] += 1
            if told and len(self._wrong) < MOST_TOLD:
                self._wrong.append(told)
        return outcome == "result"

    def _look(self) -> None:
        self._looks += 1
        alarm = ""
        try:
            status, health = self._pool.status(), self._pool.health_check()
            counted = status.statistics
            if counted.submitted != counted.in_flight + sum(counted.outcomes.values()):
                alarm = f"the pool's statistics do not add up: {counted}"
            elif not health.healthy:
                alarm = "; ".join(health.reasons) or "not healthy"
            self._samples.append((time.monotonic() - self._begun, _resident([w.pid for w in status.workers])))
        except PoolError as error:
            alarm = f"{type(error).__name__}: {error}"
        if alarm and len(self._alarms) < MOST_TOLD:
            self._alarms.append(alarm)


def _resident(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total
