"""A snapshot of resources finds a left process, descriptor and thread, and waits for what is about to go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from poolproof.harness.history.history import Leftovers
from poolproof.harness.run.recording.resource_snapshot import leftovers_since, take_census, take_sample

NO_PROCESS = 2**22 + 1
PATIENCE_S = 15.0  # another test's pool in this process may just read what the kernel tells of its workers
WAITING = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start children that live until their input ends, and are gone afterwards."""
    children: list[subprocess.Popen[bytes]] = []

    def start(command: list[str] = WAITING) -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return children[-1]

    yield start
    for process in children:
        process.kill()
        process.communicate(timeout=15)


def test_nothing_new_is_nothing_left() -> None:
    assert leftovers_since(take_census(), patience_s=PATIENCE_S) == Leftovers()


def test_a_left_process_is_found_by_its_pid_and_a_former_one_is_not(child: Callable[..., Any]) -> None:
    former = child()
    before = take_census()
    left = child()
    found = leftovers_since(before, patience_s=0.0).processes
    assert left.pid in found
    assert former.pid not in found


def test_a_zombie_is_left_over_because_nobody_reaped_it(child: Callable[..., Any], until: Callable[..., None]) -> None:
    before = take_census()
    process = child([sys.executable, "-c", "pass"])
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "the child ends")
    assert process.pid in leftovers_since(before, patience_s=0.0).processes


def test_a_child_of_a_child_is_found(child: Callable[..., Any], until: Callable[..., None]) -> None:
    before = take_census()
    process = child([sys.executable, "-c", f"import subprocess; subprocess.run({WAITING!r})"])
    until(lambda: psutil.Process(process.pid).children(), "the grandchild starts")
    grandchildren = {grandchild.pid for grandchild in psutil.Process(process.pid).children()}
    assert grandchildren | {process.pid} <= set(leftovers_since(before, patience_s=0.0).processes)


def test_a_process_that_has_left_the_family_is_found_if_it_was_seen(until: Callable[..., None]) -> None:
    before = take_census()
    code = (
        f"import subprocess; print(subprocess.Popen({WAITING!r}, stdin=0, stdout=subprocess.DEVNULL).pid, flush=True)"
    )
    read_end, write_end = os.pipe()
    stray = int(
        subprocess.run(
            [sys.executable, "-c", code], stdin=read_end, stdout=subprocess.PIPE, check=True, timeout=15
        ).stdout
    )
    os.close(read_end)
    try:
        unseen = leftovers_since(before, patience_s=0.0)
        seen = leftovers_since(before, patience_s=0.0, extra_pids=frozenset({stray, NO_PROCESS}))
        assert stray not in unseen.processes
        assert stray in seen.processes
    finally:
        os.close(write_end)  # its input ends, and so does it
    until(lambda: not psutil.pid_exists(stray) or _is_zombie(stray), "the stray ends")
    assert leftovers_since(before, patience_s=0.0, extra_pids=frozenset({stray})).processes == ()


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_left_descriptor_is_found_with_what_it_points_to() -> None:
    before = take_census()
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        assert f"{fd} -> /dev/null" in leftovers_since(before, patience_s=0.0).descriptors
    finally:
        os.close(fd)
    assert leftovers_since(before, patience_s=PATIENCE_S) == Leftovers()


def test_a_left_thread_is_found_by_its_name() -> None:
    before = take_census()
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, name="left-behind")
    thread.start()
    try:
        assert "left-behind" in leftovers_since(before, patience_s=0.0).threads
    finally:
        leave.set()
        thread.join(15)


def test_what_goes_within_the_patience_is_not_left() -> None:
    before = take_census()
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    helper = threading.Timer(0.1, leave.set)
    helper.start()
    assert leftovers_since(before, patience_s=PATIENCE_S) == Leftovers()
    assert leave.is_set()


def test_a_sample_counts_what_is_held(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    before = take_sample()
    child()
    read_fd, write_fd = os.pipe()
    released = threading.Event()
    thread = threading.Thread(target=released.wait, args=(15,))
    thread.start()
    held = bytearray(os.urandom(1 << 20)) * 64
    try:
        now = take_sample()
    finally:
        released.set()
        thread.join(15)
        os.close(read_fd)
        os.close(write_fd)
    assert now.at_ns > before.at_ns
    assert now.threads == before.threads + 1
    assert now.children == before.children + 1
    assert now.descriptors >= before.descriptors + 3  # the pipe, and the child's stdin
    assert now.memory_bytes >= before.memory_bytes + len(held) // 2
