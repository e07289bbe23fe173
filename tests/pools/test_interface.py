"""What both pools promise: the same answers, the same errors, and the same counts."""

from __future__ import annotations

import os
import select
import signal
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import (
    OUTCOMES,
    CallTimeout,
    CommandError,
    ConfigError,
    Event,
    EventKind,
    InvalidRequest,
    Pool,
    PoolError,
    Sent,
    WorkerCrashed,
)
from poolproof.bridge.wire.messages import encode_request

MakePool = Callable[..., Pool]
ANY_JSON: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**18, "", "text", "ü\U0001f600\0", [], {}, [[]], [None], {"": None}),
    *({"result": 1}, {"success": False, "error": "no"}, {"result": {"result": None}}, {"a": [1, {"b": []}]}),
]


def test_a_pool_is_a_pool(make_pool: MakePool) -> None:
    pool = make_pool()

    assert isinstance(pool, Pool)
    assert pool.version in pool.name


@pytest.mark.parametrize("way", ["execute", "anonymous", "session"])
def test_any_json_value_comes_back_verbatim(make_pool: MakePool, way: str) -> None:
    pool = make_pool()
    ways: dict[str, Callable[[Any], Any]] = {
        "execute": lambda value: pool.execute("echo", {"value": value}),
        "anonymous": lambda value: pool.execute_anonymous("echo", {"value": value}),
        "session": lambda value: pool.execute_in_session("s", "echo", {"value": value}),
    }

    for value in ANY_JSON:
        found = ways[way](value)
        assert (type(found), found) == (type(value), value)


def test_a_large_value_comes_back_whole(make_pool: MakePool) -> None:
    value = ["x" * 1000] * 3000

    assert make_pool().execute("echo", {"value": value}) == value


def test_arguments_may_be_left_out_and_stay_as_they_were(make_pool: MakePool) -> None:
    pool = make_pool()
    args = {"value": [1]}

    assert pool.execute("echo") == {}
    pool.execute("echo", args, session="s")

    assert args == {"value": [1]}


def test_a_session_s_name_is_told_to_the_worker(make_pool: MakePool) -> None:
    pool = make_pool()

    assert pool.execute("echo", {"a": 1}, session="s") == {"a": 1, "session_id": "s"}
    assert pool.execute("echo", {"a": 1}) == {"a": 1}


# Errors.


def test_a_command_that_fails_says_why(make_pool: MakePool) -> None:
    pool = make_pool()

    with pytest.raises(CommandError) as caught:
        pool.execute("fail", {"message": "no luck today"})
    with pytest.raises(CommandError, match="unknown command 'pingg'; did you mean 'ping'"):
        pool.execute("pingg")

    assert (str(caught.value), caught.value.sent) == ("no luck today", Sent.YES)
    assert pool.execute("echo", {"value": "well"}) == "well"


@pytest.mark.parametrize(
    "value", [object(), {1, object()}, {(1, 2): 3}, "\ud800"], ids=["object", "set", "key", "surrogate"]
)
def test_a_request_that_is_not_json_is_refused_before_it_is_sent(make_pool: MakePool, value: Any) -> None:
    pool = make_pool()

    with pytest.raises(InvalidRequest, match="the arguments of 'echo' are not JSON") as caught:
        pool.execute("echo", {"value": value})

    assert caught.value.sent is Sent.NO
    assert pool.execute("echo", {"value": 1}) == 1


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _is_refused(depth: int) -> bool:
    try:
        encode_request(1, "put", {"key": "k", "value": _nested(depth)}, limit_bytes=1_000_000)
    except InvalidRequest:
        return True
    return False


def test_a_value_nested_too_deep_is_refused_at_whatever_depth_that_begins(make_pool: MakePool) -> None:
    # How deep that is, differs between Pythons, and in some by how deep the caller's own stack is.
    pool = make_pool()
    seen = set()
    begins = bisect_left(range(100_000), True, key=_is_refused)
    for depth in range(begins - 80, begins + 80):
        try:
            seen.add(pool.execute_in_session("s", "put", {"key": "k", "value": _nested(depth)})["stored"])
        except (InvalidRequest, CommandError) as error:
            seen.add(type(error).__name__)

    assert {True, "InvalidRequest"} <= seen <= {True, "InvalidRequest", "CommandError"}
    assert pool.execute("echo", {"value": 1}) == 1


def test_a_request_over_the_limit_is_refused_before_it_is_sent(make_pool: MakePool) -> None:
    pool = make_pool(max_frame_bytes=2000)

    with pytest.raises(InvalidRequest, match="the limit is 2000"):
        pool.execute("echo", {"value": "x" * 2000})

    assert pool.execute("echo", {"value": "x" * 1000}) == "x" * 1000


def test_an_answer_over_the_limit_is_the_command_s_error(make_pool: MakePool) -> None:
    pool = make_pool(max_frame_bytes=2000)

    with pytest.raises(CommandError, match="too large"):
        pool.execute("blob", {"bytes": 3000})

    assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), True, "1"])
@pytest.mark.parametrize("option", ["timeout_s", "checkout_timeout_s"])
def test_a_timeout_that_makes_no_sense_is_named(make_pool: MakePool, option: str, timeout_s: Any) -> None:
    pool = make_pool()

    with pytest.raises(ConfigError, match=option):
        pool.execute("ping", **{option: timeout_s})

    assert pool.status().statistics.submitted == 0


def test_a_call_that_lasts_too_long_times_out_and_the_next_answers_are_right(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.warm_up()

    with pytest.raises(CallTimeout) as caught:
        pool.execute("sleep", {"seconds": 1.5}, timeout_s=0.15)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.sent in (Sent.MAYBE, Sent.YES)
    assert [pool.execute("echo", {"value": n}) for n in range(10)] == list(range(10))


@pytest.mark.parametrize(
    "injury", [("exit", {}), ("bad_frame", {"kind": "garbage"}), ("bad_frame", {"kind": "wrong_id"})]
)
def test_a_worker_that_breaks_off_costs_one_call_and_is_replaced(make_pool: MakePool, injury: tuple[str, Any]) -> None:
    pool = make_pool()
    pid = pool.execute("pid")["pid"]

    with pytest.raises(WorkerCrashed) as caught:
        pool.execute(*injury)

    assert caught.value.sent is Sent.YES
    assert pool.execute("pid")["pid"] != pid
    assert [pool.execute("echo", {"value": n}) for n in range(5)] == list(range(5))


@pytest.mark.parametrize("stream", ["stdout", "stderr", "raw"])
def test_what_a_worker_prints_never_reaches_the_wire(make_pool: MakePool, stream: str) -> None:
    pool = make_pool()

    assert pool.execute("print", {"bytes": 300_000, "stream": stream}) == {"printed_bytes": 300_000}
    assert pool.execute("echo", {"value": "clean"}) == "clean"


def test_a_worker_that_died_idle_is_replaced_without_a_call_noticing(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = pool.execute("pid")["pid"]
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], 20.0)[0], "the worker outlives SIGKILL"
    os.close(pidfd)

    assert pool.execute("pid")["pid"] != pid


# Threads.


def test_every_thread_gets_its_own_answers(make_pool: MakePool, client: Callable[..., Any]) -> None:
    pool = make_pool(workers=2, checkout_timeout_s=20.0)

    def work(seed: int) -> bool:
        return all(pool.execute("echo", {"value": [seed, n]}) == [seed, n] for n in range(25))

    assert all([one.result() for one in [client(work, seed) for seed in range(8)]])  # noqa: C419 - join them all


def test_workers_outlive_the_threads_that_use_them(make_pool: MakePool, client: Callable[..., Any]) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()

    pids = {client(pool.execute, "pid").result()["pid"] for _ in range(20)}

    assert pids == {worker.pid for worker in pool.status().workers}


def test_statistics_are_conserved_and_equal_what_the_clients_saw(
    make_pool: MakePool, client: Callable[..., Any]
) -> None:
    told: list[Event] = []
    pool = make_pool(told.append, workers=2, checkout_timeout_s=20.0)
    commands: list[tuple[str, Any]] = [("echo", {"value": 1}), ("fail", {}), ("echo", {"value": object()})]

    def work() -> list[str]:
        seen = []
        for command, args in commands * 5:
            try:
                pool.execute(command, args)
                seen.append("result")
            except PoolError as error:
                seen.append(type(error).__name__)
        return seen

    seen = Counter(outcome for one in [client(work) for _ in range(4)] for outcome in one.result())

    statistics = pool.status().statistics
    assert statistics.outcomes == seen == {"result": 20, "CommandError": 20, "InvalidRequest": 20}
    assert (statistics.submitted, statistics.in_flight) == (60, 0)
    pool.close()  # which tells its observer all that is left
    assert Counter(event.detail for event in told if event.kind is EventKind.DONE) == seen
    assert set(seen) <= set(OUTCOMES)


# Sessions.


def test_sessions_are_apart_from_each_other_and_from_the_anonymous_state(make_pool: MakePool) -> None:
    pool = make_pool()
    for name in ("one", "two"):
        pool.execute_in_session(name, "put", {"key": "k", "value": name})
    pool.execute("put", {"key": "k", "value": "nobody's"})

    assert pool.execute_in_session("one", "get", {"key": "k"})["value"] == "one"
    assert pool.execute("get", {"key": "k"}, session="two")["value"] == "two"
    assert pool.execute_anonymous("get", {"key": "k"})["value"] == "nobody's"
    assert {(s.session_id, s.operations) for s in pool.sessions()} == {("one", 2), ("two", 2)}
    assert pool.status().sessions == 2


def test_an_ended_session_begins_anew(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})

    assert pool.end_session("s") is True
    assert pool.end_session("s") is False
    assert pool.execute_in_session("s", "get", {"key": "k"})["found"] is False


@pytest.mark.parametrize("value", [float("nan"), [1, {"deep": float("-inf")}, None]])
def test_a_number_that_json_has_not_is_refused_and_never_changed(make_pool: MakePool, value: Any) -> None:
    pool = make_pool()
    with pytest.raises(InvalidRequest, match="not a JSON number"):
        pool.execute("echo", {"value": value})
    assert pool.execute("echo", {"value": [None, 1.5]}) == [None, 1.5]


@pytest.mark.parametrize("name", ["", 7])
def test_a_session_has_a_name(make_pool: MakePool, name: Any) -> None:
    pool = make_pool()
    with pytest.raises(InvalidRequest, match="a session id is a string of at least one character"):
        pool.execute_in_session(name, "put", {"key": "k", "value": 1})
    assert pool.sessions() == ()
