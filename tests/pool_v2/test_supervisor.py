"""V2's supervisor: faults of its own cost one turn, late news harms nothing, an observer can do what it likes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, Event, EventKind, StartFailed, WorkerCrashed
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.actions import Act, Action
from poolproof.pool_v2.running.duties import Duties
from poolproof.pool_v2.running.supervisor import FAULT_PAUSE_S, Supervisor
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
HARD_LIMIT_S = 20.0


class ProcessManager:
    """A process manager whose processes never come to be: each `spawn` raises the next of the errors."""

    name = "p"

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.spawned = 0
        self._changed = threading.Condition()

    def next_id(self) -> int:
        with self._changed:
            self.spawned += 1
            self._changed.notify_all()
            return self.spawned

    def tidy(self) -> None:
        pass

    def spawn(self, worker_id: int) -> Any:
        raise self._errors.pop(0) if self._errors else StartFailed("no such program")

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.spawned >= count, HARD_LIMIT_S), "no further start"


@pytest.fixture
def supervise(desk: Any) -> Iterator[Callable[..., tuple[Any, Supervisor]]]:
    """Begin a supervisor with a fake process manager; at the end its thread is ended."""
    made: list[Supervisor] = []

    def begin(process_manager: Any, duties: Duties | None = None, **options: Any) -> tuple[Any, Supervisor]:
        pool = desk(**{"workers": 1, "failures_to_open": 99, **options})
        duties = duties or Duties()
        made.append(Supervisor(pool.core, threading.Lock(), process_manager, duties, start_timeout_s=1.0, log=None))
        return pool, made[-1]

    yield begin
    for supervisor in made:
        if not supervisor._thread.ident:
            supervisor.start()
        supervisor.stop()


# Turns with a fake process manager.


def test_a_start_that_fails_is_backed_off_from_and_tried_again(supervise: Any) -> None:
    process_manager = ProcessManager()
    pool, supervisor = supervise(process_manager)
    supervisor.start()

    process_manager.wait_for(3)
    supervisor.stop()
    assert pool.core.circuit.last_error == "no such program"
    assert pool.states() == {}, "a place whose start failed is free"


def test_a_fault_that_a_start_meets_is_a_failed_start_and_costs_no_place(
    supervise: Any, caplog: pytest.LogCaptureFixture
) -> None:
    process_manager = ProcessManager(OSError("the disk is full"), ZeroDivisionError("a slip"))
    pool, supervisor = supervise(process_manager)
    with caplog.at_level(logging.ERROR):
        supervisor.start()
        process_manager.wait_for(3)
        supervisor.stop()

    assert pool.states() == {}
    assert pool.core.circuit.last_error == "no such program"


def test_a_turn_begins_with_what_clients_wait_for_and_starts_and_releases_one_worker_at_most(
    supervise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, supervisor = supervise(ProcessManager(), workers=3)
    acts = [Act.START, Act.START, Act.RELEASE, Act.KILL, Act.RELEASE, Act.CUT_OFF, Act.WAKE]
    carried_out: list[Act] = []
    monkeypatch.setattr(pool.core, "plan", lambda now_ns: [Action(act) for act in acts])
    monkeypatch.setattr(supervisor, "_carry_out", lambda order: carried_out.append(order.act))

    assert supervisor.turn() == 0.0, "the next turn follows at once"
    assert carried_out == [Act.CUT_OFF, Act.WAKE, Act.START, Act.RELEASE, Act.KILL]


def test_every_worker_is_started_within_as_many_turns(supervise: Any) -> None:
    pool, supervisor = supervise(ProcessManager(*[StartFailed("no such program")] * 9), workers=3)
    pool.core.circuit.failed = lambda error, now_ns: None  # no start backs off
    for count in (1, 2, 3):
        supervisor.turn()
        assert supervisor._process_manager.spawned == count


class Clumsy(Duties):
    """Duties that fail at first."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.done = threading.Event()

    def beat(self, now: int) -> int:
        if self.left:
            self.left -= 1
            raise ZeroDivisionError("a slip")
        self.done.set()
        return super().beat(now)


def test_an_exception_in_one_turn_is_logged_and_the_next_turn_works(
    supervise: Any, caplog: pytest.LogCaptureFixture
) -> None:
    duties = Clumsy(2)
    _, supervisor = supervise(ProcessManager(), duties, floor=0)
    with caplog.at_level(logging.ERROR):
        supervisor.start()
        for _ in range(2):
            supervisor.look()
        assert duties.done.wait(HARD_LIMIT_S)

    faults = [record for record in caplog.records if record.exc_info and record.exc_info[0] is ZeroDivisionError]
    assert len(faults) == 2


class FaultyDoor:
    """A channel that fails when it is told to end its worker."""

    def __init__(self, *, faulty: bool) -> None:
        self._faulty = faulty
        self.told: list[str] = []
        self.process = self
        self.pid = 1

    def cut_off(self) -> None:
        if self._faulty:
            raise ZeroDivisionError("a slip")
        self.told.append("cut_off")

    def kill(self) -> None:
        self.told.append("kill")


def test_an_order_that_fails_costs_no_order_behind_it_and_a_pause(
    supervise: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool, supervisor = supervise(ProcessManager(), workers=3, ready=3)
    doors = [FaultyDoor(faulty=True), FaultyDoor(faulty=False), FaultyDoor(faulty=False)]
    for worker_id, door in enumerate(doors, start=1):
        pool.worker(worker_id).transport = door
        pool.worker(worker_id).reachable = True
    for call in (1, 2):
        pool.lease(call, deadline_ns=1)
    pool.leave(pool.lease(3), clean=False)

    with caplog.at_level(logging.ERROR):
        pause_s = supervisor.turn()

    assert [door.told for door in doors] == [[], ["cut_off"], ["kill"]]
    assert pause_s == FAULT_PAUSE_S, "what fails again and again takes no whole processor, and stops no watch"
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


def test_an_abandoned_ticket_is_taken_back_without_waiting_for_the_lock(supervise: Any) -> None:
    pool, supervisor = supervise(ProcessManager(), ready=1)
    door = pool.worker(1).transport = FaultyDoor(faulty=False)
    pool.worker(1).reachable = True
    holder, waiting = pool.lease(1), pool.enter(2)

    with supervisor.lock:
        supervisor.abandon(holder)
        assert pool.core.held == {1: holder}
    supervisor.turn()

    assert (holder.worker, pool.core.held) == (None, {})
    assert door.told == ["kill"]
    assert pool.core.waiting == 1
    assert waiting.gate.locked(), "nobody has woken it"


def test_a_hand_off_that_was_torn_is_made_good_in_one_turn(supervise: Any) -> None:
    pool, supervisor = supervise(ProcessManager(), ready=1)
    holder, waiting = pool.lease(1), pool.enter(2)
    pool.leave(holder)  # and nobody was told

    assert waiting.gate.locked()
    supervisor.turn()

    assert not waiting.gate.locked(), "it is woken"


def test_an_order_about_a_worker_that_has_no_process_yet_is_nothing(supervise: Any) -> None:
    pool, supervisor = supervise(ProcessManager(), ready=1)
    pool.core.retire(pool.worker(1), "heavy")

    supervisor.turn()

    assert pool.states() == {1: "dying"}


def test_looking_and_stopping_after_the_end_does_nothing(supervise: Any) -> None:
    _, supervisor = supervise(ProcessManager(), floor=0)
    supervisor.start()
    supervisor.stop()

    supervisor.look()
    supervisor.stop()
    assert not supervisor._thread.is_alive()


def test_a_forked_child_closes_its_copies_of_the_descriptors_and_the_parent_goes_on(supervise: Any) -> None:
    duties = Clumsy(0)
    _, supervisor = supervise(ProcessManager(), duties, floor=0)
    fds = [supervisor.watch._epoll.fileno(), supervisor.watch._wake]
    pid = os.fork()
    if pid == 0:
        left = 0
        for fd in fds:
            try:
                os.fstat(fd)
                left += 1
            except OSError:
                pass
        supervisor.look()  # raises if it writes to a closed descriptor
        os._exit(left)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    assert [os.fstat(fd).st_ino > 0 for fd in fds] == [True, True]
    supervisor.start()
    assert duties.done.wait(HARD_LIMIT_S)


# Real workers.


def test_a_worker_that_dies_between_its_checkin_and_its_retirement_is_replaced(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, gone: Any, until: Any
) -> None:
    pool = make_pool(max_requests=1)
    supervisor = pool._engine.supervisor
    signalled = supervisor.signal

    def late_signal(act: Act, worker: Any, reason: str) -> None:
        if act is Act.RETIRE:  # decided, but not yet told: the worker dies first
            pid = worker.transport.process.pid
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid), "the worker is dead")
        signalled(act, worker, reason)

    monkeypatch.setattr(supervisor, "signal", late_signal)

    pids = [pool.execute("pid")["pid"] for _ in range(3)]

    assert len(set(pids)) == 3


def raising(event: Event) -> None:
    raise ZeroDivisionError(f"the observer fails at {event.kind}")


def test_an_observer_that_raises_harms_no_call_and_no_worker(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    with caplog.at_level(logging.ERROR):
        pool = make_pool(raising, workers=2)
        assert pool.warm_up() == 2
        pids = {worker.pid for worker in pool.status().workers}
        assert {pool.execute("pid")["pid"] for _ in range(4)} == pids
        with pytest.raises(CallTimeout):
            pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
        with pytest.raises(WorkerCrashed):
            pool.execute("exit")
        assert pool.execute_in_session("s", "append", {"key": "k", "value": 1})["values"] == [1]
        until(lambda: len([w for w in pool.status().workers if w.state == "idle"]) == 2, "both are replaced")
        assert pool.status().statistics.outcomes == {"result": 5, "CallTimeout": 1, "WorkerCrashed": 1}
        pool.close()

    assert pool.status().state == "closed"
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    told = {error.args[0].split()[-1] for error in errors if error is not None}
    assert told >= {kind.value for kind in EventKind} - {"offer", "withdraw"}


def test_an_observer_that_raises_at_a_hand_off_leaves_the_waiter_its_worker(
    make_pool: MakePool, client: Any, until: Any, pid_of: Any
) -> None:
    pool = make_pool(raising)
    pid = pid_of(pool)
    stop(pid)
    calls = [client(pool.execute, "pid", timeout_s=30.0, checkout_timeout_s=30.0) for _ in range(3)]
    until(lambda: pool.status().waiting == 2, "two calls wait")

    os.kill(pid, signal.SIGCONT)

    assert [call.result()["pid"] for call in calls] == [pid] * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_whatever_an_observer_raises_no_call_notices_and_it_hears_of_the_next(
    make_pool: MakePool, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[EventKind] = []

    def interrupted(event: Event) -> None:
        told.append(event.kind)
        if event.call == 1 and event.kind is EventKind.CHECKIN:
            raise error

    pool = make_pool(interrupted)
    assert [pool.execute("echo", {"value": n}) for n in range(2)] == [0, 1]
    statistics = pool.status().statistics
    assert (statistics.in_flight, statistics.outcomes) == (0, {"result": 2})
    pool.close()
    assert told[-1] is EventKind.CLOSE
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error]
