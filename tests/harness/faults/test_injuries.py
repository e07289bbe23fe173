"""What is done to a pool as a whole: each injury says what came of it, and puts back what it took."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import PoolConfig, PoolNameConflict
from poolproof.harness.faults.injuries import INJURIES
from poolproof.harness.faults.stage import Stage
from poolproof.harness.history.codec import build_history
from poolproof.harness.model.fault import DESCRIPTIONS, Fault, FaultKind, FaultRecord
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.subjects.pools import find_pool

POOLS = ("v1", "v2")
both_pools = pytest.mark.parametrize("name", POOLS)


class Theatre:
    """A stage with one pool, and the records of what was done there."""

    def __init__(self, path: Path, info: Any) -> None:
        self.recorder = Recorder(path)
        self.stop = threading.Event()
        self._path, self._info = path, info

    def inflict(self, kind: FaultKind, pool: Any, *, for_s: float = 0.0, **fields: Any) -> FaultRecord:
        stage = Stage(pool=pool, recorder=self.recorder, stop=self.stop, **fields)
        INJURIES[kind](Fault(kind=kind, for_s=for_s), stage)
        self.recorder.close()
        record, *more = build_history(self._info, self._path.read_bytes().splitlines(), []).faults
        assert {each.kind for each in (record, *more)} == {kind}
        assert self.recorder.moment(f"{kind}:landed").passed.is_set()
        return record


@pytest.fixture
def theatre(tmp_path: Path, build: Any) -> Iterator[Theatre]:
    """A theatre that is always cleared."""
    theatre = Theatre(tmp_path / "history.jsonl", build.info())
    yield theatre
    theatre.recorder.close()


@pytest.fixture
def real(runtime_dir: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Make a real pool of one worker; the fields of its stage."""
    pools = []

    def make(name: str) -> dict[str, Any]:
        config = PoolConfig(name="under-test", workers=1)
        subject = find_pool(name)
        pools.append(subject.make(config, None))
        return {"pool": pools[-1], "config": config, "make": subject.make, "subject": name}

    yield make
    for pool in pools:
        pool.close(1.0)


def test_every_kind_of_fault_is_described() -> None:
    assert DESCRIPTIONS.keys() == set(FaultKind)


@both_pools
def test_a_forked_child_is_refused_and_its_parents_pool_serves_on(
    theatre: Theatre, real: Callable[..., Any], name: str
) -> None:
    fields = real(name)
    before = fields["pool"].execute("pid")["pid"]
    record = theatre.inflict(FaultKind.FORK, **fields)
    assert (record.landed, record.seen) == (True, "PoolClosed")
    assert fields["pool"].execute("pid")["pid"] == before


def test_a_pool_is_resized_and_has_its_own_size_again_afterwards(theatre: Theatre, real: Callable[..., Any]) -> None:
    fields = real("v2")
    fields["pool"].resize(3)
    record = theatre.inflict(FaultKind.RESIZE, **fields)
    assert (record.landed, record.detail) == (True, "from 3 workers to 1")
    assert fields["pool"].size == 3


def test_a_pool_is_drained_and_finishes_what_it_has_begun(theatre: Theatre, real: Callable[..., Any]) -> None:
    fields = real("v2")
    pool, answers = fields["pool"], list[Any]()
    call = threading.Thread(target=lambda: answers.append(pool.execute("sleep", {"seconds": 0.2})))
    call.start()
    while not pool.status().statistics.in_flight:
        time.sleep(0.001)
    record = theatre.inflict(FaultKind.DRAIN, for_s=60.0, **fields)
    call.join()
    assert (record.landed, answers, pool.status().state) == (True, [{"slept_s": 0.2}], "closed")


def test_a_pool_without_a_drain_is_not_drained(theatre: Theatre, real: Callable[..., Any]) -> None:
    assert not theatre.inflict(FaultKind.DRAIN, **real("v1")).landed


def test_a_second_resize_waits_until_the_first_is_taken_back(
    theatre: Theatre, real: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = real("v2")
    stage = Stage(recorder=theatre.recorder, stop=theatre.stop, **fields)
    resize, held = fields["pool"].resize, list[bool]()

    def watched(n: int) -> None:
        held.append(stage.resizing.locked())
        resize(n)

    monkeypatch.setattr(fields["pool"], "resize", watched)
    INJURIES[FaultKind.RESIZE](Fault(kind=FaultKind.RESIZE), stage)
    assert held == [True, True]
    assert not stage.resizing.locked()


def test_a_pool_of_a_fixed_size_is_not_resized(theatre: Theatre, real: Callable[..., Any]) -> None:
    assert not theatre.inflict(FaultKind.RESIZE, **real("v1")).landed


def test_a_child_that_is_served_is_told(theatre: Theatre, fake_pool: type) -> None:
    assert theatre.inflict(FaultKind.FORK, fake_pool()).seen == "served"


@both_pools
def test_a_taken_name_is_a_conflict(theatre: Theatre, real: Callable[..., Any], name: str) -> None:
    record = theatre.inflict(FaultKind.SECOND_OWNER, **real(name))
    assert (record.landed, record.seen) == (True, PoolNameConflict.__name__)
    assert "under-test" in record.detail


def test_a_second_owner_that_is_accepted_is_told_and_closed(theatre: Theatre, fake_pool: type) -> None:
    second = fake_pool()
    fields: dict[str, Any] = {"config": PoolConfig(), "make": lambda config, observer: second}
    assert theatre.inflict(FaultKind.SECOND_OWNER, fake_pool(), **fields).seen == "accepted"
    assert second.closed == [0.0]


def test_an_unknown_option_is_refused_by_its_name(theatre: Theatre, fake_pool: type) -> None:
    record = theatre.inflict(FaultKind.BAD_OPTION, fake_pool(), make=lambda config, observer: fake_pool())
    assert record.seen == "ConfigError"
    assert "'worker'" in record.detail


@pytest.mark.parametrize(("name", "seen"), [("v1", "no hooks"), ("v2", "HookError")])
def test_hooks_that_answer_junk_are_a_typed_error(
    theatre: Theatre, real: Callable[..., Any], name: str, seen: str
) -> None:
    record = theatre.inflict(FaultKind.HOOK_JUNK, **real(name))
    assert (record.landed, record.seen) == (True, seen)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.SECOND_OWNER, FaultKind.BAD_OPTION, FaultKind.PARENT_KILL, FaultKind.HOOK_JUNK, FaultKind.HELD_LEASE],
)
def test_where_no_second_pool_can_be_made_nothing_lands(theatre: Theatre, fake_pool: type, kind: FaultKind) -> None:
    assert theatre.inflict(kind, fake_pool()).landed is False


@pytest.mark.parametrize(
    ("kind", "seen"),
    [(FaultKind.STALE_LEASE, "LeaseError"), (FaultKind.LOST_LEASE, "reclaimed"), (FaultKind.HELD_LEASE, "served")],
)
def test_a_lease_is_of_no_use_after_its_end_and_is_found_when_lost(
    theatre: Theatre, real: Callable[..., Any], kind: FaultKind, seen: str
) -> None:
    record = theatre.inflict(kind, **real("v2"))
    assert (record.landed, record.seen) == (True, seen)


def test_a_drain_that_ends_a_held_lease_is_told(theatre: Theatre, real: Callable[..., Any]) -> None:
    def make(config: PoolConfig, observer: Any) -> Any:
        pool: Any = find_pool("v2").make(config, observer)
        pool.drain = lambda timeout_s: pool.close(0.0)
        return pool

    record = theatre.inflict(FaultKind.HELD_LEASE, **{**real("v2"), "make": make})
    assert (record.landed, record.seen) == (True, "PoolClosed")


def test_a_pool_without_leases_is_drained_while_nobody_holds_a_worker(
    theatre: Theatre, real: Callable[..., Any]
) -> None:
    record = theatre.inflict(FaultKind.HELD_LEASE, **real("v1"))
    assert (record.landed, record.seen) == (True, "no lease")


@pytest.mark.parametrize("kind", [FaultKind.STALE_LEASE, FaultKind.LOST_LEASE])
def test_a_pool_without_leases_has_none_to_misuse(theatre: Theatre, fake_pool: type, kind: FaultKind) -> None:
    record = theatre.inflict(kind, fake_pool())
    assert (record.landed, record.seen) == (True, "no lease")


def test_descriptors_are_exhausted_for_a_while_and_then_given_back(theatre: Theatre, fake_pool: type) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused: list[int] = []
    moment = theatre.recorder.moment("fd_exhaustion:landed").passed

    def open_meanwhile() -> None:
        moment.wait(10)
        try:
            os.close(os.dup(0))
        except OSError as error:
            refused.append(error.errno or 0)
        theatre.stop.set()

    thread = threading.Thread(target=open_meanwhile)
    thread.start()
    record = theatre.inflict(FaultKind.FD_EXHAUSTION, fake_pool(), for_s=30.0)
    thread.join(10)
    assert record.landed
    assert refused == [24]  # EMFILE
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
    os.close(os.dup(0))


@both_pools
def test_the_workers_of_a_killed_process_are_gone(
    theatre: Theatre, fake_pool: type, runtime_dir: Path, gone: Callable[..., None], name: str
) -> None:
    pids: set[int] = set()
    config = PoolConfig(name="any", workers=2)
    record = theatre.inflict(FaultKind.PARENT_KILL, fake_pool(), config=config, subject=name, pids=pids)
    assert (record.landed, record.seen) == (True, "all gone")
    assert len(pids) == 2
    gone(*pids)


def test_a_pool_that_no_other_process_can_make_is_not_orphaned(theatre: Theatre, fake_pool: type) -> None:
    record = theatre.inflict(FaultKind.PARENT_KILL, fake_pool(), config=PoolConfig(), subject="nobody")
    assert (record.landed, record.detail) == (False, "no process could make a pool 'nobody'")


def test_a_close_has_its_usual_grace_unless_another_is_given(theatre: Theatre, fake_pool: type) -> None:
    pool = fake_pool()
    assert theatre.inflict(FaultKind.CLOSE, pool).landed
    assert pool.closed == [5.0]
