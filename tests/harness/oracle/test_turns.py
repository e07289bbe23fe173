"""Which worker serves a call: literal runs on an idle pool of two workers, and sessions that stay or stray."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import PoolStatus, Statistics, WorkerStatus
from poolproof.harness.history.history import StatusSample
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import TurnsKept
from poolproof.harness.oracle.turns import TURN_LABEL, keeps_turns

READY = (101, 102)


def sample(build: Any, ms: float, pids: tuple[int, ...] = READY) -> StatusSample:
    workers = tuple(WorkerStatus(worker_id=pid - 100, pid=pid, state="idle", served=0) for pid in pids)
    status = PoolStatus(
        name="turns", version="v2", state="open", target=2, workers=workers, waiting=0, sessions=0,
        statistics=Statistics(submitted=0, in_flight=0, outcomes={}),
    )  # fmt: skip
    return StatusSample(began_ns=build.at(ms), ended_ns=build.at(ms + 1), status=status, status_after=status)


def judged(
    build: Any, options: dict[str, Any], rows: list[tuple[str | None, int]], after: tuple[int, ...] = READY
) -> Verdict:
    ops = [
        build.op(
            place, 10 * place, 10 * place + 5, command="pid", label=TURN_LABEL, session=session,
            value={"pid": pid, "nonce": f"1.0.{place}"},
        )
        for place, (session, pid) in enumerate(rows)
    ]  # fmt: skip
    statuses = (sample(build, -10), sample(build, 10 * len(rows), after))
    info = {"options": options, "capabilities": ("options",)}
    verdict: Verdict = TurnsKept().check(build.history(*ops, statuses=statuses, info=info)).verdict
    return verdict


def plain(*pids: int) -> list[tuple[str | None, int]]:
    return [(None, pid) for pid in pids]


@pytest.mark.parametrize(
    ("order", "pids", "expected"),
    [
        ("rotate", (101, 102, 101, 102), Verdict.PASS),
        ("rotate", (101, 102, 102, 101), Verdict.FAIL),
        ("rotate", (101, 101, 101, 101), Verdict.FAIL),
        (None, (101, 102, 102, 101), Verdict.FAIL),  # rotate is the default
        ("hot", (101, 101, 101, 101), Verdict.PASS),
        ("hot", (101, 102, 101, 102), Verdict.FAIL),
    ],
)
def test_idle_workers_serve_in_the_order_of_the_option(
    build: Any, order: str | None, pids: tuple[int, ...], expected: Verdict
) -> None:
    assert judged(build, {} if order is None else {"idle_order": order}, plain(*pids)) is expected


def test_nothing_is_said_if_a_worker_was_replaced_meanwhile(build: Any) -> None:
    assert judged(build, {"idle_order": "hot"}, plain(101, 102, 101, 102), after=(102, 103)) is Verdict.PASS


@pytest.mark.parametrize(
    ("affinity", "pids", "expected"),
    [
        ("prefer", (101, 102, 101, 101), Verdict.PASS),
        ("prefer", (101, 102, 102, 101), Verdict.FAIL),
        ("strict", (101, 101, 102, 101), Verdict.FAIL),
        ("none", (101, 102, 101, 102), Verdict.PASS),
    ],
)
def test_a_session_stays_on_its_worker(build: Any, affinity: str, pids: tuple[int, ...], expected: Verdict) -> None:
    first = plain(101, 102, 101, 102)
    turns = [("turns" if place % 2 == 0 else None, pid) for place, pid in enumerate(pids)]
    assert judged(build, {"session_affinity": affinity}, first + turns) is expected


def test_a_session_without_affinity_takes_turns_with_other_calls(build: Any) -> None:
    options = {"session_affinity": "none", "idle_order": "rotate"}
    first = plain(101, 102, 101, 102)
    assert judged(build, options, [*first, ("turns", 101), (None, 102), ("turns", 101)]) is Verdict.PASS
    assert judged(build, options, [*first, ("turns", 101), (None, 101), ("turns", 102)]) is Verdict.FAIL


def test_first_calls_of_new_sessions_are_served_in_the_same_order(build: Any) -> None:
    first = plain(101, 102, 101, 102)
    news = [("turns-0", 101), ("turns-1", 101), ("turns-2", 102), ("turns-3", 102)]
    assert judged(build, {"idle_order": "rotate"}, [*first, *news]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("options", "last_of_first", "commands", "expected"),
    [
        ({}, 60, ("get", "get"), Verdict.FAIL),
        ({}, 0, ("get", "get"), Verdict.PASS),  # the first worker served nothing any more
        ({"session_affinity": "prefer"}, 60, ("get", "get"), Verdict.PASS),
        ({"session_ttl_s": 0.5}, 60, ("get", "get"), Verdict.PASS),
        ({}, 60, ("cleanup_session", "get"), Verdict.PASS),
    ],
)
def test_a_strict_session_never_leaves_a_worker_that_goes_on_to_serve(
    build: Any, options: dict[str, Any], last_of_first: float, commands: tuple[str, str], expected: Verdict
) -> None:
    ops = [build.op(n, 20 * n, 20 * n + 10, session="s", command=commands[n], value={}) for n in range(2)]
    services = [
        build.service(101, 0, 0, 5, nonce="1.0.0"),
        build.service(102, 1, 20, 25, nonce="1.0.1"),
        *([build.service(101, 2, last_of_first, last_of_first + 5, nonce="x")] if last_of_first else []),
    ]
    info = {"options": options, "capabilities": ("options",)}
    assert TurnsKept().check(build.history(*ops, services=services, info=info)).verdict is expected


def test_turns_are_asked_for_only_where_the_pool_leaves_idle_workers_alone(build: Any) -> None:
    able = ("options",)
    assert keeps_turns(build.info(options={}, capabilities=able))
    assert not keeps_turns(build.info(options={}))
    assert not keeps_turns(build.info(options={"ping_interval_s": 0.1}, capabilities=able))
    assert not keeps_turns(build.info(options={}, capabilities=able, face="executor"))
