"""The one interface of both pools: what a pool must have, and what may come out of a call."""

from __future__ import annotations

import msgspec
import pytest

from poolproof import bridge
from poolproof.bridge.errors import PoolError
from poolproof.bridge.interface import (
    OUTCOMES,
    Capability,
    Health,
    Pool,
    PoolStatus,
    SessionStatus,
    Statistics,
    WorkerStatus,
)


def test_every_outcome_but_a_result_is_an_error_that_a_caller_can_catch() -> None:
    assert OUTCOMES[0] == "result"
    for outcome in OUTCOMES[1:]:
        assert issubclass(getattr(bridge, outcome), PoolError)


def test_outcomes_are_told_apart() -> None:
    assert len(set(OUTCOMES)) == len(OUTCOMES)


def test_a_capability_is_known_by_its_word() -> None:
    assert Capability("warm_up") is Capability.WARM_UP
    with pytest.raises(ValueError):
        Capability("magic")


def test_something_that_lacks_a_method_is_no_pool() -> None:
    assert not isinstance(object(), Pool)


def test_whatever_has_the_methods_is_a_pool() -> None:
    names = [
        "execute", "execute_in_session", "execute_anonymous", "end_session", "sessions", "status", "health_check",
        "warm_up", "close", "__enter__", "__exit__",
    ]  # fmt: skip
    members: dict[str, object] = {name: lambda *_: None for name in names}
    members |= {"version": "v0", "capabilities": frozenset(), "name": "thing"}
    assert isinstance(type("Thing", (), members)(), Pool)
    del members["close"]
    assert not isinstance(type("Thing", (), members)(), Pool)


def test_a_status_survives_being_stored() -> None:
    status = PoolStatus(
        name="a",
        version="v2",
        state="open",
        target=2,
        workers=(WorkerStatus(worker_id=1, pid=10, state="idle", served=4),),
        waiting=0,
        sessions=1,
        statistics=Statistics(submitted=4, in_flight=0, outcomes={"result": 4}),
    )
    assert msgspec.json.decode(msgspec.json.encode(status), type=PoolStatus) == status


def test_a_healthy_pool_needs_no_reasons() -> None:
    assert Health(healthy=True, live=2, target=2).reasons == ()


def test_records_take_their_fields_by_name_only() -> None:
    with pytest.raises(TypeError):
        SessionStatus("a", 1, 1, None)  # type: ignore[call-arg]
