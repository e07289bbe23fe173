"""The recorder: times come from the pool's events, every call has one end, and every line reaches the file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    Event,
    EventKind,
    PoolClosed,
    Sent,
    ServiceInterval,
    SessionLost,
    SessionStatus,
    Statistics,
    WorkerCrashed,
)
from poolproof.harness.history.codec import build_history
from poolproof.harness.history.history import History, Leftovers, OpType
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.workload import Step
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.run.recording.worker_tracker import WorkerTracker

STEP = Step(command="echo", label="step")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


@pytest.fixture
def roll() -> WorkerTracker:
    """Which workers are busy."""
    return WorkerTracker()


@pytest.fixture
def recorder(path: Path, roll: WorkerTracker) -> Iterator[Recorder]:
    """A recorder that is always closed."""
    recorder = Recorder(path, roll)
    yield recorder
    recorder.close()


@pytest.fixture
def read(recorder: Recorder, path: Path, build: Any) -> Any:
    """Close the recorder and read what it wrote."""

    def history() -> History:
        recorder.close()
        return build_history(build.info(), path.read_bytes().splitlines(), [])

    return history


def events(*kinds: EventKind, call: int = 7) -> list[Event]:
    return [Event(kind, 1000 + number, call, 3, 33) for number, kind in enumerate(kinds)]


def in_thread(work: Any, *args: Any) -> None:
    thread = threading.Thread(target=work, args=args)
    thread.start()
    thread.join(10)


STEPS = (EventKind.ENQUEUE, EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN, EventKind.DONE)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_events_reach_their_operation_by_its_number_however_late_and_in_any_order(
    recorder: Recorder, build: Any, read: Any, late: bool, backwards: bool
) -> None:
    first, second = events(*STEPS), events(*STEPS, call=8)
    told = [msgspec.structs.replace(first[0], correlation=1), *first[1:]]
    told += [msgspec.structs.replace(second[0], correlation=2), *second[1:]]
    running = [recorder.invoke(STEP, build.op(index, 0, None)) for index in (0, 1)]

    def deliver() -> None:
        for event in reversed(told) if backwards else told:
            recorder.observe(event)

    if not late:
        in_thread(deliver)
    for each in running:
        recorder.complete(each, STEP, value=[1], error=None)
    if late:
        in_thread(deliver)
    ops = read().ops
    assert [(op.checked_out_ns, op.sent_ns, op.received_ns) for op in ops] == [(1001, 1002, 1003)] * 2
    assert [(op.call, op.worker, op.pid, op.outcome, op.completions) for op in ops] == [
        (7, 3, 33, "result", 1),
        (8, 3, 33, "result", 1),
    ]


def test_a_pool_that_gives_no_number_tells_in_the_thread_of_its_client(
    recorder: Recorder, build: Any, read: Any
) -> None:
    runnings = [recorder.invoke(STEP, build.op(0, 0, None))]
    recorder.observe(Event(EventKind.ENQUEUE, 1, 1))
    runnings.append(recorder.invoke(STEP, build.op(1, 0, None)))
    recorder.observe(Event(EventKind.ENQUEUE, 2, 2))
    in_thread(recorder.observe, Event(EventKind.SEND, 50, 1, 4, 44))
    for running in runnings:
        recorder.complete(running, STEP, value=1, error=None)
    assert [(op.call, op.sent_ns, op.pid) for op in read().ops] == [(1, 50, 44), (2, None, None)]


def test_an_error_that_is_none_of_a_pools_says_where_it_was_raised(recorder: Recorder, build: Any, read: Any) -> None:
    running = recorder.invoke(STEP, build.op(0, 0, None))
    try:
        os.close(-1)
    except OSError as error:
        recorder.complete(running, STEP, value=None, error=error)
    (op,) = read().ops
    assert op.outcome == "foreign OSError"
    assert "Bad file descriptor (raised in test_an_error" in op.error
    assert f"{Path(__file__).name}:" in op.error


def test_the_events_of_a_batch_belong_to_no_single_operation(recorder: Recorder, build: Any, read: Any) -> None:
    running = recorder.invoke(STEP, build.op(0, 0, None))
    recorder.detach()
    recorder.observe(Event(EventKind.ENQUEUE, 1, 1))
    recorder.complete(running, STEP, value=1, error=None)
    assert [op.call for op in read().ops] == [None]


def test_events_of_no_known_call_are_recorded_and_change_nothing(recorder: Recorder, build: Any, read: Any) -> None:
    running = recorder.invoke(STEP, build.op(0, 0, None))
    for event in (*events(EventKind.SEND, call=99), Event(EventKind.SPAWN, 5, None, 1, 11), Event(EventKind.CLOSE, 6)):
        recorder.observe(event)
    recorder.observe(Event(EventKind.ENQUEUE, 7, 98, correlation=1000))
    recorder.complete(running, STEP, value=1, error=None)
    history = read()
    assert len(history.events) == 4
    assert [(op.call, op.sent_ns) for op in history.ops] == [(None, None)]


def test_a_worker_is_known_from_its_journal_where_no_event_tells(recorder: Recorder, build: Any, path: Path) -> None:
    for index in (0, 1):
        recorder.complete(recorder.invoke(STEP, build.op(index, 0, None)), STEP, value=1, error=None)
    recorder.close()
    served = [
        ServiceInterval(4, 44, 9, "echo", "1.0.1", 70, 80, True),  # a handover repeats it, on another worker
        ServiceInterval(3, 33, 8, "echo", "1.0.1", 50, 60, True),
    ]
    history = build_history(build.info(observed=False), path.read_bytes().splitlines(), served)
    assert [(op.worker, op.pid) for op in history.ops] == [(None, None), (3, 33)]
    assert history.serving.tolist() == [-1, 0]


def test_an_enqueue_outside_any_operation_belongs_to_nobody(recorder: Recorder, read: Any) -> None:
    recorder.observe(Event(EventKind.ENQUEUE, 1, 1))
    history = read()
    assert len(history.events) == 1
    assert history.ops == ()


@pytest.mark.parametrize(
    ("error", "kind", "outcome", "sent"),
    [
        (CommandError("no"), OpType.FAIL, "CommandError", "yes"),
        (CheckoutTimeout("no"), OpType.FAIL, "CheckoutTimeout", "no"),
        (PoolClosed("no"), OpType.FAIL, "PoolClosed", "no"),
        (PoolClosed("no", sent=Sent.YES), OpType.INFO, "PoolClosed", "yes"),
        (CallTimeout("no", sent=Sent.YES), OpType.INFO, "CallTimeout", "yes"),
        (CallTimeout("no", sent=Sent.MAYBE), OpType.INFO, "CallTimeout", "maybe"),
        (WorkerCrashed("no", sent=Sent.MAYBE), OpType.INFO, "WorkerCrashed", "maybe"),
        (SessionLost("no"), OpType.FAIL, "SessionLost", "no"),
        (KeyError("no"), OpType.INFO, "foreign KeyError", "maybe"),
        (KeyboardInterrupt("no"), OpType.INFO, "foreign KeyboardInterrupt", "maybe"),
    ],
)
def test_a_call_that_may_have_happened_is_info_and_never_fail(
    recorder: Recorder, build: Any, error: BaseException, kind: OpType, outcome: str, sent: str
) -> None:
    op = recorder.complete(recorder.invoke(STEP, build.op(0, 0, None)), STEP, value=None, error=error)
    assert (op.type, op.outcome, op.sent) == (kind, outcome, sent)
    assert "no" in op.error


def test_a_call_that_never_ends_is_pending_in_the_history(recorder: Recorder, build: Any, read: Any) -> None:
    recorder.invoke(STEP, build.op(0, 0, None))
    (op,) = read().ops
    assert (op.outcome, op.type, op.completed_ns, op.completions) == ("pending", OpType.INFO, None, 0)


def test_a_moment_passes_when_a_journal_tells_of_the_first_call_of_its_label(
    recorder: Recorder, roll: WorkerTracker, build: Any
) -> None:
    roll.journalled = True
    sent, done = recorder.moment("step:sent"), recorder.moment("step:done")
    first = recorder.invoke(STEP, build.op(0, 0, None, label="step"))
    for event in (Event(EventKind.ENQUEUE, 1, 1), Event(EventKind.SEND, 2, 1, 3, 33)):
        recorder.observe(event)
    recorder.begun("another", pid=32, worker=2, at_ns=3)
    assert not sent.passed.is_set()
    recorder.begun("1.0.0", pid=33, worker=3, at_ns=4)
    assert sent.passed.is_set()
    assert (first.pid, first.worker, first.received_ns) == (33, 3, None)
    recorder.answered("1.0.0", 5)
    assert first.received_ns == 5
    assert not done.passed.is_set()
    recorder.complete(first, STEP, value=1, error=None)
    assert done.passed.is_set()
    second = recorder.invoke(STEP, build.op(1, 0, None, label="step"))
    recorder.complete(second, STEP, value=1, error=None)
    assert sent.running is done.running is first


def test_where_no_worker_keeps_a_journal_a_moment_passes_by_the_pools_events(recorder: Recorder, build: Any) -> None:
    sent = recorder.moment("step:sent")
    running = recorder.invoke(STEP, build.op(0, 0, None, label="step"))
    in_thread(recorder.observe, Event(EventKind.ENQUEUE, 1, 1, correlation=1))
    assert not sent.passed.is_set()
    in_thread(recorder.observe, Event(EventKind.SEND, 2, 1, 3, 33))
    assert sent.running is running
    assert (running.pid, running.worker, running.received_ns) == (33, 3, None)
    in_thread(recorder.observe, Event(EventKind.RECEIVE, 3, 1, 3, 33))
    assert running.received_ns == 3


def test_a_moment_that_nobody_asked_for_and_a_step_without_a_label_pass_silently(
    recorder: Recorder, build: Any
) -> None:
    moment = recorder.moment("other:done")
    for step in (STEP, Step(command="echo")):
        recorder.complete(recorder.invoke(step, build.op(0, 0, None)), step, value=1, error=None)
    assert not moment.passed.is_set()


@pytest.mark.parametrize(("was_sent", "error", "landed"), [(True, None, True), (False, CheckoutTimeout("no"), False)])
def test_a_step_that_is_a_fault_landed_only_if_it_was_sent(
    recorder: Recorder, build: Any, read: Any, was_sent: bool, error: Exception | None, landed: bool
) -> None:
    step = Step(command="exit", fault=FaultKind.EXIT)
    running = recorder.invoke(step, build.op(0, 0, None))
    recorder.observe(Event(EventKind.ENQUEUE, 1, 1))
    if was_sent:
        recorder.observe(Event(EventKind.SEND, 2, 1, 3, 33))
    recorder.complete(running, step, value=None, error=error)
    (fault,) = read().faults
    assert (fault.kind, fault.landed, fault.detail) == (FaultKind.EXIT, landed, "exit")


def test_marks_leftovers_statistics_and_sessions_are_kept(recorder: Recorder, read: Any) -> None:
    statistics = Statistics(submitted=1, in_flight=0, outcomes={"result": 1})
    sessions = (SessionStatus(session_id="a", operations=1, version=0, worker_id=None),)
    recorder.mark("begun")
    recorder.mark("trouble", "a thing")
    recorder.leftovers(Leftovers(threads=("left",)))
    recorder.statistics(statistics)
    recorder.sessions(sessions)
    history = read()
    assert history.begun_ns is not None
    assert history.trouble == "a thing"
    assert history.leftovers == Leftovers(threads=("left",))
    assert history.statistics == statistics
    assert history.sessions == sessions


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", {(1, 2): 3}, float("nan"), 2**80, "\ud800", {"a": ["\udfff"]}]
)
def test_a_value_that_is_no_json_costs_no_line(recorder: Recorder, build: Any, read: Any, value: Any) -> None:
    recorder.complete(recorder.invoke(STEP, build.op(0, 0, None)), STEP, value=value, error=None)
    recorder.mark("finished")
    history = read()
    assert [(op.outcome, op.completions) for op in history.ops] == [("result", 1)]
    assert history.finished
    assert history.torn_lines == 0


def test_arguments_and_errors_that_are_no_json_cost_no_line(recorder: Recorder, build: Any, read: Any) -> None:
    running = recorder.invoke(STEP, build.op(0, 0, None, args={"value": "\ud800"}))
    recorder.complete(running, STEP, value=None, error=CommandError("about \ud800"))
    history = read()
    assert [op.outcome for op in history.ops] == ["CommandError"]
    assert "ud800" in history.ops[0].error
    assert history.torn_lines == 0


class Mute:
    """A value that cannot even be told as text."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_a_line_that_cannot_be_written_at_all_is_a_trouble_and_costs_no_other(
    recorder: Recorder, build: Any, read: Any
) -> None:
    recorder.complete(recorder.invoke(STEP, build.op(0, 0, None)), STEP, value=Mute(), error=None)
    recorder.observe(Event(EventKind.KILL, 5, None, 1, 11, "because \ud800"))
    recorder.mark("finished")
    history = read()
    assert history.trouble == (
        "a EndLine could not be written: RuntimeError; a EventLine could not be written: UnicodeEncodeError"
    )
    assert history.finished
    assert [op.outcome for op in history.ops] == ["pending"]


def test_every_line_of_many_threads_is_written_by_the_close(recorder: Recorder, build: Any, read: Any) -> None:
    def work(client: int) -> None:
        for number in range(100):
            running = recorder.invoke(STEP, build.op(client * 100 + number, 0, None))
            recorder.complete(running, STEP, value="x" * 500, error=None)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    history = read()
    assert len(history.ops) == 400
    assert all(op.completions == 1 for op in history.ops)
    assert history.torn_lines == 0


def test_lines_are_on_disk_before_the_close(recorder: Recorder, path: Path, until: Any) -> None:
    recorder.mark("begun")
    until(lambda: b"begun" in path.read_bytes(), "the mark is written")


def test_samples_are_taken_along(recorder: Recorder, path: Path, read: Any, until: Any) -> None:
    until(lambda: path.read_bytes().count(b'"sample"') >= 4, "two samples are taken")  # its tag and its field
    first, second = read().samples[:2]
    assert first.at_ns < second.at_ns
    assert first.memory_bytes > 0
    assert first.threads >= 2


def test_closing_again_does_nothing(recorder: Recorder) -> None:
    recorder.close()
    recorder.close()
    assert not any(thread.name == "recorder" and thread is recorder._thread for thread in threading.enumerate())
