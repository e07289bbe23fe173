"""Processes told apart by pid and start, so that a pid which was given to another is never signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolproof.bridge.machine.procfs import is_alive, kill_groups, start_ticks
from tests.waiting import Holdings


@pytest.fixture
def sleeper() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes that only wait."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(*words: str, own_group: bool = True) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            words or ("sleep", "60"), process_group=0 if own_group else None, stdout=subprocess.PIPE
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def _identity(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return process.pid, ticks


def test_a_process_keeps_its_start_and_a_later_one_has_another_or_equal(
    sleeper: Callable[..., subprocess.Popen[bytes]],
) -> None:
    mine = start_ticks(os.getpid())
    assert mine is not None
    assert mine == start_ticks(os.getpid())
    assert _identity(sleeper())[1] >= mine


def test_a_pid_of_nobody_has_no_start() -> None:
    assert start_ticks(2**22 + 1) is None
    assert start_ticks(-1) is None


def test_a_zombie_is_gone(sleeper: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = sleeper("true")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")
    assert start_ticks(process.pid) is None


def test_a_name_with_blanks_and_brackets_does_not_hide_the_start(
    sleeper: Callable[..., subprocess.Popen[bytes]],
) -> None:
    # PR_SET_NAME is 15; a process may call itself what it likes.
    rename = "import ctypes, threading; ctypes.CDLL(None).prctl(15, b') Z 1 (x) 2'); print(flush=True);"
    process = sleeper(sys.executable, "-S", "-c", rename + "threading.Event().wait()")
    assert process.stdout is not None
    before = start_ticks(process.pid)
    assert process.stdout.readline() == b"\n"
    assert b"() Z 1 (x) 2)" in Path(f"/proc/{process.pid}/stat").read_bytes()
    assert start_ticks(process.pid) == before is not None


def test_only_the_same_start_is_the_same_process(sleeper: Callable[..., subprocess.Popen[bytes]]) -> None:
    pid, ticks = _identity(sleeper())
    assert is_alive(pid, ticks)
    assert not is_alive(pid, ticks - 1)
    assert not is_alive(pid, 0)


def test_a_group_leader_is_killed_with_its_group(
    sleeper: Callable[..., subprocess.Popen[bytes]], vanish: Callable[..., None]
) -> None:
    process = sleeper("sh", "-c", "sleep 60 & echo $!; wait")
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    pid, ticks = _identity(process)
    assert kill_groups([(pid, ticks)], timeout_s=10) == (pid,)
    assert not is_alive(pid, ticks)
    assert process.wait(10) == -signal.SIGKILL
    vanish(grandchild)


def test_a_process_in_the_group_of_another_is_killed_alone(sleeper: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = sleeper(own_group=False)
    assert os.getpgid(process.pid) == os.getpgrp()
    assert kill_groups([_identity(process)], timeout_s=10) == (process.pid,)
    assert process.wait(10) == -signal.SIGKILL


def test_a_pid_that_belongs_to_another_process_by_now_is_left_alone(
    sleeper: Callable[..., subprocess.Popen[bytes]],
) -> None:
    process = sleeper()
    pid, ticks = _identity(process)
    assert kill_groups([(pid, ticks - 1), (pid, ticks + 1), (pid, 0)], timeout_s=10) == ()
    assert is_alive(pid, ticks)


def test_the_dead_are_not_reported_as_killed(sleeper: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = sleeper()
    identity = _identity(process)
    process.kill()
    process.wait(10)
    assert kill_groups([identity, (2**22 + 1, 5)], timeout_s=10) == ()


def test_killing_leaves_no_descriptor(sleeper: Callable[..., subprocess.Popen[bytes]]) -> None:
    first, second = sleeper(), sleeper()
    one, two = _identity(first), _identity(second)
    before = Holdings()
    assert kill_groups([one, two, (two[0], 0)], timeout_s=10) == (first.pid, second.pid)
    before.require_none_gained()


def test_a_process_that_ends_between_two_looks_was_not_killed(
    sleeper: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = sleeper()
    before = Holdings()

    def gone(_: int) -> int:
        raise ProcessLookupError

    monkeypatch.setattr(os, "getpgid", gone)
    assert kill_groups([_identity(process)], timeout_s=10) == ()
    before.require_none_gained()
