"""What the properties call impossible: literal histories, a good one and one bad one for each rule."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.simulation.plan import MS, Op, Plan
from poolproof.harness.simulation.properties import violations

T0 = 10**12
TRAITS = {
    **dict.fromkeys(("kill_us", "start_ms", "leave_ms", "late_us", "observed", "tasks", "reply_pipes"), 0),
    **dict.fromkeys(
        ("preempt_every", "by_the_book", "close_ms", "grace_ms", "warm_up", "no_cleanup", "lazy_turns", "reap_us"), 0
    ),
    "keep_on_cancel": 0,
    "pipe_bytes": 65536,
}
Note = tuple[Any, ...]


def op(index: int, kind: str = "echo", **rest: Any) -> Op:
    """An operation with a deadline of 10 ms, which may wait for 5."""
    return Op(
        **{"client": 0, "think_ms": 0, "service_ms": 1, "timeout_ms": 10, "wait_ms": 5, **rest}, index=index, kind=kind
    )


def found(*notes: Note, ops: tuple[Op, ...] = (op(0), op(1)), **options: Any) -> list[str]:
    """The guarantees that a history violates; each note has its time in milliseconds second."""
    plan = Plan(0, {"workers": 1, **options}, TRAITS, 1, ops, {}, ())
    history = [(kind, T0 + int(at_ms * MS), *rest) for kind, at_ms, *rest in notes]
    return [violation.guarantee for violation in violations(plan, history)]


def invoked(index: int, at_ms: float = 1) -> tuple[Note, Note]:
    """An operation begins, with the number of its call."""
    return ("invoke", at_ms, index, T0 + int((at_ms + 10) * MS), T0 + int((at_ms + 5) * MS)), (
        "number",
        at_ms,
        index,
        index + 1,
    )


STARTED: tuple[Note, ...] = (("spawn", 0, 1), ("ready", 0, 1))


def served(index: int, at_ms: float = 1, value: Any = None) -> tuple[Note, ...]:
    """A call from its grant to its outcome."""
    nonce = index * 64
    return (
        ("grant", at_ms, 1, index + 1),
        ("arrive", at_ms, 1, index + 1, nonce, "echo", None),
        ("execute", at_ms + 1, 1, index + 1, nonce, "echo", None),
        ("answer", at_ms + 1, 1, nonce),
        ("free", at_ms + 1, 1, index + 1, 0),
        ("outcome", at_ms + 1, index, 0, "result", "", nonce if value is None else value),
        ("end", at_ms + 1, index),
    )


def test_a_call_that_was_served_is_fine() -> None:
    assert found(*STARTED, *invoked(0), *served(0), ops=(op(0),)) == []


CALL = (*STARTED, *invoked(0))
ENDED: Note = ("end", 3, 0)


@pytest.mark.parametrize(
    ("guarantee", "notes"),
    [
        ("G1", (*CALL, *served(0, value=64))),
        ("G1", (*CALL, ("grant", 1, 1, 1), ("outcome", 2, 0, 0, "result", "", 0), ENDED)),
        ("G3", (*CALL, *served(0), ("outcome", 3, 0, 0, "result", "", 0))),
        ("G3", CALL),
        ("G4", (*CALL, *served(0), ("arrive", 4, 1, 1, 0, "echo", None))),
        ("G4", (*CALL, *served(0)[:5], ("outcome", 6, 0, 0, "CheckoutTimeout", "no", None), ENDED)),
        ("G2", (*CALL, ("grant", 1, 1, 1), ("grant", 1, 1, 9))),
        ("G5", (*CALL, *served(0)[:2], ("free", 2, 1, 1, 0), *invoked(1, 2), ("grant", 2, 1, 2))),
        ("G6", (*CALL, ("queue", 1, 1), ("quiet", 1), ("quiet", 2))),
        ("G7", (*CALL, ("queue", 1, 1), *invoked(1), ("queue", 1, 2), ("grant", 1, 1, 2))),
        ("G11", (*CALL, ("outcome", 9, 0, 0, "CheckoutTimeout", "no", None), ENDED)),
        ("G11", (*CALL, ("outcome", 2, 0, 0, "CheckoutTimeout", "no", None), ENDED)),
        ("G11", (*CALL, *served(0, at_ms=14))),
        ("G12", (*CALL, *served(0)[:2], ("outcome", 11, 0, 0, "CallTimeout", "yes", 1), ENDED)),
        ("G14", (*STARTED, ("spawn", 1, 2))),
        ("G14", (*CALL, ("outcome", 1, 0, 0, "QueueFull", "no", None), ENDED)),
        ("G16", (*STARTED, ("retire", 1, 1))),
        ("G25", (*CALL, *served(0)[:2], ("outcome", 2, 0, 0, "WorkerCrashed", "yes", 1), ENDED)),
        ("G27", (("status", 1, 3, 1, {"result": 1}, [], 0),)),
        ("G27", (*CALL, *served(0), ("final", 9, 2, 0, {"result": 2}, [], "closed"))),
        ("G10", (("supervisor waits", 1),)),
        ("G24", (("error", 1, "its supervisor met a fault of its own", "KeyError()"),)),
        ("G9", (("event", 1, "offer", 1, 1, ""), ("event", 2, "done", 1, None, "result"))),
    ],
)
def test_what_is_impossible_for_a_call_is_named(guarantee: str, notes: tuple[Note, ...]) -> None:
    assert guarantee in found(*notes)


FAILED = (("spawn", 0, 1), ("exit", 0, 1), ("reap", 0, 1), ("startfail", 0, 1), ("release", 0, 1))


def test_a_worker_that_is_not_reaped_has_its_place_still() -> None:
    ended = (*STARTED, ("kill", 1, 1), ("exit", 1, 1))
    assert "G14" in found(*ended, ("spawn", 2, 2), ("reap", 2, 1), ops=())
    assert "G14" not in found(*ended, ("reap", 2, 1), ("spawn", 2, 2), ops=())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [((("spawn", 50, 2),), (("spawn", 49, 2),)), ((("spawn", 50, 2), ("ready", 51, 2)), (("ready", 600, 1),))],
)
def test_a_start_backs_off_and_has_a_limit(right: tuple[Note, ...], wrong: tuple[Note, ...]) -> None:
    assert found(*FAILED, *right, start_timeout_s=0.5, ops=()) == []
    assert "G13" in found(*FAILED, *wrong, start_timeout_s=0.5, ops=())


def test_an_open_circuit_has_one_probe_after_its_time() -> None:
    options: dict[str, Any] = {"start_failures_to_open": 1, "circuit_reset_s": 1.0, "workers": 2, "ops": ()}
    assert found(*FAILED, ("spawn", 1000, 2), **options) == []
    assert "G13" in found(*FAILED, ("spawn", 999, 2), **options)
    assert "G13" in found(*FAILED, ("spawn", 1000, 2), ("spawn", 1001, 3), **options)


def in_session(index: int, kind: str, at_ms: float, value: Any, state: str = "result") -> tuple[Note, ...]:
    """A call of session s, served by worker 1."""
    notes = list(served(index, at_ms))
    nonce = index * 64
    notes[1] = ("arrive", at_ms, 1, index + 1, nonce, kind, "s")
    notes[2] = ("execute", at_ms + 1, 1, index + 1, nonce, kind, "s")
    notes[5] = ("outcome", at_ms + 1, index, 0, state, "", value)
    return (*invoked(index, at_ms), *notes)


@pytest.mark.parametrize(("tasks", "keep", "told"), [(1, 1, ["G8"]), (1, 0, []), (0, 1, [])])
def test_a_task_that_is_cancelled_costs_no_worker_of_a_pool_that_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tasks: int, keep: int, told: list[str]
) -> None:
    monkeypatch.setitem(TRAITS, "tasks", tasks)
    monkeypatch.setitem(TRAITS, "keep_on_cancel", keep)
    begun = (*STARTED, *invoked(0), *served(0)[:2])
    killed = (("kill", 1.5, 1), ("outcome", 1.5, 0, 0, "Cancelled", "", None), ("end", 1.5, 0), ("exit", 1.5, 1))
    ops = (op(0, interrupt="cancel"),)
    assert found(*begun, *killed, ops=ops) == told
    late = (("kill", 11, 1), *killed[1:3], ("exit", 11, 1))
    assert "G8" not in found(*begun, *late, ops=ops), "at the deadline"


def put_of_s() -> tuple[Note, ...]:
    """Session s has {"k0": 0}."""
    return (*STARTED, *in_session(0, "put", 1, 0))


def test_a_session_shows_what_was_put_into_it_and_nothing_else() -> None:
    ops = (op(0, "put", session="s"), op(1, "get", session="s"))
    put = put_of_s()
    assert found(*put, *in_session(1, "get", 3, [64, {"k0": 0}]), ops=ops) == []
    assert found(*put, *in_session(1, "get", 3, [64, {}]), ops=ops) == ["G18"]


def test_a_change_whose_client_was_interrupted_may_show_or_not() -> None:
    ops = (op(0, "put", session="s", interrupt="reading"), op(1, "get", session="s"))
    put = (*STARTED, *in_session(0, "put", 1, None, state="Cancelled"))
    for state in ({"k0": 0}, {}):
        assert found(*put, *in_session(1, "get", 3, [64, state]), ops=ops) == []


def test_a_call_that_the_end_of_its_session_met_says_nothing_of_what_comes_after_it() -> None:
    ops = (op(0, "put", session="s"), op(1, "get", session="s"), op(2, "end", session="s"), op(3, "get", session="s"))
    put = put_of_s()
    begun, *rest = in_session(1, "get", 3, [64, {"k0": 0}])
    for state in ({"k0": 0}, {}):
        later = in_session(3, "get", 6, [192, state])
        end = (("invoke", 3, 2, T0 + 13 * MS, T0 + 8 * MS), ("ended", 3.5, 2, "s", 1), ("end", 3.5, 2))
        met = sorted((begun, *rest, *end), key=lambda note: note[1])
        assert found(*put, *met, *later, ops=ops) == []
    assert found(*put, *met, *in_session(3, "get", 6, [192, {"k1": 64}]), ops=ops) == ["G18"]


def test_a_change_that_was_not_made_leaves_an_ended_session_empty() -> None:
    ops = (
        op(0, "put", session="s"),
        op(1, "append", session="s"),
        op(2, "end", session="s"),
        op(3, "get", session="s"),
    )
    crashed = in_session(1, "append", 3, None, state="WorkerCrashed")
    end = (("invoke", 3, 2, T0 + 13 * MS, T0 + 8 * MS), ("ended", 4, 2, "s", 1), ("end", 4, 2))
    before, after = crashed[:-2], crashed[-2:]  # the client has its outcome after the end
    for state, wrong in (({}, False), ({"k0": 0}, False), ({"k0": 1}, True)):
        notes = (*put_of_s(), *before, *end, *after, *in_session(3, "get", 6, [192, state]))
        assert ("G18" in found(*notes, ops=ops)) is wrong


def test_a_close_ends_everything_in_its_time() -> None:
    gone = (("retire", 2, 1), ("exit", 2, 1), ("reap", 2, 1), ("release", 2, 1))
    assert found(*STARTED, ("close", 2, 0), *gone, ("closed", 2), ops=()) == []
    assert "G20" in found(*STARTED, ("close", 2, 0), ("closed", 2), ops=())
    assert "G22" in found(*STARTED, ("close", 2, 0), *gone, ("closed", 900), ops=())
    assert "G22" in found(*STARTED, *invoked(0), ("queue", 1, 1), ("close", 2, 0), *served(0, at_ms=3), ops=(op(0),))
