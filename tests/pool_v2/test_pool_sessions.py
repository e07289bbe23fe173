"""V2's sessions: affinity, handover, what is lost and what is counted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CommandError, EventKind, SessionLost, SessionStatus
from poolproof.pool_v2 import PoolV2

MakePool = Callable[..., PoolV2]
FICKLE_WORKER = """
import json, os, struct, sys
while header := sys.stdin.buffer.read(4):
    request = json.loads(sys.stdin.buffer.read(*struct.unpack(">I", header)))
    again = request["id"] and os.path.exists(sys.argv[1])
    if request["id"]:
        open(sys.argv[1], "w").close()
    answer = {"id": request["id"], "success": not again, "error": "not again", "result": "yes"}
    data = json.dumps(answer).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()
"""


def session(pool: PoolV2, session_id: str = "s") -> SessionStatus:
    (found,) = [status for status in pool.sessions() if status.session_id == session_id]
    return found


def end_worker(pool: PoolV2, log: Any, session_id: str = "s") -> None:
    """Kill the worker that has the session's state, and wait for its burial."""
    worker_id = session(pool, session_id).worker_id
    (pid,) = [worker.pid for worker in pool.status().workers if worker.worker_id == worker_id]
    os.kill(pid, signal.SIGKILL)
    log.wait_for(EventKind.REAP, worker=worker_id)


def append(pool: PoolV2, value: Any, session_id: str = "s") -> Any:
    return pool.execute_in_session(session_id, "append", {"key": "k", "value": value})["values"]


def test_all_calls_of_a_session_meet_its_state(make_pool: MakePool) -> None:
    pool = make_pool(workers=3)
    pool.warm_up()

    seen = []
    for value in range(6):
        seen.append(append(pool, value))
        pool.execute("ping")  # the order of the idle workers changes

    assert seen == [list(range(n + 1)) for n in range(6)]
    assert session(pool).operations == session(pool).version == 6


def test_the_state_of_a_lost_worker_is_handed_over(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=2)
    append(pool, 1)
    pool.execute_in_session("s", "put", {"key": "x", "value": {"deep": [1]}})
    append(pool, 2)
    before = session(pool)
    end_worker(pool, log)

    assert append(pool, 3) == [1, 2, 3]
    assert pool.execute_in_session("s", "get", {"key": "x"})["value"] == {"deep": [1]}
    after = session(pool)
    assert (after.version, after.operations) == (before.version + 1, before.operations + 2)
    assert after.worker_id != before.worker_id


def test_a_state_is_handed_over_as_often_as_workers_are_lost(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)

    for value in range(4):
        assert append(pool, value) == list(range(value + 1))
        end_worker(pool, log)


def test_a_recycled_worker_s_sessions_are_handed_over(make_pool: MakePool) -> None:
    pool = make_pool(max_requests=1)

    assert [append(pool, value) for value in range(3)] == [[0], [0, 1], [0, 1, 2]]


def test_a_refused_change_is_no_part_of_the_state(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    append(pool, 1)
    pool.execute_in_session("s", "put", {"key": "word", "value": "not a list"})
    with pytest.raises(CommandError, match="is not a list"):
        pool.execute_in_session("s", "append", {"key": "word", "value": 1})
    assert (session(pool).version, session(pool).operations) == (2, 3)
    end_worker(pool, log)

    assert append(pool, 2) == [1, 2]


def test_what_the_client_does_to_its_arguments_later_is_no_part_of_the_state(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    value = ["sent"]
    append(pool, value)
    value.append("added after the call")
    end_worker(pool, log)

    assert append(pool, 2) == [["sent"], 2]


def test_a_log_past_its_limit_ends_in_session_lost_and_never_in_silent_emptiness(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, session_log_bytes=200)
    for _ in range(5):
        append(pool, "x" * 60)
    assert len(append(pool, "last")) == 6, "it lives as long as its worker"
    end_worker(pool, log)

    for _ in range(2):
        with pytest.raises(SessionLost, match=r"session 's': its state was lost with worker 1") as caught:
            pool.execute_in_session("s", "get", {"key": "k"})
        assert caught.value.sent == "no"
    assert pool.end_session("s")
    assert append(pool, "anew") == ["anew"]


def test_a_handover_that_is_refused_ends_in_session_lost_and_leaves_no_half_state(
    make_pool: MakePool, log: Any, tmp_path: Any
) -> None:
    # A program that says yes to its first request after the init ping and no to every other: it cannot be repeated.
    program = tmp_path / "fickle.py"
    program.write_text(FICKLE_WORKER)
    pool = make_pool(log, worker_command=(sys.executable, str(program), str(tmp_path / "was-here")))
    assert pool.execute_in_session("s", "put", {"key": "k"}) == "yes"
    end_worker(pool, log)

    with pytest.raises(
        SessionLost, match="replaying the session on another worker failed at 'put': not again"
    ) as caught:
        pool.execute_in_session("s", "get", {"key": "k"})

    assert caught.value.sent == "no"
    assert log.wait_for(EventKind.KILL, worker=2).detail == "dirty"


def test_a_handover_past_the_deadline_says_that_the_call_was_not_sent_and_keeps_the_session(
    make_pool: MakePool, log: Any
) -> None:
    pool = make_pool(log, state_commands=frozenset({"sleep", "append"}))
    append(pool, 1)
    pool.execute_in_session("s", "sleep", {"seconds": 0.5})
    end_worker(pool, log)
    pool.warm_up()
    sends = len(log.of(EventKind.SEND))

    with pytest.raises(CallTimeout) as caught:
        pool.execute_in_session("s", "append", {"key": "k", "value": "lost"}, timeout_s=0.2)

    assert caught.value.sent == "no"
    assert len(log.of(EventKind.SEND)) == sends
    assert append(pool, 2) == [1, 2]


def test_operations_are_counted_exactly_under_many_threads(make_pool: MakePool, client: Callable[..., Any]) -> None:
    pool = make_pool(workers=2)

    def work() -> None:
        for _ in range(25):
            pool.execute_in_session("s", "append", {"key": "k", "value": 1}, checkout_timeout_s=30.0)

    for one in [client(work) for _ in range(8)]:
        one.result()

    assert (session(pool).operations, session(pool).version) == (200, 200)
    assert len(append(pool, 1)) == 201


def test_a_session_outlives_the_thread_that_began_it(make_pool: MakePool, client: Callable[..., Any]) -> None:
    pool = make_pool(workers=2)
    assert client(append, pool, 1).result() == [1]

    assert client(append, pool, 2).result() == [1, 2]


def test_failed_calls_are_not_counted_as_operations(make_pool: MakePool) -> None:
    pool = make_pool()
    append(pool, 1)

    with pytest.raises(CallTimeout):
        pool.execute_in_session("s", "sleep", {"seconds": 60}, timeout_s=0.1)

    assert session(pool).operations == 1


def test_an_ended_session_s_state_is_gone_from_its_worker(make_pool: MakePool) -> None:
    pool = make_pool()
    append(pool, 1)

    assert pool.end_session("s")
    assert not pool.end_session("s")
    assert pool.sessions() == ()
    assert append(pool, 2) == [2]


def test_a_session_whose_worker_cannot_clean_up_still_ends(make_pool: MakePool) -> None:
    pool = make_pool()
    append(pool, 1)
    pool.close()

    assert pool.end_session("s")
    assert pool.sessions() == ()
