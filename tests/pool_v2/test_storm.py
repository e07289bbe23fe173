"""Many calls of many threads at once, written ahead and not, observed and not, while workers are killed and stopped."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import Event, EventKind, PoolError, Sent
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.pool_v2 import PoolV2

CLIENTS = 16
CALLS = 120
HARD_LIMIT_S = 120.0
LARGE = "x" * 200_000
Told = tuple[str, str, Sent | None]


def call_often(pool: PoolV2, client: int, seed: int) -> list[Told]:
    """Calls of all kinds; for each its nonce, its outcome and what it was told of its sending."""
    chance = random.Random(seed * 1000 + client)
    told: list[Told] = []
    for number in range(CALLS):
        nonce = f"{client}-{number}"
        args: dict[str, Any] = {"value": LARGE if chance.random() < 0.02 else nonce, "nonce": nonce}
        limits: dict[str, Any] = {}
        if chance.random() < 0.1:
            limits["checkout_timeout_s"] = chance.choice([0.0005, 0.002, 0.01, 0.05])
        if chance.random() < 0.1:
            limits["timeout_s"] = chance.choice([0.001, 0.003, 0.01, 0.05, 0.3])
        slow = chance.random() < 0.03
        try:
            if slow:
                pool.execute("sleep", {"seconds": chance.choice([0.001, 0.02, 0.1]), "nonce": nonce}, **limits)
            else:
                assert pool.execute("echo", args, **limits) == args["value"]
            told.append((nonce, "result", None))
        except PoolError as error:
            told.append((nonce, type(error).__name__, error.sent))
    return told


def injure(pool: PoolV2, seed: int, done: threading.Event) -> int:
    """Kill workers, and stop some for a while, until it is done; how many were killed."""
    chance, killed = random.Random(seed), 0
    while not done.wait(chance.random() * 0.1):
        pids = [worker.pid for worker in pool.status().workers if worker.pid]
        if not pids or chance.random() < 0.5:
            continue
        pid, kill = chance.choice(pids), chance.random() < 0.5
        try:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGSTOP)
            killed += kill
            if not kill:
                done.wait(chance.random() * 0.05)
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
    return killed


def require_steps(events: list[Event]) -> None:
    """Each call was told once from its begin to its end, and each worker that it had was told once."""
    calls: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event.call is not None:
            calls[event.call].append(event)
    for call, steps in calls.items():
        kinds = Counter(event.kind for event in steps)
        assert (steps[0].kind, steps[-1].kind) == (EventKind.ENQUEUE, EventKind.DONE), call
        assert (kinds[EventKind.ENQUEUE], kinds[EventKind.DONE]) == (1, 1), call
        had = [event.worker for event in steps if event.kind is EventKind.ACCEPT]
        assert len(had) == len(set(had)), f"call {call} has taken one worker twice: {steps}"
        assert {event.worker for event in steps if event.kind is EventKind.SEND} <= set(had), call
        assert kinds[EventKind.RECEIVE] <= kinds[EventKind.SEND] <= 1, call
        if steps[-1].detail == "result":
            assert (kinds[EventKind.RECEIVE], kinds[EventKind.CHECKIN]) == (1, 1), call


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize(
    ("seed", "options"), [(1, {}), (2, {"overflow": 2}), (3, {"max_requests": 100}), (4, {"idle_order": "hot"})]
)
def test_each_call_has_its_own_answer_and_one_outcome_and_runs_once_at_most(
    make_pool: Any, client: Any, tmp_path: Path, log: Any, seed: int, options: dict[str, Any], observed: bool
) -> None:
    # Workers are killed while they start, too: on a slow machine that would open the circuit, and no call be made.
    pool = make_pool(
        log if observed else None,
        workers=4,
        start_failures_to_open=1000,
        env={JOURNAL_VARIABLE: str(tmp_path)},
        **options,
    )
    done = threading.Event()
    nemesis = client(injure, pool, seed, done)
    try:
        clients = [client(call_often, pool, number, seed) for number in range(CLIENTS)]
        for caller in clients:
            caller.thread.join(HARD_LIMIT_S)
        told = [each for caller in clients for each in caller.result()]
    finally:
        done.set()
    nemesis.result()
    status = pool.status()
    pool.close()
    ran = Counter(entry.nonce for entry in read_journals(tmp_path))

    assert (status.waiting, status.statistics.in_flight) == (0, 0)
    assert status.statistics.outcomes == Counter(outcome for _, outcome, _ in told)
    assert sum(outcome == "result" for _, outcome, _ in told) > len(told) / 2
    for nonce, outcome, sent in told:
        assert ran[nonce] <= 1, nonce
        assert ran[nonce] == 1 or outcome != "result", nonce
        assert ran[nonce] == 0 or sent is not Sent.NO, nonce
        assert ran[nonce] == 0 or outcome != "CheckoutTimeout", nonce
    assert not pool._engine.coordinator.held
    require_steps(log.events)
    assert len(log.of(EventKind.DONE)) == (len(told) if observed else 0)
