"""One worker process: its own group, killed as a group, reaped exactly once, and no descriptor left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.bridge.errors import StartFailed
from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.processes.launch import LIFELINE_FD
from poolproof.bridge.processes.process import WorkerProcess
from tests.waiting import Holdings

Spawn = Callable[..., WorkerProcess]
Fake = Callable[[str], tuple[str, ...]]


def _read(process: WorkerProcess) -> bytes:
    return os.read(process.stdout_fd, 65536)


def _line(process: WorkerProcess) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        part = _read(process)
        assert part, data
        data += part
    return data


def test_a_worker_talks_over_its_three_pipes(spawn: Spawn) -> None:
    process = spawn("sh", "-c", "read word; echo out-$word; echo err >&2")
    os.write(process.stdin_fd, b"in\n")
    assert _line(process) == b"out-in\n"
    assert os.read(process.stderr_fd, 100) == b"err\n"
    assert process.exited(10)
    assert _read(process) == b""


def test_the_worker_id_stands_in_every_word_of_the_command(spawn: Spawn) -> None:
    process = spawn("sh", "-c", "echo $0 $1", "{worker_id}", "--id={worker_id}{worker_id}", worker_id=42)
    assert process.worker_id == 42
    assert _line(process) == b"42 --id=4242\n"


def test_a_worker_gets_the_environment_that_was_given(spawn: Spawn) -> None:
    assert _line(spawn("sh", "-c", "echo $FLAVOUR", env={"FLAVOUR": "sweet"})) == b"sweet\n"


def test_a_worker_leads_a_group_of_its_own(spawn: Spawn) -> None:
    process = spawn("cat")
    assert os.getpgid(process.pid) == process.pid
    assert os.getpgid(process.pid) != os.getpgrp()


def test_a_worker_inherits_its_pipes_and_the_lifeline_and_nothing_of_other_workers(
    spawn: Spawn, open_fds: Callable[[], dict[int, str]]
) -> None:
    first = spawn("cat")
    listing = "import os; print(*(os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2, 9)));"
    second = spawn(sys.executable, "-S", "-c", listing + "print(*os.listdir('/proc/self/fd'))")
    assert second.exited(10)
    pipes, numbers = _read(second).decode().splitlines()
    held = open_fds()
    assert [pipe.split(":")[0] for pipe in pipes.split()] == ["pipe"] * 4
    assert pipes.split()[:3] == [held[fd] for fd in (second.stdin_fd, second.stdout_fd, second.stderr_fd)]
    inherited = {fd for fd in held if os.get_inheritable(fd)} - {LIFELINE_FD}
    reading = {3}  # the directory
    assert {int(fd) for fd in numbers.split()} - inherited - reading <= {0, 1, 2, LIFELINE_FD}
    assert not first.exited()


def test_a_worker_starts_with_no_signal_blocked_and_the_usual_effect_of_those_that_it_needs(spawn: Spawn) -> None:
    ignored = (signal.SIGTERM, signal.SIGCHLD)
    former = [signal.signal(each, signal.SIG_IGN) for each in ignored]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        process = spawn("sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        for each, handler in zip(ignored, former, strict=True):
            signal.signal(each, handler)
    assert process.exited(10)
    masks = {name: int(mask, 16) for name, mask in (line.split(b":") for line in _read(process).splitlines())}
    assert masks[b"SigBlk"] == 0
    for each in (signal.SIGPIPE, *ignored):
        assert not masks[b"SigIgn"] & (1 << each - 1), each


def test_writing_to_a_worker_never_blocks_its_parent(spawn: Spawn) -> None:
    process = spawn("sleep", "60")
    assert os.write(process.stdin_fd, b"x" * 10_000_000) < 10_000_000
    with pytest.raises(BlockingIOError):
        os.write(process.stdin_fd, b"x" * 10_000_000)


def test_a_kill_reaches_the_grandchildren(spawn: Spawn, vanish: Callable[..., None]) -> None:
    process = spawn("sh", "-c", "sleep 60 & echo $!; wait")
    grandchild = int(_line(process))
    process.kill()
    assert process.exited(10)
    vanish(grandchild)
    assert process.reap()
    assert process.exit_status == -signal.SIGKILL


def test_a_reap_ends_the_grandchildren_that_a_dead_worker_left(spawn: Spawn, vanish: Callable[..., None]) -> None:
    process = spawn("sh", "-c", "sleep 60 & echo $!; exit 7")
    grandchild = int(_line(process))
    assert process.exited(10)
    assert start_ticks(grandchild) is not None
    assert process.reap()
    assert process.exit_status == 7
    vanish(grandchild)


def test_a_living_worker_is_not_reaped(spawn: Spawn) -> None:
    process = spawn("cat")
    assert not process.exited()
    assert not process.exited(0.01)
    assert process.reap() is False
    assert process.exit_status is None
    process.end_input()
    assert process.exited(10)
    assert process.reap() is True


def test_a_worker_is_reaped_exactly_once(spawn: Spawn) -> None:
    process = spawn("true")
    assert process.exited(10)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(process.reap())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [True] * 8
    assert process.exit_status == 0
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)


def test_nothing_is_signalled_once_a_worker_is_reaped(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    process = spawn("true")
    assert process.exited(10)
    assert process.reap()
    signalled: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: signalled.append(pid))
    process.kill()
    assert process.reap()
    assert signalled == []
    assert process.exited()


def test_a_worker_that_someone_else_waited_for_is_still_reaped(spawn: Spawn) -> None:
    process = spawn("true")
    assert os.waitpid(process.pid, 0)[0] == process.pid
    assert process.reap()
    assert process.exit_status is None
    assert process.describe_exit() == "is gone"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "exited with status 0"),
        ("exit 3", "exited with status 3"),
        ("kill -TERM $$", "was ended by SIGTERM"),
        ("kill -KILL $$", "was ended by SIGKILL"),
    ],
)
def test_an_exit_is_described_in_words(spawn: Spawn, script: str, words: str) -> None:
    process = spawn("sh", "-c", script)
    assert process.exited(10)
    assert process.describe_exit() == "is gone", "nothing is known before it is reaped"
    assert process.reap()
    assert process.describe_exit() == words


def test_an_end_by_a_signal_without_a_name_is_described_too(spawn: Spawn, fake: Fake) -> None:
    process = spawn(*fake("os.kill(os.getpid(), 40)"))
    assert process.exited(10)
    assert process.reap()
    assert process.exit_status == -40
    assert process.describe_exit() == "was ended by signal 40"


def test_ending_the_input_twice_is_ending_it_once(spawn: Spawn) -> None:
    process = spawn("cat")
    process.end_input()
    process.end_input()
    assert process.stdin_fd == -1
    assert process.exited(10)


def test_a_whole_life_leaves_no_descriptor_and_no_child() -> None:
    before = Holdings()
    for ending in ("kill", "end_input"):
        process = WorkerProcess.spawn(1, ("cat",), os.environ)
        assert len(before.gained()) == 5
        getattr(process, ending)()
        assert process.exited(10)
        assert process.reap()
        os.close(process.stderr_fd)  # as a drain does
        process.close()
        process.close()
        before.require_none_gained()
        assert start_ticks(process.pid) is None


def test_a_program_that_does_not_exist_is_a_failed_start_and_leaks_nothing() -> None:
    before = Holdings()
    with pytest.raises(
        StartFailed, match=f"worker 5: cannot execute 'no-such-program': {os.strerror(errno.ENOENT)}"
    ) as caught:
        WorkerProcess.spawn(5, ("no-such-program",), os.environ)
    assert caught.value.worker_id == 5
    before.require_none_gained()


def test_a_file_that_cannot_be_executed_is_a_failed_start(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    with pytest.raises(StartFailed, match=os.strerror(errno.EACCES)):
        WorkerProcess.spawn(1, (str(plain),), os.environ)


@pytest.mark.parametrize("words", [("a\0b",), ("\ud800",)], ids=["NUL", "surrogate"])
def test_words_that_no_program_can_get_are_a_failed_start_and_leak_nothing(words: tuple[str, ...]) -> None:
    before = Holdings()
    with pytest.raises(StartFailed, match="cannot execute"):
        WorkerProcess.spawn(1, words, os.environ)
    before.require_none_gained()


@pytest.mark.parametrize("step", ["pidfd_open", "set_blocking"])
def test_a_start_that_fails_after_the_program_runs_leaves_no_process(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Holdings()
    begun: list[int] = []
    posix_spawnp = os.posix_spawnp

    def note(*args: object, **options: object) -> int:
        begun.append(posix_spawnp(*args, **options))  # type: ignore[arg-type]
        return begun[-1]

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "posix_spawnp", note)
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StartFailed, match="Too many open files"):
        WorkerProcess.spawn(1, ("sleep", "60"), os.environ)
    monkeypatch.undo()
    assert len(begun) == 1
    assert start_ticks(begun[0]) is None
    with pytest.raises(ChildProcessError):
        os.waitpid(begun[0], os.WNOHANG)
    before.require_none_gained()


def test_a_start_without_free_descriptors_fails_and_leaks_none(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    # At each limit another step runs out of descriptors; none may keep one.
    script = run_script("""
import os, resource, sys
from poolproof.bridge.errors import StartFailed
from poolproof.bridge.processes.process import WorkerProcess
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
def fds():
    return sorted(os.listdir("/proc/self/fd"))
before = fds()
failed = 0
for limit in range(4, 20):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    process = None
    try:
        process = WorkerProcess.spawn(1, ("sleep", "60"), os.environ)
    except StartFailed:
        failed += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    if process is not None:
        process.kill()
        assert process.exited(10) and process.reap()
        os.close(process.stderr_fd)
        process.close()
    assert fds() == before, (limit, fds())
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print(failed)
""")
    output, errors = script.communicate(timeout=30)
    assert errors == ""
    assert 0 < int(output) < 16


def test_a_parent_with_its_low_descriptors_closed_can_still_start_workers(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    # The pipes then get the numbers 0 to 2, onto which the child's own ends are moved.
    script = run_script("""
import os, sys
from poolproof.bridge.processes.process import WorkerProcess
out = os.dup2(1, 50)
for fd in (0, 1, 2):
    os.close(fd)
process = WorkerProcess.spawn(1, ("sh", "-c", "read a; echo got-$a; echo err >&2"), os.environ)
os.write(process.stdin_fd, b"x\\n")
assert process.exited(10) and process.reap()
os.write(out, os.read(process.stdout_fd, 100) + os.read(process.stderr_fd, 100))
""")
    output, _ = script.communicate(timeout=30)
    assert output == "got-x\nerr\n"


def test_a_kill_reaches_a_worker_that_has_left_its_own_group(
    spawn: Callable[..., WorkerProcess], vanish: Callable[..., None]
) -> None:
    body = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); os.write(1, b'left'); time.sleep(60)"
    process = spawn(sys.executable, "-c", body)
    assert os.read(process.stdout_fd, 100) == b"left"
    process.kill()
    assert process.exited(10)
    assert process.reap()
    vanish(process.pid)
