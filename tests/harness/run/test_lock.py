"""The measuring lock: a second holder waits, and the death of the first releases it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolproof.harness.run.lock import holders, measuring

LIMIT_S = 15.0
HOLD = """
import sys
from poolproof.harness.run.lock import measuring
with measuring():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(runtime_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start processes that take the lock and hold it until their input ends."""
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


def is_held(runtime_dir: Path) -> bool:
    (path,) = runtime_dir.rglob("measuring.lock")
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_in_thread(entered: threading.Event) -> threading.Thread:
    def work() -> None:
        with measuring():
            entered.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_lock_is_held_inside_and_free_afterwards(runtime_dir: Path) -> None:
    with measuring():
        assert is_held(runtime_dir)
    assert not is_held(runtime_dir)


def test_an_error_inside_frees_the_lock(runtime_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), measuring():
        raise ZeroDivisionError
    assert not is_held(runtime_dir)


def test_a_second_holder_waits_for_the_first(holder: Callable[[], subprocess.Popen[str]]) -> None:
    first = holder()
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == "held\n"
    entered = threading.Event()
    thread = wait_in_thread(entered)
    assert not entered.wait(0.2)
    first.stdin.close()
    assert entered.wait(LIMIT_S)
    thread.join(LIMIT_S)


def test_the_death_of_its_holder_frees_the_lock(holder: Callable[[], subprocess.Popen[str]]) -> None:
    first = holder()
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    entered = threading.Event()
    thread = wait_in_thread(entered)
    first.kill()
    assert entered.wait(LIMIT_S)
    thread.join(LIMIT_S)


def test_threads_of_one_process_wait_for_each_other_too(runtime_dir: Path) -> None:
    entered = threading.Event()
    with measuring():
        thread = wait_in_thread(entered)
        assert not entered.wait(0.1)
    assert entered.wait(LIMIT_S)
    thread.join(LIMIT_S)


def test_who_holds_the_lock_is_said(holder: Callable[[], subprocess.Popen[str]]) -> None:
    assert holders() == []
    process = holder()
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    [told] = holders()
    assert told.startswith(f"process {process.pid} (")
    assert "python" in told
