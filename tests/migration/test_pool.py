"""The migrating pool over scripted pools: who is asked, what a breach does, what becomes of sessions and copies."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import (
    CheckoutTimeout,
    CommandError,
    ConfigError,
    InvalidRequest,
    Pool,
    PoolClosed,
    Sent,
    SessionLost,
    WorkerCrashed,
)
from poolproof.migration import (
    Comparing,
    Guardrails,
    MigratingPool,
    Mode,
    Moved,
    Moving,
    Plan,
    Position,
    StateError,
    StateFile,
    traffic,
)
from poolproof.migration.followers.registry import find_followers

Make = Callable[..., tuple[MigratingPool, Any, Any]]
Eventually = Callable[..., None]
WHY = {"why": "a test"}


def _append(pool: MigratingPool, session: str, value: object = 1) -> list[object]:
    found: list[object] = pool.execute_in_session(session, "append", {"value": value})["values"]
    return found


def test_it_is_a_pool_and_needs_no_tool(migrating: Make) -> None:
    pool, v1, _ = migrating()
    assert isinstance(pool, Pool)
    assert pool.name == v1.name
    code = (
        "import poolproof.migration, sys; "
        "unwanted = {'pytest','typer','rich','jinja2','numpy','psutil','altair','openfeature'};"
        "unwanted |= {'poolproof.pool_v1','poolproof.pool_v2'};"
        "print(*unwanted & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_v1_mode_asks_v1_alone(migrating: Make) -> None:
    pool, v1, v2 = migrating(idempotent=frozenset({"echo"}))
    assert pool.execute("echo", {"value": 1}) == 1
    assert _append(pool, "s") == [1]
    assert (len(v1.asked), v2.asked) == (2, [])


def test_a_session_that_never_began_cannot_be_lost(migrating: Make) -> None:
    pool, v1, _ = migrating(begin="v2")
    pool.change("v1", why="v1 serves again")
    assert _append(pool, "s") == [1]
    v1.dead = True
    assert pool.end_session("s"), "v1 forgets it later"
    for _ in range(5):
        with pytest.raises(PoolClosed):
            _append(pool, "s")
    v1.dead = False
    assert _append(pool, "s") == [1], "it is a new session"


def test_shadow_compares_copies_and_changes_nothing(migrating: Make, until: Eventually) -> None:
    pool, v1, v2 = migrating(begin="shadow", idempotent=frozenset({"echo"}), guardrails=Guardrails(min_calls=5))
    args = {"value": {"a": [1]}}
    answer = pool.execute("echo", args)
    args["value"]["a"].append(2)  # what the caller does afterwards reaches no copy
    pool.execute("note", {"nonce": "n"})
    _append(pool, "s")
    with pytest.raises(CommandError):
        pool.execute("fail")
    until(lambda: pool.report().shadow.compared == 1, "the copy is compared")
    assert answer is args["value"]
    assert v2.asked == [("echo", None)], "only what is idempotent, and nothing of sessions"
    assert (pool.report().shadow.mismatches, len(v1.asked)) == (0, 4)
    v2.lies = True
    for _ in range(10):
        assert pool.execute("echo", {"value": "truth"}) == "truth"
    until(lambda: pool.position == Position(), "mismatches roll back")
    assert "mismatches:" in pool.report().last_breach
    assert "echo" in pool.report().shadow.last[-1]


def test_the_hooks_of_comparing_are_asked_in_shadow_too(migrating: Make, until: Eventually) -> None:
    comparing = Comparing(ignore=lambda one, other: other.value == "a lie")
    pool, _, v2 = migrating(begin="shadow", idempotent=frozenset({"echo"}), comparing=comparing)
    v2.lies = True
    pool.execute("echo", {"value": 1})
    until(lambda: pool.report().shadow.ignored == 1, "it is ignored")
    assert pool.report().shadow.mismatches == 0


def test_a_hanging_v2_costs_copies_and_no_caller(migrating: Make) -> None:
    pool, _, v2 = migrating(begin="shadow", idempotent=frozenset({"echo"}), shadow_queue=3, shadow_threads=2)
    v2.gate = threading.Event()
    for number in range(50):
        assert pool.execute("echo", {"value": number}) == number
    shadow = pool.report().shadow
    assert shadow.copied <= 5
    assert shadow.dropped >= 45
    pool.execute("echo", {"value": list(range(1000))})
    v2.gate.set()
    assert pool.status().statistics.outcomes == {"result": 51}


def test_what_is_too_large_is_not_copied(migrating: Make) -> None:
    pool, _, v2 = migrating(begin="shadow", idempotent=frozenset({"echo"}))
    pool.execute("echo", {"value": list(range(1000))})
    assert (pool.report().shadow.too_large, v2.asked) == (1, [])


def test_a_canary_shares_calls_and_new_sessions_and_moves_no_old_one(migrating: Make) -> None:
    pool, v1, v2 = migrating()
    for number in range(50):
        _append(pool, f"old-{number}")
    pool.change("canary:50", **WHY)
    for _ in range(100):
        pool.execute("echo", {"value": 1})
    assert v2.asked.count(("echo", None)) == v1.asked.count(("echo", None)) == 50
    for number in range(50):
        assert _append(pool, f"old-{number}", 2) == [1, 2]
        _append(pool, f"new-{number}")
    assert not any(session.startswith("old") for session in v2.state)
    assert len(v2.state) + len(v1.state) == 100
    assert 10 < len(v2.state) < 40


def test_a_breach_rolls_back_by_itself_says_why_and_ends_calls_where_they_are(
    migrating: Make, until: Eventually, caplog: pytest.LogCaptureFixture, gate: Callable[[], Any]
) -> None:
    told: list[Moved] = []
    pool, v1, v2 = migrating(on_change=told.append, fall_back=False)
    pool.change("v2", **WHY)
    assert _append(pool, "s") == [1]
    held = v2.gates["held"] = gate()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(pool.execute("note", {"nonce": "held"})))
    thread.start()
    assert held.arrived.wait(30)
    for _ in range(5):
        v2.crash_next = Sent.YES
        with pytest.raises(WorkerCrashed):
            pool.execute("echo")
    until(lambda: told[-1].after == Position(), "it rolls back, and the listener is told last")
    assert pool.position == Position()
    assert told[-1].why == "errors: the last 5 calls of v2 all failed; the latest error: WorkerCrashed"
    assert told[-1].who.startswith("guardrail of ")
    assert any(r.levelno == logging.WARNING and "all failed" in r.getMessage() for r in caplog.records)
    held.opened.set()
    thread.join(30)
    assert found == ["held"]
    assert (v2.executed["held"], v1.executed["held"]) == (1, 0)
    v2.dead = True
    assert _append(pool, "s", 2) == [1, 2], "the session was handed back from the log; v2 was not asked"


def test_sessions_end_as_lost_if_the_plan_says_so_and_say_why_until_they_are_ended(migrating: Make) -> None:
    pool, v1, _ = migrating(back=Moving.LOST, begin="v2")
    _append(pool, "s")
    pool.roll_back(**WHY)
    for _ in range(2):
        with pytest.raises(SessionLost, match="session 's': its state is on v2, which no longer serves calls"):
            pool.execute_in_session("s", "get")
    assert pool.end_session("s")
    assert _append(pool, "s", "new") == ["new"]
    assert v1.state == {"s": ["new"]}


def test_a_session_whose_state_nobody_knows_for_certain_is_lost_rather_than_wrong(migrating: Make) -> None:
    pool, v1, _ = migrating(session_log_bytes=60)
    _append(pool, "doubt")
    v1.crash_next = Sent.YES
    with pytest.raises(WorkerCrashed):
        _append(pool, "doubt")
    for number in range(9):
        _append(pool, "large", number)
    pool.change("v2", **WHY)
    with pytest.raises(SessionLost, match="'append' ended in WorkerCrashed, and may have changed the session's state"):
        pool.execute_in_session("doubt", "get")
    with pytest.raises(SessionLost, match="the session's log outgrew 60 bytes"):
        pool.execute_in_session("large", "get")


def test_sessions_from_before_the_migration_stay_and_are_never_empty(scripted: Any) -> None:
    v1, v2 = scripted("v1"), scripted("v2")
    v1.execute_in_session("old", "append", {"value": 1})
    with MigratingPool(v1, v2, Plan(begin="canary:99")) as pool:
        assert _append(pool, "old", 2) == [1, 2]
        pool.change("v2", **WHY)
        with pytest.raises(SessionLost, match="the session began before the migration"):
            _append(pool, "old", 3)


def test_a_handover_that_fails_three_times_is_final(migrating: Make) -> None:
    pool, v1, _ = migrating(begin="v2")
    _append(pool, "s")
    pool.roll_back(**WHY)
    v1.dead = True
    for _ in range(2):
        with pytest.raises(PoolClosed) as caught:
            _append(pool, "s")
        assert caught.value.sent is Sent.NO
    with pytest.raises(SessionLost, match="the handover of the session failed 3 times; the last error: PoolClosed"):
        _append(pool, "s")


def test_calls_of_a_session_take_turns_and_wait_for_a_limited_time(migrating: Make, gate: Callable[[], Any]) -> None:
    pool, v1, _ = migrating()
    held = v1.gates["held"] = gate()
    thread = threading.Thread(target=lambda: pool.execute("append", {"value": 1, "nonce": "held"}, session="s"))
    thread.start()
    assert held.arrived.wait(30)
    with pytest.raises(CheckoutTimeout, match=r"session 's': another call of the session was running for 0\.02 s"):
        pool.execute("get", session="s", timeout_s=0.02)
    held.opened.set()
    thread.join(30)
    assert pool.execute("get", session="s")["value"] == [1]


@pytest.mark.parametrize("work", ["call", "end"])
def test_an_interrupt_anywhere_leaves_no_session_locked(
    migrating: Make, scripted: Any, work: str, interrupted_after: Callable[..., bool]
) -> None:
    pool, _, _ = migrating(session_wait_s=0.2)
    for step in itertools.count():
        _append(pool, f"s{step}")
        call = partial(_append, pool, f"s{step}") if work == "call" else partial(pool.end_session, f"s{step}")
        if not interrupted_after(step, call, [traffic.__file__]):
            break
        pool.end_session(f"s{step}")  # whoever comes next has its turn
    assert step > 5, "there were calls to interrupt"
    pool.replace_candidate(scripted("v2b"))


def test_a_candidate_is_not_replaced_under_a_session_s_call(
    migrating: Make, scripted: Any, gate: Callable[[], Any]
) -> None:
    pool, v1, v2 = migrating(session_wait_s=0.05)
    held = v1.gates["held"] = gate()
    thread = threading.Thread(target=lambda: pool.execute("append", {"value": 1, "nonce": "held"}, session="s"))
    thread.start()
    assert held.arrived.wait(30)
    with pytest.raises(ConfigError, match="session 's' has a running call; v2 is replaced after that call"):
        pool.replace_candidate(scripted("v2b"))
    assert not v2.closed
    pool.roll_back(**WHY)
    held.opened.set()
    thread.join(30)
    pool.replace_candidate(scripted("v2b"))
    assert pool.execute("get", session="s")["value"] == [1]


def test_what_v2_refuses_unsent_v1_serves_and_it_counts_against_v2(migrating: Make) -> None:
    pool, _, v2 = migrating(begin="v2", guardrails=Guardrails(max_failures_in_row=1000, min_calls=1000))
    v2.dead = True
    assert pool.execute("echo", {"value": 1}) == 1
    assert pool.report().windows.failed == {"v1": 0, "v2": 1}
    v2.dead, v2.crash_next = False, Sent.YES
    with pytest.raises(WorkerCrashed):
        pool.execute("note", {"nonce": "n"})


def test_another_candidate_takes_over_the_sessions_of_the_one_before(migrating: Make, scripted: Any) -> None:
    pool, _, v2 = migrating(begin="v2")
    _append(pool, "s")
    fresh = scripted("v2b")
    with pytest.raises(ConfigError, match="is at the step v2, so v2 is in use"):
        pool.replace_candidate(fresh)
    pool.roll_back(**WHY)
    pool.replace_candidate(fresh)
    assert v2.closed
    pool.change("v2", **WHY)
    assert _append(pool, "s", 2) == [1, 2]
    assert fresh.state == {"s": [1, 2]}


def test_two_pools_share_a_state_file_and_a_rollback_of_one_is_one_of_both(
    scripted: Any, tmp_path: Path, until: Eventually
) -> None:
    plan = Plan(state_file=str(tmp_path / "state"))
    with (
        MigratingPool(scripted("a1"), scripted("a2"), plan) as one,
        MigratingPool(scripted("b1"), scripted("b2"), plan) as other,
    ):
        StateFile(tmp_path / "state").write(Position.canary(25), who="anna", why="from the command line")
        until(lambda: str(one.position) == str(other.position) == "canary:25", "both follow")
        one.roll_back(**WHY)
        until(lambda: other.position == Position(), "the other follows")
    assert StateFile(tmp_path / "state").log()[-1].why == "a test"
    with MigratingPool(scripted("c1"), scripted("c2"), Plan(begin="v2", state_file=str(tmp_path / "state"))) as third:
        assert third.position == Position(), "what is written outlives the process, and its configuration"


@pytest.mark.parametrize("spoil", [lambda path: path.write_text('{"mode": "v'), lambda path: path.unlink()])
def test_a_process_that_loses_the_state_keeps_its_position_loudly_and_follows_again(
    scripted: Any,
    tmp_path: Path,
    until: Eventually,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], Any],
) -> None:
    path = tmp_path / "state"
    with MigratingPool(scripted("v1"), scripted("v2"), Plan(begin="v2", state_file=str(path))) as pool:
        assert pool.position == Position(Mode.V2)
        spoil(path)
        until(lambda: "this process keeps v2, number 1" in pool.report().trouble, "it says so")
        assert pool.position == Position(Mode.V2)
        logged = [logging.ERROR, "the state of the migration is lost"]
        until(lambda: logged in [[r.levelno, r.getMessage().partition(":")[0]] for r in caplog.records], "it is logged")
        until(lambda: "keeps v2" in find_followers(StateFile(path).followers_path)[0].record.trouble, "in status too")
        StateFile(path).write(Position.canary(5), who="anna", why="mended")
        until(lambda: str(pool.position) == "canary:5", "it follows again")
        assert pool.report().trouble == ""


def test_a_pool_that_begins_with_a_damaged_file_begins_with_v1(
    scripted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_bytes(b"\0" * 30)
    with MigratingPool(scripted("v1"), scripted("v2"), Plan(begin="v2", state_file=str(tmp_path / "state"))) as pool:
        assert pool.position == Position()
        assert "is damaged (30 bytes)" in caplog.text
        assert pool.execute("echo", {"value": 1}) == 1


def test_a_rollback_holds_though_it_cannot_be_written(
    scripted: Any, tmp_path: Path, until: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    with MigratingPool(scripted("v1"), scripted("v2"), Plan(begin="v2", state_file=str(path))) as pool:
        monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        pool.roll_back(**WHY)
        assert pool.position == Position()
        assert "No space left" in pool.report().trouble
        monkeypatch.undo()
        until(lambda: (entry := StateFile(path).read()) and entry.mode is Mode.V1, "it is written later")


def test_a_rollback_that_cannot_be_written_is_not_undone_by_the_entry_that_it_replaces(
    scripted: Any, tmp_path: Path, until: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"

    def refuse(*_: object, **__: object) -> None:
        raise StateError("as asked")

    with MigratingPool(scripted("v1"), scripted("v2"), Plan(begin="v2", state_file=str(path))) as pool:
        monkeypatch.setattr(StateFile, "write", refuse)
        pool.roll_back(**WHY)
        path.chmod(0o600)  # the stamp of the file changes, and the entry does not
        heard: set[float] = set()
        register = StateFile(path).followers_path
        until(lambda: heard.add(find_followers(register)[0].record.heard) or len(heard) == 3, "it looks on")
        assert pool.position == Position()
        monkeypatch.undo()
        until(lambda: (entry := StateFile(path).read()) and entry.mode is Mode.V1, "it is written later")


def test_a_plan_goes_on_by_itself(migrating: Make, until: Eventually) -> None:
    pool, _, _ = migrating(automatic=True, step_s=0.01, step_calls=3, ramp=(50, 100), begin="canary:50")

    def arrived() -> bool:
        pool.execute("echo")
        return pool.position == Position(Mode.V2)

    until(arrived, "v2 serves everything")


def test_a_forked_child_is_refused_and_a_closed_pool_too(migrating: Make) -> None:
    pool, v1, v2 = migrating()
    pool._pid = os.getpid() + 1  # as a fork would find it
    with pytest.raises(PoolClosed, match="this process is a forked child"):
        pool.status()
    pool._pid = os.getpid()
    pool.close()
    pool.close()
    assert v1.closed
    assert v2.closed
    assert pool.status().state == "closed"
    with pytest.raises(PoolClosed):
        pool.execute("echo")


def test_what_cannot_be_is_refused(migrating: Make, scripted: Any) -> None:
    one = scripted()
    with pytest.raises(ConfigError, match="two different pools"):
        MigratingPool(one, one)
    pool, _, _ = migrating(begin="v2")
    with pytest.raises(ConfigError, match="there is no next step"):
        pool.promote(**WHY)
    with pytest.raises(ConfigError, match="needs a reason"):
        pool.change("v1", why=" ")
    with pytest.raises(InvalidRequest, match="the arguments of 'append' are not JSON"):
        pool.execute_in_session("s", "append", {"value": object()})
    assert pool.sessions() == ()
    assert not pool.end_session("s")
