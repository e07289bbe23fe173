"""A storm over both pools: workers are killed and stopped under calls of all kinds; then calm; then a busy close."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from poolproof.bridge import OUTCOMES, CommandError, Event, EventKind, Pool, PoolClosed, PoolConfig, PoolError
from poolproof.harness.history.history import Leftovers
from poolproof.harness.run.recording.resource_snapshot import leftovers_since, take_census
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import wait_until

SEEDS = (11, 29)
WORKERS = 3
CLIENTS = 5
CALLS = 11
KILLS = 7
STOPS = 4
LONGEST_STOP_S = 0.12
PATIENCE_S = 20.0
SHORT_S = (0.001, 0.01, 0.05, 0.3)
GRACE_S = 0.3
HANG_GUARD_S = 40.0
BAD_FRAMES = ("garbage", "oversize", "not_json", "wrong_id", "truncated")
DEADLY = ("exit", "bad_frame")


class Watch:
    """The pool's observer: the steps of calls, and a pidfd for each living worker, so that no signal goes astray."""

    def __init__(self) -> None:
        self.begun: Counter[int | None] = Counter()
        self.done: list[Event] = []
        self.closed = 0
        self._pidfds: dict[int | None, int] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind is EventKind.ENQUEUE:
                self.begun[event.call] += 1
            elif event.kind is EventKind.DONE:
                self.done.append(event)
            elif event.kind is EventKind.CLOSE:
                self.closed += 1
            elif event.kind is EventKind.SPAWN and event.pid is not None:
                self._pidfds[event.worker] = os.pidfd_open(event.pid)
            elif event.kind is EventKind.REAP:
                os.close(self._pidfds.pop(event.worker))

    def send(self, rng: Random, number: signal.Signals) -> int | None:
        """Send a signal to some living worker; which one."""
        with self._lock:
            if not self._pidfds:
                return None
            worker = rng.choice(sorted(worker for worker in self._pidfds if worker is not None))
            self._signal(worker, number)
            return worker

    def resume(self, worker: int) -> None:
        """Let a stopped worker go on, if it is still there."""
        with self._lock:
            if worker in self._pidfds:
                self._signal(worker, signal.SIGCONT)

    def living(self) -> int:
        """How many workers were started and not reaped."""
        with self._lock:
            return len(self._pidfds)

    def _signal(self, worker: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfds[worker], number)


class Nemesis:
    """Kills and stops workers until it is told to rest, or has done enough."""

    def __init__(self, watch: Watch, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._watch = watch
        self._rng = Random(f"nemesis {seed}")
        self._rest = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def rest(self) -> None:
        """No more faults; what is stopped goes on."""
        self._rest.set()
        join(self.thread)

    def _run(self) -> None:
        deeds = ["kill"] * KILLS + ["stop"] * STOPS
        self._rng.shuffle(deeds)
        for deed in deeds:
            if self._rest.wait(self._rng.uniform(0.01, 0.06)):
                return
            if deed == "kill" and self._watch.send(self._rng, signal.SIGKILL) is not None:
                self.done["kill"] += 1
            elif deed == "stop" and (stopped := self._watch.send(self._rng, signal.SIGSTOP)) is not None:
                self._rest.wait(self._rng.uniform(0.01, LONGEST_STOP_S))
                self._watch.resume(stopped)
                self.done["stop"] += 1


class Caller:
    """One client: makes its calls, and keeps what it saw. Whatever should not be is in `wrong`."""

    def __init__(self, pool: Pool, seed: int, number: int) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._pool = pool
        self._rng = Random(f"client {seed} {number}")
        self._session = f"session-{number}"
        self._number = number
        self._calls = 0
        self._acknowledged: list[int] = []

    def storm(self) -> None:
        """Calls of every kind, for `CALLS` calls. The first two have all the time that they need."""
        self._call("echo", {}, timeout_s=PATIENCE_S)
        self._call("exit", {}, timeout_s=PATIENCE_S)
        kinds = (
            self._plain,
            self._plain,
            self._hurried,
            self._hurried,
            self._in_session,
            self._in_session,
            self._deadly,
        )
        while self._calls < CALLS:
            self._rng.choice(kinds)()

    def until_closed(self) -> None:
        """Calls without end, until one is refused because the pool is closed."""
        while not self.seen["PoolClosed"]:
            self._plain()

    def _plain(self) -> None:
        command, args = self._work()
        self._call(command, args, timeout_s=PATIENCE_S)

    def _hurried(self) -> None:
        command, args = self._work()
        patience_s = self._rng.choice((*SHORT_S, PATIENCE_S))
        self._call(command, args, timeout_s=self._rng.choice(SHORT_S), checkout_timeout_s=patience_s)

    def _late(self) -> None:
        self._call("sleep", {"seconds": PATIENCE_S}, timeout_s=self._rng.choice(SHORT_S))

    def _deadly(self) -> None:
        command = self._rng.choice(DEADLY)
        args = {"kind": self._rng.choice(BAD_FRAMES)} if command == "bad_frame" else {"code": 7}
        self._call(command, args, timeout_s=PATIENCE_S)

    def _in_session(self) -> None:
        timeout_s = self._rng.choice((PATIENCE_S, PATIENCE_S, PATIENCE_S, 0.05))
        value = self._calls
        answer = self._call("append", {"key": "k", "value": value}, session=self._session, timeout_s=timeout_s)
        if not answer:
            return
        self._acknowledged.append(value)
        kept = [held for held in answer["values"] if held in self._acknowledged]
        if self._pool.version == "v2" and kept != self._acknowledged:  # V1 loses a session with its worker, by design
            self.wrong.append(f"{self._session}: {self._acknowledged} were acknowledged, and {kept} are there (G18)")

    def _work(self) -> tuple[str, dict[str, Any]]:
        rng = self._rng
        return rng.choice(
            (
                ("echo", {}),
                ("pid", {}),
                ("sleep", {"seconds": rng.uniform(0.0, 0.1)}),
                ("blob", {"bytes": 300_000}),
                ("echo", {"ballast": "x" * 300_000}),
                ("fail", {}),
            )
        )

    def _call(self, command: str, args: dict[str, Any], **options: Any) -> dict[str, Any] | None:
        self._calls += 1
        nonce = f"nonce {self._number}.{self._calls} "
        args |= {"message": nonce} if command == "fail" else {"nonce": nonce}
        try:
            answer = self._pool.execute(command, args, **options)
        except PoolError as error:
            outcome = type(error).__name__
            self._require(outcome in OUTCOMES, f"{command}: {outcome} is no outcome (G3)")
            if isinstance(error, CommandError):
                self._require(command == "fail" and nonce in str(error), f"{command} {nonce!r}: {error} (G1)")
            self.seen[outcome] += 1
            return None
        except BaseException as error:
            self.wrong.append(f"{command}: {error!r} came through (G3)")
            raise
        found: dict[str, Any] = answer if isinstance(answer, dict) else {}
        self._require(found.get("nonce") == nonce, f"{command} {nonce!r}: the answer is {str(answer)[:200]} (G1)")
        self._require(command not in (*DEADLY, "fail"), f"{command} had a result: {str(answer)[:200]}")
        self.seen["result"] += 1
        return found

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


def begin(work: Callable[[], object]) -> threading.Thread:
    """Start a client's thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    """Wait for threads that must end."""
    for thread in threads:
        thread.join(HANG_GUARD_S)
        assert not thread.is_alive(), f"{thread.name} hangs"


def make_pool(pool_class: type[PoolV1] | type[PoolV2], watch: Watch) -> Pool:
    options: dict[str, Any] = {"workers": WORKERS, "call_timeout_s": PATIENCE_S, "checkout_timeout_s": PATIENCE_S}
    if pool_class is PoolV2:
        options["start_failures_to_open"] = 1000  # an open circuit would refuse the whole storm in no time
    return pool_class(PoolConfig(**options), observer=watch)


def is_whole(pool: Pool) -> bool:
    return [worker.state for worker in pool.status().workers] == ["idle"] * WORKERS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pool_class", [PoolV1, PoolV2], ids=["v1", "v2"])
def test_a_storm_loses_no_call_and_leaves_nothing_behind(pool_class: type[PoolV1] | type[PoolV2], seed: int) -> None:
    before = take_census()
    watch = Watch()
    pool = make_pool(pool_class, watch)
    nemesis = Nemesis(watch, seed)
    callers = [Caller(pool, seed, number) for number in range(CLIENTS)]
    try:
        pool.warm_up()
        threads = [begin(caller.storm) for caller in callers]
        nemesis.thread.start()
        join(*threads)
        nemesis.rest()
        stormy = sum((caller.seen for caller in callers), Counter())
        assert [wrong for caller in callers for wrong in caller.wrong] == []
        assert sum(stormy.values()) == CLIENTS * CALLS
        assert nemesis.done["kill"] > 0, "a storm without a kill is none"
        assert stormy["result"] > 0
        assert stormy["WorkerCrashed"] > 0
        assert stormy["CheckoutTimeout"] + stormy["CallTimeout"] > 0
        assert not stormy["PoolClosed"]

        if pool.version == "v2":
            wait_until(lambda: is_whole(pool) and watch.living() == WORKERS, "the pool is whole again (G8)")
        assert pool.execute("echo", {"value": "calm"}, timeout_s=PATIENCE_S) == "calm"
        closed_at_calls = len(watch.done) + 3 * CLIENTS

        threads = [begin(caller.until_closed) for caller in callers]
        wait_until(lambda: len(watch.done) >= closed_at_calls, "the load is on")
        watch.send(Random(seed), signal.SIGSTOP)
        join(*(begin(lambda: pool.close(GRACE_S)) for _ in range(2)))
        join(*threads)
    finally:
        if nemesis.thread.is_alive():
            nemesis.rest()
        join(begin(lambda: pool.close(0.0)))

    seen = sum((caller.seen for caller in callers), Counter({"result": 1}))
    with pytest.raises(PoolClosed):
        pool.execute("echo")
    seen["PoolClosed"] += 1
    statistics = pool.status().statistics
    assert [wrong for caller in callers for wrong in caller.wrong] == []
    assert statistics.outcomes == {outcome: count for outcome, count in seen.items() if count}, "G27"
    assert (statistics.submitted, statistics.in_flight) == (sum(seen.values()), 0)
    assert Counter(event.detail for event in watch.done) == +seen
    assert set(watch.begun.values()) == {1}, "a call begins once (G3)"
    assert Counter(watch.begun) == Counter(event.call for event in watch.done), "and is over once (G3)"
    assert (watch.living(), watch.closed, pool.status().workers) == (0, 1, ())
    assert leftovers_since(before, patience_s=HANG_GUARD_S) == Leftovers(), "G20, G21"
