"""The session table: versions, counters, and what a handover has to repeat."""

from __future__ import annotations

from pool_v2.sessions import Session, SessionTable, StateChange

LIMIT = 100


def change(value: int) -> StateChange:
    return StateChange("append", {"key": "k", "value": value})


def test_a_new_session_has_nothing_to_repeat_anywhere() -> None:
    session = Session("s")

    assert session.move(3) == ()
    assert session.worker_id == 3
    assert session.lost == ""


def test_a_session_that_stays_on_its_worker_repeats_nothing() -> None:
    session = Session("s")
    session.move(3)
    session.changed(change(1), 10, limit_bytes=LIMIT)

    assert session.move(3) == ()


def test_a_move_repeats_every_acknowledged_change_in_order() -> None:
    session = Session("s")
    session.move(3)
    for value in (1, 2, 3):
        session.changed(change(value), 10, limit_bytes=LIMIT)

    assert session.move(4) == (change(1), change(2), change(3))
    assert session.worker_id == 4
    assert session.move(9) == (change(1), change(2), change(3)), "a second loss repeats them again"


def test_what_a_move_gave_does_not_change_with_later_calls() -> None:
    session = Session("s")
    session.move(3)
    session.changed(change(1), 10, limit_bytes=LIMIT)
    repeated = session.move(4)

    session.changed(change(2), 10, limit_bytes=LIMIT)

    assert repeated == (change(1),)


def test_a_log_exactly_at_its_limit_is_kept() -> None:
    session = Session("s")
    session.move(1)
    session.changed(change(1), LIMIT, limit_bytes=LIMIT)

    assert session.move(2) == (change(1),)
    assert session.lost == ""


def test_a_log_past_its_limit_is_dropped_and_the_session_is_lost_with_its_worker() -> None:
    session = Session("s")
    session.move(1)
    session.changed(change(1), LIMIT, limit_bytes=LIMIT)
    session.changed(change(2), 1, limit_bytes=LIMIT)

    assert session.move(1) == ()
    assert session.lost == "", "it lives as long as its worker"
    assert session.move(2) == ()
    assert session.lost == "its state went with worker 1, and its log had outgrown the limit"


def test_versions_go_on_after_the_log_was_dropped() -> None:
    session = Session("s")
    for value in range(4):
        session.changed(change(value), LIMIT, limit_bytes=LIMIT)

    assert session.version == 4
    assert session.log is None


def test_answered_calls_and_state_changes_are_counted_apart() -> None:
    session = Session("s")
    for _ in range(3):
        session.answered()
    session.changed(change(1), 10, limit_bytes=LIMIT)

    assert (session.operations, session.version) == (3, 1)


def test_beginning_a_session_again_keeps_its_counters() -> None:
    table = SessionTable()
    table.begin("s").answered()

    assert table.begin("s").operations == 1
    assert len(table) == 1


def test_an_ended_session_is_forgotten_and_begins_anew() -> None:
    table = SessionTable()
    table.begin("s").answered()

    assert table.end("s")
    assert not table.end("s")
    assert "s" not in table
    assert table.begin("s").operations == 0
    assert "s" in table


def test_the_statuses_tell_each_session() -> None:
    table = SessionTable()
    one = table.begin("one")
    one.move(7)
    one.answered()
    one.changed(change(1), 10, limit_bytes=LIMIT)
    table.begin("two")

    found = {status.session_id: status for status in table.statuses()}

    assert (found["one"].operations, found["one"].version, found["one"].worker_id) == (1, 1, 7)
    assert (found["two"].operations, found["two"].version, found["two"].worker_id) == (0, 0, None)
