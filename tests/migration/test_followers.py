"""Who follows a migration: known by a held lock, whatever ends the process, and by what it says itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import PoolError
from poolproof.harness.cli.app import main
from poolproof.migration import MigratingPool, Mode, OnBreach, Plan, Position, StateFile
from poolproof.migration.followers.record import SILENT_S, Follower, Life, Record, judge
from poolproof.migration.followers.registry import Registration, find_followers, forget_dead
from poolproof.migration.followers.steering import Refused, Steering
from poolproof.migration.state import Change, Entry, never_in_effect
from tests.migration.conftest import services
from tests.waiting import stop

Eventually = Callable[..., Any]
SERVICE = """
import sys
from poolproof.migration import MigratingPool, Plan
class Stub:
    version, capabilities = "stub", frozenset()
    def __init__(self, name): self.name = name
    def execute(self, command, args=None, **options): return 1
    def sessions(self): return ()
    def close(self, grace_s=None): pass
with MigratingPool(Stub("child"), Stub("v2"), Plan(state_file=sys.argv[1])) as pool:
    print("ready", flush=True)
    while sys.stdin.readline():
        pool.execute("echo")
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """A state file that is not there yet."""
    return StateFile(tmp_path / "state.json")


@pytest.fixture
def serve(state: StateFile) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that follows the state; killed at the end."""
    with services(SERVICE, str(state.path)) as start:
        yield start


def _record(**fields: Any) -> Record:
    usual = {"pid": 1, "start_ticks": 2, "host": "h", "name": "web", "started": 10.0, "heard": 100.0}
    return Record(**{**usual, **fields})


def _lives(state: StateFile) -> list[str]:
    return [follower.life.value for follower in find_followers(state.followers_path)]


def test_a_follower_is_judged_by_its_lock_and_by_its_silence() -> None:
    assert judge(_record(), held=True, now_s=101).life is Life.FOLLOWING
    assert judge(_record(), held=True, now_s=101 + SILENT_S).life is Life.STALE
    assert judge(_record(), held=False, now_s=101).life is Life.DEAD
    follower = Follower(record=_record(sequence=3, position="v2"), life=Life.FOLLOWING, silent_s=0.1)
    assert follower.follows(3, "v2")
    assert not follower.follows(4, "v2")
    assert not follower.follows(3, "v1")
    assert not msgspec.structs.replace(follower, life=Life.STALE).follows(3, "v2")


def test_a_follower_registers_leaves_and_comes_back_if_its_files_are_removed(
    migrating: Any, scripted: Any, state: StateFile, until: Eventually
) -> None:
    with MigratingPool(scripted("web"), scripted("v2"), Plan(state_file=str(state.path))):
        [follower] = find_followers(state.followers_path)
        assert (follower.life, follower.record.pid, follower.record.name) == (Life.FOLLOWING, os.getpid(), "web")
        shutil.rmtree(state.followers_path)
        until(lambda: _lives(state) == ["following"], "it registers again")
    assert _lives(state) == []
    assert list(state.followers_path.iterdir()) == []


def test_a_process_that_cannot_register_serves_and_says_so(
    scripted: Any, state: StateFile, until: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    state.followers_path.write_text("in the way")
    with MigratingPool(scripted("web"), scripted("v2"), Plan(state_file=str(state.path))) as pool:
        assert pool.execute("echo", {"value": 1}) == 1
        assert "cannot register as a follower" in pool.report().trouble
        assert "is not in control of this process's pool" in caplog.text
        state.followers_path.unlink()
        until(lambda: pool.report().trouble == "", "it registers when it can")


def test_a_killed_process_is_dead_though_its_pid_lives_and_a_stopped_one_is_stale(
    state: StateFile, serve: Callable[[], subprocess.Popen[str]], until: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = serve(), serve()
    Steering(state, Plan()).start("begun")
    until(lambda: Steering(state, Plan()).survey().followed, "both follow")
    os.kill(one.pid, signal.SIGKILL)  # not waited for: a zombie still has the pid
    until(lambda: sorted(_lives(state)) == ["dead", "following"], "the kernel has released the lock")
    found = Steering(state, Plan()).survey()
    assert found.followed
    assert "ended without leaving; its last position was shadow" in " ".join(f.describe() for f in found.followers)
    stop(other.pid)
    monkeypatch.setattr("poolproof.migration.followers.record.SILENT_S", 0.7)
    until(lambda: sorted(_lives(state)) == ["dead", "stale"], "it says nothing")
    steering = Steering(state, Plan())
    with pytest.raises(Refused, match="not every process follows the present step"):
        steering.promote("on")
    outcome = steering.wait(steering.move(Position.canary(5), "a named step", "anna"), 0.1)
    assert not outcome.survey.followed
    os.kill(other.pid, signal.SIGCONT)
    until(lambda: Steering(state, Plan()).survey().followed, "it follows again")
    os.kill(other.pid, signal.SIGKILL)
    until(lambda: _lives(state) == ["dead", "dead"], "both are dead")
    with pytest.raises(Refused, match=r"no process follows .*ended without leaving.*nothing was changed"):
        steering.roll_back("nobody is there")
    assert len(state.log()) == 2
    forget_dead(state.followers_path)
    assert len(_lives(state)) == 2, "they are listed for a while"
    forget_dead(state.followers_path, older_s=0)
    assert list(state.followers_path.iterdir()) == []


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(state: StateFile, until: Eventually) -> None:
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from poolproof.migration.followers.registry import Registration\n"
        "from poolproof.migration.followers.record import Record\n"
        "r = Registration(pathlib.Path(sys.argv[1]))\n"
        "r.publish(Record(pid=1, start_ticks=1, host='h', name='n', started=1, heard=time.time()))\n"
        "child = os.fork()\n"
        "print(child, flush=True) if child else signal.pause()\n"
        "signal.pause()\n"
    )
    command = [sys.executable, "-c", code, str(state.followers_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _lives(state) == ["following"]
        parent.kill()
        parent.wait()
        try:
            until(lambda: _lives(state) == ["dead"], "the child has let go")
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_command_that_is_killed_at_any_point_leaves_a_true_status(
    state: StateFile, serve: Callable[[], subprocess.Popen[str]], until: Eventually
) -> None:
    serve()
    Steering(state, Plan()).start("begun")
    code = (
        "import itertools, sys\n"
        "from poolproof.migration import Position, StateFile\n"
        "for n in itertools.count():\n"
        "    StateFile(sys.argv[1]).write(Position.canary(n % 99 + 1), who='x', why='y')\n"
        "    if n == 0: print('on', flush=True)\n"
    )
    for delay_s in (0.0, 0.011, 0.023, 0.037):
        with subprocess.Popen([sys.executable, "-c", code, str(state.path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay_s)  # not for a result: to be killed in another place each time
            writer.kill()
        entry = state.read()
        assert entry is not None
        assert entry.trouble == ""
        until(lambda: Steering(state, Plan()).survey().followed, "the process follows what is written")
        [follower] = Steering(state, Plan()).survey().living
        assert follower.record.position == str(entry.position)
    numbers = [change.sequence for change in state.log()]
    assert numbers == sorted(set(numbers))


def test_a_change_that_was_logged_only_is_known() -> None:
    def change(sequence: int, replaces: int) -> Change:
        return Change(sequence=sequence, at="", who="", why="", before="", after="", replaces=replaces)

    changes = [change(1, 0), change(2, 1), change(3, 1), change(5, 3), change(6, 5), change(7, 5), change(9, 5)]
    assert never_in_effect(changes, entry(9)) == {2, 6, 7}
    assert never_in_effect(changes, entry(5)) == {2, 6, 7, 9}
    assert never_in_effect(changes, None) == {2, 6, 7}, "the file is gone; its last content is not known"
    assert never_in_effect([*changes, change(10, 0)], entry(10)) == {2, 6, 7}, "number 10 found a damaged file"


def entry(sequence: int) -> Entry:
    """The content of a state file."""
    return Entry(sequence=sequence, mode=Mode.V1)


def test_a_command_that_is_killed_between_the_log_and_the_state_leaves_no_change_that_did_not_happen(
    state: StateFile, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same position twice, as with `pause`: only the numbers can tell which of the two lines took effect."""
    state.write(Position.canary(5), who="anna", why="first")
    command = ("migrate", "canary", "5", "--state", str(state.path), "--unfollowed", "--wait", "0")
    done = subprocess.run([sys.executable, "-c", KILLED_AT_RENAME, *command, "--why", "killed"], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [change.why for change in state.log()] == ["first", "killed"]
    assert main(["migrate", "status", "--state", str(state.path)]) != 0
    assert "number 2" in (told := capsys.readouterr().out)
    assert "never took effect" in told
    state.write(Position.canary(5), who="ben", why="second")
    assert never_in_effect(state.log(), state.read()) == {2}
    assert not [path.name for path in state.path.parent.iterdir() if "draft" in path.name]
    assert main(["migrate", "log", "--state", str(state.path), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [(line["why"], line["in_effect"]) for line in lines] == [
        ("first", True),
        ("killed", False),
        ("second", True),
    ]
    assert main(["migrate", "status", "--state", str(state.path)]) != 0
    assert "never took effect" not in capsys.readouterr().out


KILLED_AT_RENAME = """
import os, signal, sys
from poolproof.harness.cli.app import main
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.007, 0.015, 0.031])
def test_the_log_of_writers_that_were_killed_anywhere_has_exactly_the_states_that_existed(
    state: StateFile, delay_s: float
) -> None:
    """Another process reads the state all the time, and the log has each number that was seen, and says so."""
    code = (
        "import sys\n"
        "from poolproof.migration import Position, StateFile\n"
        "while True: print(StateFile(sys.argv[1]).write(Position.canary(5), who='x', why='y').sequence, flush=True)\n"
    )
    existed: set[int] = set()
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code, str(state.path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            existed.add(int(writer.stdout.readline()))
            time.sleep(delay_s)  # not for a result: to be killed in another place each time
            writer.kill()
            existed |= {int(line) for line in writer.stdout.read().split()}
        now = state.read()
        assert now is not None
        existed.add(now.sequence)  # it may have been killed before it could say so
        void = never_in_effect(state.log(), now)
        assert {change.sequence for change in state.log()} - void == existed


def test_a_change_of_somebody_else_ends_the_waiting(
    state: StateFile, serve: Callable[[], subprocess.Popen[str]]
) -> None:
    serve()
    steering = Steering(state, Plan())
    entry = steering.start("begun")
    state.write(Position(), who="guardrail", why="errors")
    outcome = steering.wait(entry, 30)
    assert outcome.replaced
    assert outcome.survey.entry is not None
    assert outcome.survey.entry.why == "errors"


def test_a_follower_that_is_behind_ends_in_exit_code_3_and_is_named(
    state: StateFile, serve: Callable[[], subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    child = serve()
    stop(child.pid)
    assert main(["migrate", "start", "--state", str(state.path), "--wait", "0.05"]) == 3
    told = capsys.readouterr().out
    assert f"NOT FOLLOWING: process {child.pid} on" in told
    assert "0 of 1 processes follow" in told
    os.kill(child.pid, signal.SIGCONT)


def test_finish_waits_for_sessions_on_v1(state: StateFile) -> None:
    registration = Registration(state.followers_path)
    state.write(Position.parse("v2"), who="anna", why="all")
    record = _record(pid=os.getpid(), heard=time.time(), sequence=1, position="v2", sessions={"v1": 2})
    registration.publish(record)
    try:
        with pytest.raises(Refused, match="still has 2 sessions on v1"):
            Steering(state, Plan()).finish("done")
        registration.publish(msgspec.structs.replace(record, sessions={}))
        assert Steering(state, Plan()).finish("done").finished
    finally:
        registration.close()


@pytest.mark.parametrize("what", [OnBreach.PAUSE, OnBreach.REPORT])
def test_a_breach_can_pause_or_only_be_reported(
    scripted: Any, state: StateFile, until: Eventually, caplog: pytest.LogCaptureFixture, what: OnBreach
) -> None:
    plan = Plan(state_file=str(state.path), begin="v2", on_breach=what, fall_back=False)
    v2 = scripted("v2")
    with MigratingPool(scripted("web"), v2, plan) as pool:
        v2.dead = True
        for _ in range(5):
            with contextlib.suppress(PoolError):
                pool.execute("echo")
        until(lambda: pool.report().last_breach, "it is noticed")
        assert str(pool.position) == "v2"
        if what is OnBreach.REPORT:
            until(lambda: "the plan only reports it: errors: the last 5 calls" in caplog.text, "it is logged")
            assert caplog.text.count("the plan only reports it") == 1
        else:
            until(lambda: (entry := state.read()) and "all failed" in entry.paused, "every process learns of it")
            assert "all failed" in pool.report().paused
            v2.dead = False
            Steering(state, plan).resume("mended")
            until(lambda: pool.report().paused == "", "it goes on")
