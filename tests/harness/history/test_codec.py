"""A history from lines: the later line of an operation counts, and what is torn is counted, never guessed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from poolproof.bridge import EventKind, SessionStatus, Statistics
from poolproof.harness.history.codec import (
    End,
    EndLine,
    EventLine,
    FaultLine,
    LeftoversLine,
    Line,
    MarkLine,
    OpLine,
    SampleLine,
    SessionsLine,
    StatisticsLine,
    build_history,
)
from poolproof.harness.history.history import Leftovers, OpType, Sample
from poolproof.harness.model.fault import FaultKind


def written(*lines: Line) -> list[bytes]:
    return [msgspec.json.encode(line) for line in lines]


def test_every_kind_of_line_finds_its_place(build: Any) -> None:
    op, event, fault = build.op(0), build.event(EventKind.SPAWN, 1, worker=1, pid=9), build.fault(FaultKind.KILL)
    statistics = Statistics(submitted=1, in_flight=0, outcomes={"result": 1})
    sessions = (SessionStatus(session_id="a", operations=1, version=0, worker_id=None),)
    service = build.service(101, 1, 0, 5)
    marks = ("begun", "ended", "close_began", "close_ended", "finished")
    lines = written(
        OpLine(op),
        EventLine(event),
        FaultLine(fault),
        LeftoversLine(Leftovers(processes=(3,))),
        StatisticsLine(statistics),
        SessionsLine(sessions),
        *(MarkLine(name, number) for number, name in enumerate(marks)),
    )
    history = build_history(build.info(), lines, [service])
    assert (history.ops, history.events, history.faults, history.services) == ((op,), (event,), (fault,), (service,))
    assert history.leftovers == Leftovers(processes=(3,))
    assert history.statistics == statistics
    assert history.sessions == sessions
    assert (history.begun_ns, history.ended_ns, history.close_began_ns, history.close_ended_ns) == (0, 1, 2, 3)
    assert history.finished
    assert (history.trouble, history.torn_lines) == ("", 0)


def test_the_end_of_an_operation_replaces_its_begin(build: Any) -> None:
    begun, ended = build.op(3, 0, None), build.op(3, 0, 20)
    history = build_history(build.info(), written(OpLine(begun), OpLine(ended)), [])
    assert history.ops == (ended,)
    assert history.ops[0].completions == 1


def test_the_end_line_of_an_operation_adds_to_its_begin(build: Any) -> None:
    begun = build.op(3, 0, None, label="step", session="s", timeout_s=2.0)
    ended = build.op(3, 0, 20, label="step", session="s", timeout_s=2.0, call=7, worker=1, pid=101)
    end = End(
        index=3,
        completed_ns=ended.completed_ns,
        type=OpType.OK,
        outcome="result",
        sent="yes",
        value=ended.value,
        call=7,
        worker=1,
        pid=101,
    )
    assert build_history(build.info(), written(OpLine(begun), EndLine(end)), []).ops == (ended,)
    twice = build_history(build.info(), written(OpLine(begun), EndLine(end), EndLine(end)), [])
    assert twice.ops[0].completions == 2
    alone = build_history(build.info(), written(EndLine(end)), [])
    assert (alone.ops, alone.torn_lines) == ((), 1)


def test_samples_are_kept_in_their_order(build: Any) -> None:
    samples = (Sample(1, 2, 3, 4, 5), Sample(6, 7, 8, 9, 10))
    assert build_history(build.info(), written(*map(SampleLine, samples)), []).samples == samples


def test_an_operation_that_only_began_is_pending(build: Any) -> None:
    history = build_history(build.info(), written(OpLine(build.op(3, 0, None))), [])
    assert [(op.outcome, op.completions) for op in history.ops] == [("pending", 0)]


def test_two_ends_of_one_operation_are_both_counted(build: Any) -> None:
    lines = written(OpLine(build.op(0, 0, None)), OpLine(build.op(0, 0, 5)), OpLine(build.op(0, 0, 9)))
    assert build_history(build.info(), lines, []).ops[0].completions == 2


def test_operations_come_in_the_order_of_their_numbers(build: Any) -> None:
    lines = written(*(OpLine(build.op(n)) for n in (2, 0, 1)))
    assert [op.index for op in build_history(build.info(), lines, []).ops] == [0, 1, 2]


@pytest.mark.parametrize(
    "torn",
    [b'{"type":"op","op":{"ind', b"", b"\xff\xfe", b'{"type":"gossip"}', b"[1]", b'{"type":"mark","name":"\xff"}'],
)
def test_a_torn_or_strange_line_is_counted_and_the_rest_is_kept(build: Any, torn: bytes) -> None:
    lines = [*written(OpLine(build.op(0))), torn, *written(MarkLine("finished", 5))]
    history = build_history(build.info(), lines, [])
    assert history.torn_lines == 1
    assert len(history.ops) == 1
    assert history.finished


def test_the_first_mark_of_a_name_counts(build: Any) -> None:
    lines = written(MarkLine("close_began", 10), MarkLine("close_began", 90), MarkLine("close_ended", 20))
    history = build_history(build.info(), lines, [])
    assert (history.close_began_ns, history.close_ended_ns) == (10, 20)
    assert not history.finished


def test_troubles_are_told_together(build: Any) -> None:
    lines = written(MarkLine("trouble", 1, "one thing"), MarkLine("trouble", 2, "another"))
    assert build_history(build.info(), lines, []).trouble == "one thing; another"
