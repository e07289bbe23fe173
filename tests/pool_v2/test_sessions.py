"""The session table: versions on each worker, the log and its snapshot, what a handover repeats, ends."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest

from poolproof.pool_v2.core.sessions import CLEAN_UP, Session, SessionTable, StateChange
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker

LIMIT = 100
FORGET = StateChange(CLEAN_UP, {"session_id": "s"})


class Table(SessionTable):
    """A table whose calls are numbered by themselves, and end in the order in which they began."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    def begin(self, session_id: str, number: int | None = None) -> Session:
        return super().begin(session_id, next(self._numbers) if number is None else number)

    def release(self, session: Session, *moment: int) -> None:
        *number, now_ns = moment
        super().release(session, number[0] if number else min(session.users, default=0), now_ns)


def test_a_call_that_ended_without_a_release_keeps_no_session() -> None:
    table = Table()
    table.in_flight = {1, 2}.__contains__
    session = table.begin("s")
    session.operations = 1
    table.begin("s", 7)  # it was interrupted in its last step
    table.release(session, 1, 5)
    assert session.users == {7}
    session.held = {3: 0}
    assert table.end_expired(10, 15, 1) == ([session], True)
    assert table.is_unused(session, 15)
    table.begin("s", 2)
    assert not table.is_unused(session, 15)
    assert table.end_expired(10, 25, 1) == ([], True), "this one has yet to end"
    table.release(session, 2, 20)
    table.release(session, 2, 20)
    table.begin("s", 8)
    assert table.end("s")
    assert table.get("s") is None


def test_a_session_whose_abandoned_call_still_has_a_worker_does_not_expire() -> None:
    table = Table()
    session = table.begin("s")
    session.operations = 1
    session.holder = Ticket(1, session)
    session.holder.worker = Worker(7)
    table.release(session, 1, 5)
    assert table.end_expired(10, 15, 1) == ([], True)
    session.holder.worker = None  # its grant was interrupted: it holds nothing
    assert table.end_expired(10, 25, 1) == ([], True)
    assert len(table) == 0


def change(value: int) -> StateChange:
    return StateChange("append", {"key": "k", "value": value})


def changed(session: Session, worker_id: int, *values: int, size_bytes: int = 10) -> bool:
    """Some acknowledged changes on a worker that had the last version; whether the log is full after them."""
    full = False
    for value in values:
        full = session.changed(change(value), size_bytes, worker_id, limit_bytes=LIMIT)
    return full


def used(session_id: str = "s", *, worker_id: int = 1, values: tuple[int, ...] = ()) -> Session:
    session = Session(session_id)
    session.met(worker_id)
    changed(session, worker_id, *values)
    return session


# Versions and handovers.


def test_a_new_session_has_nothing_to_repeat_anywhere() -> None:
    session = Session("s")

    assert session.lacks(3) == ()
    assert (session.lost, session.blank, session.worker_id) == ("", True, None)


def test_a_worker_that_has_the_last_version_lacks_nothing() -> None:
    assert used(values=(1, 2)).lacks(1) == ()


def test_a_new_worker_lacks_every_acknowledged_change_in_order() -> None:
    session = used(values=(1, 2, 3))

    assert session.lacks(2) == (change(1), change(2), change(3))
    assert session.lacks(9) == session.lacks(2), "to ask changes nothing"
    assert session.worker_id == 1


def test_a_worker_that_is_behind_lacks_only_what_came_since() -> None:
    session = used(values=(1, 2))
    session.met(2)
    changed(session, 2, 3, 4)

    assert session.lacks(1) == (change(3), change(4))
    assert session.lacks(2) == ()
    assert session.lacks(3) == (change(1), change(2), change(3), change(4))
    assert session.held == {1: 2, 2: 4}


def test_a_worker_that_was_met_has_the_last_version_and_is_the_session_s_own() -> None:
    session = used(values=(1, 2))

    session.met(5)

    assert (session.worker_id, session.held) == (5, {1: 2, 5: 2})
    assert session.lacks(5) == ()


def test_what_a_worker_lacked_does_not_change_with_later_calls() -> None:
    session = used(values=(1,))
    lacked = session.lacks(2)

    changed(session, 1, 2)

    assert lacked == (change(1),)


# The log, its limit and the snapshot.


def test_a_log_exactly_at_its_limit_is_not_full_and_one_byte_more_is() -> None:
    session = used()

    assert not session.changed(change(1), LIMIT, 1, limit_bytes=LIMIT)
    assert session.changed(change(2), 1, 1, limit_bytes=LIMIT)


@pytest.mark.parametrize("base", [None, StateChange("restore", {"state": "huge"})])
def test_a_full_log_without_a_snapshot_that_fits_is_dropped(base: StateChange | None) -> None:
    session = used(values=(1, 2))

    session.condense(base, LIMIT + 1, limit_bytes=LIMIT)

    assert (session.log, session.base) == (None, None)
    assert session.lacks(1) == (), "it lives as long as its worker"
    assert session.lost == ""


def test_a_session_whose_log_was_dropped_is_lost_on_any_other_worker() -> None:
    session = used(values=(1, 2))
    session.condense(None, 0, limit_bytes=LIMIT)

    assert session.lacks(2) == ()
    assert session.lost == "its state was lost with worker 1, because the session's log had outgrown session_log_bytes"


def test_versions_go_on_after_the_log_was_dropped_and_it_is_never_full_again() -> None:
    session = used(values=(1, 2))
    session.condense(None, 0, limit_bytes=LIMIT)

    assert not changed(session, 1, 3, size_bytes=LIMIT * 2)
    assert (session.version, session.held, session.log) == (3, {1: 3}, None)


def test_a_snapshot_replaces_the_log_and_what_comes_later_is_repeated_after_it() -> None:
    session = used(values=(1, 2))
    base = StateChange("restore", {"state": [1, 2]})
    session.condense(base, 30, limit_bytes=LIMIT)

    assert (session.log, session.log_bytes, session.base_version) == ([], 30, 2)
    assert session.lacks(2) == (base,)
    changed(session, 1, 3)
    assert session.lacks(2) == (base, change(3))


def test_a_worker_that_is_behind_a_snapshot_begins_with_it_and_one_that_is_not_goes_on_from_where_it_was() -> None:
    session = used(values=(1, 2))
    session.met(2)
    changed(session, 2, 3)
    base = StateChange("restore", {"state": [1, 2, 3]})
    session.condense(base, 30, limit_bytes=LIMIT)
    session.met(3)
    changed(session, 2, 4, 5)

    assert session.lacks(1) == (base, change(4), change(5)), "it had version 2"
    assert session.lacks(3) == (change(4), change(5)), "it had version 3, the snapshot's"
    assert session.lacks(2) == ()


def test_a_snapshot_counts_against_the_limit_and_can_be_replaced_by_the_next() -> None:
    session = used(values=(1,))
    session.condense(StateChange("restore", {"state": [1]}), 95, limit_bytes=LIMIT)

    assert changed(session, 1, 2), "95 + 10 bytes"
    base = StateChange("restore", {"state": [1, 2]})
    session.condense(base, LIMIT, limit_bytes=LIMIT)
    assert session.lacks(2) == (base,)


# Ends.


def test_an_ended_session_begins_anew_and_blank() -> None:
    table = Table()
    session = table.begin("s")
    session.operations = 3
    changed(session, 1, 1)
    table.release(session, 0)

    assert table.end("s")
    assert not table.end("s")
    assert "s" not in table
    anew = table.begin("s")
    assert (anew.operations, anew.version, anew.lacks(2)) == (0, 0, ())


def test_a_worker_that_has_something_of_the_ended_session_cleans_up_before_it_serves_the_new_one() -> None:
    table = Table()
    session = table.begin("s")
    session.met(1)
    changed(session, 1, 1)
    session.met(2)
    table.release(session, 0)
    table.end("s", cleaned_on=2)
    anew = table.begin("s")

    assert anew.lacks(1) == (FORGET,)
    assert anew.lacks(2) == ()
    changed(anew, 2, 7)
    assert anew.lacks(1) == (FORGET, change(7))
    base = StateChange("restore", {"state": [7]})
    anew.condense(base, 10, limit_bytes=LIMIT)
    assert anew.lacks(1) == (FORGET, base)
    anew.met(1)
    assert anew.lacks(1) == ()


def test_a_session_that_ends_while_calls_of_it_wait_is_begun_anew_by_them() -> None:
    table = Table()
    session = table.begin("s")
    changed(session, 1, 1, 2)
    session.lost = "its log had outgrown the limit"
    session.failures = 1
    waiting = table.begin("s")

    assert table.end("s")

    assert waiting is session
    assert table.get("s") is session
    assert (len(session.users), session.version, session.lost, session.failures) == (2, 0, "", 0)
    assert session.lacks(1) == (FORGET,)


def test_a_worker_on_which_a_call_goes_on_while_the_session_ends_cleans_up_too() -> None:
    table = Table()
    session = table.begin("s")
    session.met(1)
    changed(session, 1, 1)
    table.end("s")
    session.answered(1)
    changed(session, 1, 2)

    assert session.lacks(1) == (FORGET, change(2)), "it still has what came before the end"
    assert session.lacks(2) == (change(2),)
    assert session.worker_id is None, "nobody need wait for it"


def test_what_is_stale_stays_so_through_several_ends() -> None:
    table = Table()
    session = table.begin("s")
    changed(session, 1, 1)
    table.end("s")
    changed(session, 2, 1)
    table.end("s")

    assert session.stale == {1, 2}
    session.met(1)
    assert session.stale == {2}


def test_a_worker_that_is_gone_is_neither_stale_nor_behind() -> None:
    table = Table()
    living, ended = table.begin("living"), table.begin("ended")
    for session in (living, ended):
        changed(session, 1, 1)
        changed(session, 2, 2)
    table.end("living")
    changed(living, 1, 3)
    table.release(ended, 0)
    table.end("ended")

    table.has_worker = {2}.__contains__
    table.forget_worker(1)

    assert table.begin("ended").stale == {2}
    table.release(ended, 0)
    table.end("living")
    table.release(living, 0)
    assert table._stale == {2: {"living"}}, "the call that began the ended session anew goes on"
    table.forget_worker(2)
    assert table._stale == {}


def test_a_session_that_knows_of_many_workers_forgets_those_that_are_gone() -> None:
    table = Table()
    living = {1, 2, *range(50, 60)}
    table.has_worker = living.__contains__
    session = table.begin("s")
    for worker_id in range(1, 60):
        changed(session, worker_id, 1)
        if worker_id % 10 == 0:
            table.begin("s")
    table.begin("s")
    assert session.held.keys() == living
    assert session.lacks(1) == tuple(change(1) for _ in range(58)), "what it had is remembered"


def test_the_record_of_stale_workers_goes_with_the_last_of_them() -> None:
    table = Table()
    session = table.begin("s")
    changed(session, 1, 1)
    table.release(session, 0)
    table.end("s")
    assert table._stale == {1: {"s"}}

    table.forget_worker(1)

    assert table._stale == {}


# The table.


def test_beginning_a_session_again_keeps_its_counters() -> None:
    table = Table()
    table.begin("s").operations += 1

    assert table.begin("s").operations == 1
    assert len(table) == 1


def test_a_session_in_which_nothing_was_ever_answered_goes_with_its_last_call() -> None:
    table = Table()
    first, second = table.begin("s"), table.begin("s")

    table.release(first, 0)
    assert "s" in table
    table.release(second, 0)
    assert ("s" in table, len(table)) == (False, 0)


@pytest.mark.parametrize("kept", ["operations", "version", "lost"])
def test_a_session_that_has_something_to_tell_outlives_its_calls(kept: str) -> None:
    table = Table()
    session = table.begin("s")
    setattr(session, kept, "gone" if kept == "lost" else 1)

    table.release(session, 0)

    assert table.get("s") is session


def test_a_late_release_leaves_a_session_of_the_same_name_alone() -> None:
    table = Table()
    former = table.begin("s")
    table.release(former, 0)
    anew = table.begin("s")

    table.release(former, 0)

    assert table.get("s") is anew


def test_a_session_that_nobody_has_used_for_its_time_has_expired() -> None:
    table = Table()
    for session_id, used_ns in (("old", 10), ("young", 11), ("busy", 0)):
        session = table.begin(session_id)
        session.operations = 1
        if session_id != "busy":
            table.release(session, used_ns)

    assert table.end_expired(100, 109, 10) == ([], False)
    assert table.end_expired(100, 110, 10) == ([], False)
    assert [session.session_id for session in table.all_sessions()] == ["young", "busy"]
    assert table.end_expired(100, 111, 10) == ([], False)
    assert [session.session_id for session in table.all_sessions()] == ["busy"]


def test_sessions_that_a_worker_must_forget_are_returned_a_few_at_a_time() -> None:
    table = Table()
    for number in range(5):
        session = table.begin(f"s{number}")
        session.operations = 1
        session.met(7)
        table.release(session, number)
    one, two, three, four, five = table.all_sessions()
    assert table.end_expired(100, 103, 2) == ([one, two], True)
    assert table.end_expired(100, 103, 2) == ([three, four], True)
    assert table.end_expired(100, 103, 2) == ([], False)
    assert table.is_unused(one, 103)
    table.release(table.begin("s0"), 150)
    assert not table.is_unused(one, 103)
    table.end("s1")
    assert not table.is_unused(two, 103), "it has ended"
    assert table.end_expired(100, 203, 10) == ([five, three, four], False), "they did not end: once more"
    assert table.end_expired(100, 250, 10) == ([one], False)


def test_a_session_that_was_used_again_is_behind_the_others() -> None:
    table = Table()
    for number, name in enumerate(("first", "second", "third")):
        session = table.begin(name)
        session.operations = 1
        table.release(session, number)
    again = table.begin("first")
    table.release(again, 5)
    assert [session.session_id for session in table.all_sessions()] == ["second", "third", "first"]
    assert table.end_expired(10, 14, 10) == ([], False)
    assert [session.session_id for session in table.all_sessions()] == ["first"]


def test_no_step_takes_longer_for_a_hundred_thousand_sessions() -> None:
    table, few = Table(), Table()
    for one, count in ((few, 100), (table, 100_000)):
        for number in range(count):
            session = one.begin(str(number))
            session.operations = 1
            one.release(session, number)

    def steps(one: Table, count: int) -> int:
        """How many bytecode instructions each kind of step executes."""
        executed = itertools.count()

        def trace(frame: Any, kind: str, _: Any) -> Any:
            frame.f_trace_opcodes = True
            if kind == "opcode":
                next(executed)
            return trace

        sys.settrace(trace)
        try:
            one.end_expired(10, count, 50)
            one.forget_worker(3)
            one.release(one.begin("99"), count)
            one.end("98")
        finally:
            sys.settrace(None)
        return next(executed)

    assert steps(table, 100_000) == steps(few, 100) > 100


def test_the_statuses_tell_each_session() -> None:
    table = Table()
    one = table.begin("one")
    one.operations = 4
    changed(one, 7, 1)
    one.met(7)
    table.begin("two")

    found = {status.session_id: status for status in table.statuses(table.all_sessions())}

    assert (found["one"].operations, found["one"].version, found["one"].worker_id) == (4, 1, 7)
    assert (found["two"].operations, found["two"].version, found["two"].worker_id) == (0, 0, None)
