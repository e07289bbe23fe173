"""The migration over real pools: changes under load, a v2 that hangs, sessions that cross, two processes, scenarios."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from poolproof.bridge import Observer, PoolConfig, PoolError
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import as_subject
from poolproof.migration import Guardrails, MigratingPool, Plan, Position, StateFile
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import stop

Eventually = Callable[..., None]
NEVER_SLOW = Guardrails(max_latency_ratio=10**6, latency_slack_s=60)
"""This machine is not the tests' own."""


@pytest.fixture
def real(family: Callable[[], set[psutil.Process]], until: Eventually) -> Iterator[Callable[..., MigratingPool]]:
    """Make migrating pools over real ones; closed at the end, with no worker left."""
    before = family()
    made: list[MigratingPool] = []

    def make(*, workers: int = 2, **options: Any) -> MigratingPool:
        config = PoolConfig(workers=workers, checkout_timeout_s=60.0)
        plan = Plan(**{"guardrails": NEVER_SLOW, **options})
        made.append(MigratingPool(PoolV1(config), PoolV2(config), plan))
        return made[-1]

    yield make
    for pool in made:
        pool.close(0.0)
    until(lambda: family() <= before, "no worker is left")


def test_changes_under_load_lose_no_call_and_no_value(real: Callable[..., MigratingPool]) -> None:
    pool = real(idempotent=frozenset({"echo"}))
    troubles: list[str] = []
    rounds = itertools.count()
    over = threading.Event()

    def work(client: int) -> None:
        held: dict[str, list[str]] = {}
        for number in itertools.count():
            if over.is_set():
                return
            next(rounds)
            nonce, session = f"{client}/{number}", f"{client}-{number % 3}-{number // 30}"
            values = held.setdefault(session, [])
            try:
                if pool.execute("echo", {"value": nonce}, timeout_s=60) != nonce:
                    troubles.append(f"{nonce} has another's answer")
                values.append(nonce)
                found = pool.execute("append", {"key": "k", "value": nonce}, session=session, timeout_s=60)
                if found["values"] != values:
                    troubles.append(f"{session}: {found['values']} in place of {values}")
            except PoolError as error:
                troubles.append(f"{nonce}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(client,)) for client in range(3)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    for position in ("shadow", "canary:50", "v2", "v1", "canary:25", "v2", "shadow", "canary:99", "v1"):
        goal = next(rounds) + 25
        while next(rounds) < goal + 25 and not troubles:
            pause.wait(0.02)
        pool.change(position, why="under load")
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a client hangs"
    assert troubles == []
    statistics = pool.status().statistics
    assert (statistics.in_flight, set(statistics.outcomes)) == (0, {"result"})
    assert pool.report().shadow.mismatches == 0


def test_a_stopped_v2_hurts_no_caller_in_shadow(real: Callable[..., MigratingPool], until: Eventually) -> None:
    patient = msgspec.structs.replace(NEVER_SLOW, max_failures_in_row=10**6, min_calls=10**6)
    plan: dict[str, Any] = {"shadow_queue": 4, "shadow_timeout_s": 0.5, "idempotent": frozenset({"echo"})}
    pool = real(begin="shadow", guardrails=patient, **plan)
    pool.warm_up()
    candidate = pool._traffic.pools[Position.parse("v2").uses[0]]
    for worker in candidate.status().workers:
        stop(worker.pid)
    numbers = itertools.count()

    def many_dropped() -> bool:
        number = next(numbers)
        assert pool.execute("echo", {"value": number}) == number
        return pool.report().shadow.dropped >= 40

    until(many_dropped, "the queue is full of copies that hang")
    assert pool.status().statistics.outcomes == {"result": next(numbers)}
    until(lambda: pool.report().windows.failed["v2"] >= 1, "the copies end by their own timeout")


def test_a_v2_whose_workers_cannot_start_is_rolled_back_and_nobody_fails(
    family: Callable[[], set[psutil.Process]], until: Eventually
) -> None:
    broken = PoolConfig(workers=1, worker_command="false", start_timeout_s=0.5, start_failures_to_open=1)
    plan = Plan(begin="canary:50", guardrails=NEVER_SLOW)
    with MigratingPool(PoolV1(PoolConfig(workers=1)), PoolV2(broken), plan) as pool:

        def rolled_back() -> bool:
            assert pool.execute("echo", {"value": 1}, timeout_s=60) == 1
            return pool.position == Position()

        until(rolled_back, "it rolls back")
        assert "calls of v2 all failed" in pool.report().last_breach
    until(lambda: not family(), "no worker is left")


def test_another_process_follows_the_file(tmp_path: Path, until: Eventually) -> None:
    path = tmp_path / "state"
    code = (
        "import sys; from poolproof.bridge import PoolConfig\n"
        "from poolproof.migration import MigratingPool, Plan\n"
        "from poolproof.pool_v1 import PoolV1; from poolproof.pool_v2 import PoolV2\n"
        "c = PoolConfig(workers=1)\n"
        "told = lambda moved: print(moved.after, flush=True)\n"
        "with MigratingPool(PoolV1(c), PoolV2(c), Plan(state_file=sys.argv[1]), on_change=told) as pool:\n"
        "    print(pool.execute('echo', {'value': 'ready'}), flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        StateFile(path).write(Position.canary(25), who="anna", why="from elsewhere")
        assert other.stdout.readline() == "canary:25\n"
        StateFile(path).write(Position(), who="anna", why="from elsewhere")
        assert other.stdout.readline() == "v1\n"
        other.communicate(timeout=60)
    assert other.returncode == 0


def test_a_pool_that_is_dropped_leaves_no_thread_and_no_worker(
    family: Callable[[], set[psutil.Process]], until: Eventually
) -> None:
    def use() -> None:
        config = PoolConfig(workers=1)
        plan = Plan(begin="shadow", idempotent=frozenset({"echo"}))
        pool = MigratingPool(PoolV1(config), PoolV2(config), plan)
        pool.execute("echo", {"value": 1})

    use()
    until(lambda: not any(t.name.startswith("migration-") for t in threading.enumerate()), "its threads end")
    until(lambda: not family(), "its workers end")


def _half_way(config: PoolConfig, observer: Observer | None) -> MigratingPool:
    name = config.name or "half"
    return MigratingPool(
        PoolV1(PoolConfig(workers=config.workers, name=f"{name}-v1")),
        PoolV2(PoolConfig(workers=config.workers, name=f"{name}-v2")),
        Plan(begin="canary:50", guardrails=NEVER_SLOW),
    )


@pytest.mark.parametrize("name", ["command_errors", "session_state"])
def test_a_pool_half_way_passes_scenarios(name: str, tmp_path: Path) -> None:
    [scenario] = find_scenarios([name])
    request = Request(size=Size(workers=2, clients=3))
    result = run(scenario, as_subject(_half_way, "half_way"), request, tmp_path)
    assert not result.trouble
    failed = [f"{found.checker}: {found.claim}" for found in result.findings if found.verdict is Verdict.FAIL]
    assert failed == []
    assert any(found.verdict is Verdict.PASS for found in result.findings)
