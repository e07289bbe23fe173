"""Streams: parts come as they are made, their worker is nobody else's meanwhile, and each stream has one outcome."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CommandError, EventKind, InvalidRequest, LeaseError, PoolClosed, WorkerCrashed
from poolproof.pool_v2 import PoolV2


def conserved(pool: PoolV2, **outcomes: int) -> None:
    statistics = pool.status().statistics
    assert statistics.in_flight == 0
    assert statistics.outcomes == outcomes


def served_by(pool: PoolV2) -> Any:
    return pool.execute("pid", checkout_timeout_s=20.0)["pid"]


def test_the_parts_come_in_order_and_the_worker_serves_again(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    pid = served_by(pool)

    assert [part["index"] for part in pool.execute_stream("parts", {"count": 300})] == list(range(300))

    assert served_by(pool) == pid
    conserved(pool, result=3)


def test_no_parts_are_an_empty_stream(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    assert list(pool.execute_stream("parts", {"count": 0})) == []
    conserved(pool, result=1)


def test_a_command_that_does_not_stream_gives_its_one_result(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    assert list(pool.execute_stream("echo", {"value": [1, None]})) == [[1, None]]


def test_who_asks_for_no_parts_gets_all_of_them_in_a_list(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    assert [part["index"] for part in pool.execute("parts", {"count": 3})] == [0, 1, 2]


def test_a_part_is_there_before_the_next_is_made(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    with pool.execute_stream("parts", {"count": 2, "pause_s": 0.2}) as parts:
        first = next(parts)
        taken_ns = time.monotonic_ns()
        assert first["made_ns"] <= taken_ns < next(parts)["made_ns"]


def test_a_slow_reader_slows_its_worker_down(make_pool: Any, until: Any) -> None:
    pool = make_pool(workers=1)
    with pool.execute_stream("parts", {"count": 400, "bytes": 4096}) as parts:
        pid = next(iter(pool.status().workers)).pid
        first = next(parts)
        until(lambda: asleep_in_write(pid), "the worker waits for its reader")
        resumed_ns = time.monotonic_ns()
        rest = list(parts)
    assert first["made_ns"] < resumed_ns
    assert len(rest) == 399
    ahead = sum(part["made_ns"] < resumed_ns for part in rest)
    assert ahead * 4096 < 4 * 64 * 1024, "more was made than the pipe and one read can hold"


def asleep_in_write(pid: int) -> bool:
    with open(f"/proc/{pid}/syscall") as file:
        words = file.read().split()
    return words[0] == "1"  # write(2) on x86-64


def test_an_error_of_the_handler_comes_where_it_happened_and_keeps_the_worker(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    pid = served_by(pool)
    parts = pool.execute_stream("parts", {"count": 5, "fail_at": 2})
    assert [next(parts)["index"], next(parts)["index"]] == [0, 1]
    with pytest.raises(CommandError, match="part 2 failed as asked"):
        next(parts)
    with pytest.raises(StopIteration):
        next(parts)
    assert served_by(pool) == pid
    conserved(pool, result=2, CommandError=1)


def test_a_worker_that_dies_leaves_the_parts_before_it_good(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    parts = pool.execute_stream("parts", {"count": 5, "exit_at": 3})
    assert [next(parts)["index"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WorkerCrashed) as told:
        next(parts)
    assert told.value.sent == "yes"
    assert pool.execute("echo", {"value": 1}) == 1
    conserved(pool, result=1, WorkerCrashed=1)


@pytest.mark.parametrize("leave", ["close", "with", "raise", "drop"])
def test_a_stream_that_is_left_early_costs_its_worker_and_nothing_else(make_pool: Any, until: Any, leave: str) -> None:
    pool = make_pool(workers=1)
    pid = served_by(pool)
    parts = pool.execute_stream("parts", {"count": 100_000, "bytes": 1000})
    next(parts)
    if leave == "close":
        parts.close()
        parts.close()
    elif leave == "with":
        with parts:
            pass
    elif leave == "raise":
        with pytest.raises(ZeroDivisionError), parts:
            raise ZeroDivisionError
    else:
        del parts
        gc.collect()
    assert served_by(pool) != pid
    until(lambda: pool.status().statistics.in_flight == 0, "the stream has its outcome")
    conserved(pool, result=2, Cancelled=1)


def test_a_stream_whose_thread_has_ended_is_taken_back(make_pool: Any, until: Any) -> None:
    pool = make_pool(workers=1)
    kept = []

    def begin() -> None:
        kept.append(pool.execute_stream("parts", {"count": 100_000, "bytes": 1000}))
        next(kept[0])

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1
    until(lambda: pool.status().statistics.in_flight == 0, "the stream has its outcome")
    with pytest.raises(LeaseError):
        next(kept[0])
    conserved(pool, result=1, Cancelled=1)


def test_a_stream_belongs_to_its_thread(make_pool: Any, client: Any) -> None:
    pool = make_pool(workers=1)
    with pool.execute_stream("parts", {"count": 3}) as parts:
        with pytest.raises(LeaseError, match="belongs to the thread"):
            client(next, parts).result()
        assert len(list(parts)) == 3


def test_the_deadline_bounds_the_whole_stream(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    pool.warm_up()
    with pytest.raises(CallTimeout):
        for _ in pool.execute_stream("parts", {"count": 1_000_000, "pause_s": 0.01}, timeout_s=1.0):
            pass
    conserved(pool, CallTimeout=1)


def test_a_reader_that_sleeps_past_the_deadline_is_told_and_its_worker_is_replaced_meanwhile(
    make_pool: Any, client: Any
) -> None:
    pool = make_pool(workers=1)
    pool.warm_up()
    with pool.execute_stream("parts", {"count": 100_000, "bytes": 1000}, timeout_s=1.0) as parts:
        next(parts)
        assert client(pool.execute, "echo", {"value": 1}, checkout_timeout_s=20.0).result() == 1
        with pytest.raises(CallTimeout):
            list(parts)
    conserved(pool, result=1, CallTimeout=1)


def test_a_worker_killed_between_two_parts_is_told_at_the_next(make_pool: Any, until: Any) -> None:
    pool = make_pool(workers=1)
    with pool.execute_stream("parts", {"count": 100_000, "bytes": 1000}) as parts:
        next(parts)
        os.kill(pool.status().workers[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            list(parts)
    conserved(pool, WorkerCrashed=1)


def test_a_close_is_told_in_the_middle_of_a_stream(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    parts = pool.execute_stream("parts", {"count": 100_000, "bytes": 1000})
    next(parts)
    pool.close(grace_s=0.0)
    with pytest.raises(PoolClosed):
        list(parts)


def test_a_stream_of_a_session_has_its_state_and_counts_once(make_pool: Any) -> None:
    pool = make_pool(workers=2)
    assert len(list(pool.execute_stream("parts", {"count": 3}, session="s"))) == 3
    (session,) = pool.sessions()
    assert (session.session_id, session.operations) == ("s", 1)
    pool.execute("echo", {"value": 1}, session="s")
    assert pool.sessions()[0].operations == 2


def test_a_request_that_is_no_json_costs_nothing(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    with pytest.raises(InvalidRequest):
        pool.execute_stream("parts", {"count": {1, 2}, "x": object()})
    conserved(pool, InvalidRequest=1)


def test_a_stream_is_one_call_to_who_watches(make_pool: Any, log: Any) -> None:
    pool = make_pool(log, workers=1)
    pool.warm_up()
    list(pool.execute_stream("parts", {"count": 3}))
    kinds = [event.kind for event in log.of(*EventKind, call=1)]
    expected = [
        EventKind.ENQUEUE,
        EventKind.ACCEPT,
        EventKind.SEND,
        EventKind.RECEIVE,
        EventKind.CHECKIN,
        EventKind.DONE,
    ]
    assert kinds == expected
