"""A lease: who may use it and until when, and what happens to the worker if a call or the worker itself ends early."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    EventKind,
    InvalidRequest,
    LeaseError,
    WorkerCrashed,
)
from poolproof.bridge.processes.channel import Channel
from poolproof.pool_v2 import Lease, PoolV2
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
K = EventKind


def unread_bytes(pool: PoolV2) -> int:
    """How much lies in the stdin pipe of the pool's one worker."""
    (worker,) = pool._engine.coordinator.workers.values()
    answer = fcntl.ioctl(cast(Channel, worker.transport).process.stdin_fd, termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def test_a_lease_keeps_one_worker_for_all_its_calls(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    with pool.checkout() as worker:
        assert isinstance(worker, Lease)
        worker.execute("put", {"key": "k", "value": [1]})
        assert worker.execute("get", {"key": "k"})["value"] == [1]
        assert [worker.execute("pid")["pid"] for _ in range(4)] == [worker.pid] * 4
        assert worker.execute("pid")["worker_id"] == worker.worker_id
    assert pool.status().statistics.outcomes == {"result": 7}


def test_use_after_checkin_raises_and_writes_no_byte(make_pool: MakePool, log: Any) -> None:
    # F5: the worker is stopped, so whatever is written stays in its pipe.
    pool = make_pool(log)
    with pool.checkout() as worker:
        pid = worker.pid
        worker.execute("ping")
    stop(pid)
    try:
        for use in (
            lambda: worker.execute("ping"),
            lambda: worker.update("hello"),
            lambda: worker.pid,
            lambda: worker.worker_id,
        ):
            with pytest.raises(LeaseError, match="this lease has ended"):
                use()
        assert unread_bytes(pool) == 0
        assert len(log.of(K.SEND)) == 1
        assert pool.status().statistics.submitted == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert pool.execute("echo", {"value": 1}) == 1


def test_a_lease_may_be_ended_early_and_again(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    with pool.checkout() as worker:
        pid = worker.pid
        worker.end()
        assert pool.execute("pid")["pid"] == pid
        worker.end(ValueError("too late"))
    assert pool.execute("pid")["pid"] == pid
    assert log.of(K.KILL) == []
    assert len([e for e in log.of(K.CHECKIN) if e.call == 1]) == 1


def test_another_thread_cannot_use_a_lease(make_pool: MakePool, client: Any, log: Any) -> None:
    pool = make_pool(log)
    with pool.checkout() as worker:
        for use in (lambda: worker.execute("ping"), lambda: worker.update("hello")):
            with pytest.raises(LeaseError, match="belongs to the thread that opened it"):
                client(use).result()
        assert log.of(K.SEND) == []
        assert worker.execute("echo", {"value": 1}) == 1
    assert pool.status().statistics.outcomes == {"result": 1}


def test_another_thread_may_end_a_lease_between_its_calls_and_not_in_one(
    make_pool: MakePool, client: Any, log: Any, in_exchange: Any
) -> None:
    errors: list[BaseException] = []

    def meddle(number: int) -> None:
        if number == 2:
            meddler = client(worker.end)
            meddler.join()
            errors.append(meddler.error)

    pool = make_pool(log)
    in_exchange(meddle)
    with pool.checkout() as worker:
        assert worker.execute("echo", {"value": 1}) == 1
        client(worker.end).result()
        with pytest.raises(LeaseError, match="this lease has ended"):
            worker.execute("ping")
    assert [str(error) for error in errors] == ["this lease is in the middle of a call and cannot be ended now"]
    assert pool.execute("echo", {"value": 2}) == 2
    assert log.of(K.KILL) == []


def test_a_call_within_a_call_on_one_lease_is_refused(make_pool: MakePool, in_exchange: Any) -> None:
    # As from a signal's handler: it comes into the middle of an exchange, in the lease's own thread.
    errors: list[str] = []

    def nest(number: int) -> None:
        if number == 2:
            for use in (lambda: worker.execute("ping"), worker.end):
                with pytest.raises(LeaseError) as caught:
                    use()
                errors.append(str(caught.value))

    pool = make_pool()
    in_exchange(nest)
    with pool.checkout() as worker:
        assert worker.execute("echo", {"value": "mine"}) == "mine"
        assert worker.execute("echo", {"value": "again"}) == "again"
    assert len(errors) == 2
    assert pool.status().statistics.outcomes == {"result": 2}


def test_one_thread_may_hold_two_leases_and_is_told_if_it_waits_for_itself(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    with pool.checkout() as one, pool.checkout() as two:
        assert one.execute("pid")["pid"] != two.execute("pid")["pid"]
        with pytest.raises(CheckoutTimeout) as caught:
            pool.checkout(checkout_timeout_s=0.01)
        assert len(caught.value.holders) == 2
        assert "call 1 holds worker" in str(caught.value)


def test_an_error_of_a_command_leaves_the_lease_as_it_is(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    with pool.checkout() as worker:
        with pytest.raises(CommandError, match="as asked"):
            worker.execute("fail", {"message": "as asked"})
        with pytest.raises(InvalidRequest):
            worker.execute("echo", {"value": object()})
        assert worker.execute("echo", {"value": 1}) == 1
    assert log.of(K.KILL) == []
    assert pool.status().statistics.outcomes == {"CommandError": 1, "InvalidRequest": 1, "result": 1}


def test_a_call_s_timeout_within_a_lease_ends_the_worker_and_the_lease(
    make_pool: MakePool, log: Any, spy: Any, gone: Any, all_idle: Any
) -> None:
    spied = spy()
    pool = make_pool(log, spied)
    with pool.checkout() as worker:
        pid = worker.pid
        with pytest.raises(CallTimeout) as caught:
            worker.execute("sleep", {"seconds": 60}, timeout_s=0.1)
        assert caught.value.sent == "yes"
        with pytest.raises(LeaseError, match="was broken off"):
            worker.execute("ping")
        log.wait_for(K.REAP)
        assert gone(pid)
        assert pool.execute("pid")["pid"] != pid, "its place is taken while the block goes on"
        with pytest.raises(LeaseError, match="was broken off"):
            worker.execute("ping")
    assert spied.wait_for("terminate_worker")[0] is caught.value
    all_idle(pool, 1)
    assert len(log.of(K.SPAWN)) == 2
    assert pool.status().statistics.outcomes == {"CallTimeout": 1, "result": 1}


def test_a_lease_s_timeout_ends_its_worker_and_the_next_call_is_told(
    make_pool: MakePool, log: Any, spy: Any, all_idle: Any
) -> None:
    spied = spy()
    pool = make_pool(log, spied)
    pool.warm_up()
    with pool.checkout(timeout_s=0.2) as worker:
        pid = worker.execute("pid")["pid"]
        log.wait_for(K.REAP)
        assert pool.execute("pid")["pid"] != pid, "its place is taken while the block goes on"
        for _ in range(2):
            with pytest.raises(CallTimeout, match="has passed its deadline") as caught:
                worker.execute("ping")
            assert caught.value.sent == "no"
    assert isinstance(spied.wait_for("terminate_worker")[0], CallTimeout)
    assert len(spied.of("checkin")) == 1, "only the other call's worker was given back"
    all_idle(pool, 1)
    assert log.of(K.KILL)[0].detail == "CallTimeout"
    assert pool.status().statistics.outcomes == {"CallTimeout": 2, "result": 2}


def test_a_lease_s_timeout_bounds_the_call_in_it(make_pool: MakePool, all_idle: Any) -> None:
    pool = make_pool()
    pool.warm_up()
    with pytest.raises(CallTimeout):
        with pool.checkout(timeout_s=0.2) as worker:
            worker.execute("sleep", {"seconds": 60}, timeout_s=60.0)
    all_idle(pool, 1)


def test_a_call_s_timeout_does_not_shorten_the_lease(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=2)
    pool.warm_up()
    with pool.checkout() as worker:
        pid = worker.execute("pid", timeout_s=2.0)["pid"]
        with pytest.raises(CallTimeout):
            pool.execute("sleep", {"seconds": 60}, timeout_s=2.1)
        assert worker.execute("pid")["pid"] == pid
    assert {event.pid for event in log.of(K.KILL)} == {e.pid for e in log.of(K.SPAWN)[:2]} - {pid}


def test_a_worker_that_dies_between_two_calls_of_a_lease_is_replaced_at_once(
    make_pool: MakePool, log: Any, spy: Any
) -> None:
    spied = spy()
    pool = make_pool(log, spied)
    with pool.checkout() as worker:
        pid = worker.pid
        worker.execute("print", {"bytes": 3, "stream": "stderr"})
        os.kill(pid, signal.SIGKILL)
        log.wait_for(K.REAP)
        assert pool.execute("pid")["pid"] != pid
        with pytest.raises(WorkerCrashed, match="between two calls of its lease") as caught:
            worker.execute("ping")
        assert caught.value.sent == "no"
        assert "ppp" in caught.value.stderr_tail
        with pytest.raises(WorkerCrashed):
            _ = worker.pid
    assert isinstance(spied.wait_for("terminate_worker")[0], WorkerCrashed)


@pytest.mark.parametrize("with_hooks", [False, True])
def test_a_client_never_gets_a_worker_that_has_died_while_idle(
    make_pool: MakePool, spy: Any, log: Any, client: Any, until: Any, held_up: Any, with_hooks: bool
) -> None:
    # The supervisor does not notice it in time: it is held up when the second worker is ready.
    go_on = held_up(K.READY, count=2)

    def use() -> int:
        with pool.checkout(checkout_timeout_s=60.0) as worker:
            return int(worker.execute("pid")["pid"])

    pool = make_pool(log, spy() if with_hooks else None, workers=2)
    log.wait_for(K.READY, count=2)
    (dead,) = until(pool._engine.coordinator.idle_workers, "the first worker is idle")
    os.kill(dead.transport.process.pid, signal.SIGKILL)
    until(dead.transport.process.exited, "it is dead")
    user = client(use)
    log.wait_for(K.CHECKIN, worker=dead.worker_id, count=2 if with_hooks else 1)
    go_on.set()
    assert user.result() != dead.transport.process.pid


def test_a_lease_in_a_generator_ends_with_it(make_pool: MakePool, log: Any, all_idle: Any) -> None:
    pool = make_pool(log)

    def numbers() -> Iterator[int]:
        with pool.checkout() as worker:
            for n in range(10):
                yield worker.execute("echo", {"value": n})

    for n in numbers():
        if n == 2:
            break
    all_idle(pool, 1)
    assert list(numbers()) == list(range(10))
    assert len(log.of(K.SPAWN)) == 2, "the block that was broken off has cost its worker, the other none"


def test_every_request_of_a_lease_counts_for_recycling_and_none_is_cut_short(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, max_requests=4)
    with pool.checkout() as worker:
        pid = worker.pid
        assert [worker.execute("pid")["pid"] for _ in range(6)] == [pid] * 6
    assert pool.execute("pid", checkout_timeout_s=20.0)["pid"] != pid
    with pool.checkout() as worker:
        pid = worker.execute("pid")["pid"]
        worker.execute("ping")
    assert pool.status().workers[0].served == 3
    assert pool.execute("pid")["pid"] == pid
    assert pool.execute("pid", checkout_timeout_s=20.0)["pid"] != pid
