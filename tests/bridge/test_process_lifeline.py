"""The lifeline: whatever ends the parent ends its workers and their children, in any language, however busy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.wire.framing import encode_frame

GONE_WITHIN_S = 20.0

PARENT = """
import json, os, sys, threading
from poolproof.bridge.processes.process import WorkerProcess
process = WorkerProcess.spawn(1, json.loads(sys.argv[1]), os.environ)
os.write(process.stdin_fd, bytes.fromhex(sys.argv[2]))
first = os.read(process.stdout_fd, 65536) if sys.argv[3] == "reads" else b""
print(process.pid, first.hex(), flush=True)
sys.stdin.readline()
"""

BUSY = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
os.write(1, b"%d" % child.pid)
while True:
    pass
"""

IMMUNE = """
import os, signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass  # SIGKILL, SIGSTOP and those that are the C library's own
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.write(1, b"%d" % os.getpid())
while True:
    pass
"""

Parent = Callable[..., tuple[subprocess.Popen[str], int, bytes]]


@pytest.fixture
def parent(run_script: Callable[..., subprocess.Popen[str]]) -> Parent:
    """A program that has started one worker: itself, the worker's pid, and what the worker said first."""

    def start(words: list[str], *, said: bool, request: bytes = b"") -> tuple[subprocess.Popen[str], int, bytes]:
        script = run_script(PARENT, json.dumps(words), request.hex(), "reads" if said else "deaf")
        assert script.stdout is not None
        pid, *first = script.stdout.readline().split()
        return script, int(pid), bytes.fromhex("".join(first))

    return start


def _kill(script: subprocess.Popen[str]) -> None:
    script.send_signal(signal.SIGKILL)
    assert script.wait(10) == -signal.SIGKILL


def test_a_busy_worker_and_its_child_end_when_the_parent_is_killed(parent: Parent, vanish: Callable[..., None]) -> None:
    script, worker, said = parent([sys.executable, "-S", "-c", BUSY], said=True)
    grandchild = int(said)
    assert start_ticks(worker) is not None
    assert start_ticks(grandchild) is not None
    _kill(script)
    vanish(worker, timeout_s=GONE_WITHIN_S)
    vanish(grandchild, timeout_s=GONE_WITHIN_S)


def test_the_shipped_worker_ends_in_the_middle_of_a_call(parent: Parent, vanish: Callable[..., None]) -> None:
    words = [sys.executable, "-m", "poolproof.bridge.worker.program", "--worker-id", "{worker_id}"]
    requests = encode_frame(b'{"id": 1, "command": "spawn_child", "args": {"seconds": 60}}') + encode_frame(
        b'{"id": 2, "command": "sleep", "args": {"seconds": 60}}'
    )
    script, worker, said = parent(words, said=True, request=requests)
    grandchild = int(said.partition(b'"pid":')[2].partition(b"}")[0])
    assert start_ticks(grandchild) is not None
    _kill(script)
    vanish(worker, timeout_s=GONE_WITHIN_S)
    vanish(grandchild, timeout_s=GONE_WITHIN_S)


def test_a_worker_in_another_language_ends_too(parent: Parent, vanish: Callable[..., None]) -> None:
    script, worker, _ = parent(["sleep", "60"], said=False)
    _kill(script)
    vanish(worker, timeout_s=GONE_WITHIN_S)


def test_a_worker_that_ignores_and_blocks_every_signal_ends_too(parent: Parent, vanish: Callable[..., None]) -> None:
    script, worker, said = parent([sys.executable, "-S", "-c", IMMUNE], said=True)
    assert int(said) == worker
    _kill(script)
    vanish(worker, timeout_s=GONE_WITHIN_S)


def test_a_stopped_worker_ends_too(parent: Parent, vanish: Callable[..., None]) -> None:
    script, worker, _ = parent(["sleep", "60"], said=False)
    os.kill(worker, signal.SIGSTOP)
    _kill(script)
    vanish(worker, timeout_s=GONE_WITHIN_S)


def test_a_parent_that_just_exits_leaves_no_worker(parent: Parent, vanish: Callable[..., None]) -> None:
    script, worker, _ = parent(["sleep", "60"], said=False)
    script.communicate("\n", timeout=10)
    assert script.returncode == 0
    vanish(worker, timeout_s=GONE_WITHIN_S)


def test_a_worker_lives_while_other_descriptors_of_its_parent_come_and_go(
    spawn: Callable[..., object], tmp_path: Path
) -> None:
    process = spawn("sleep", "60")
    for _ in range(20):
        os.close(os.open(tmp_path, os.O_RDONLY))
        subprocess.run(["true"], check=True)
    assert not process.exited(0.05)  # type: ignore[attr-defined]


def test_a_child_of_the_parent_that_lives_on_does_not_keep_the_worker(
    run_script: Callable[..., subprocess.Popen[str]], vanish: Callable[..., None]
) -> None:
    # A forked copy of the parent must have closed its copy of the lifeline, else the worker outlives its parent.
    script = run_script("""
import os, sys, threading
from poolproof.bridge.processes.process import WorkerProcess
process = WorkerProcess.spawn(1, ("sleep", "60"), os.environ)
ready, go = os.pipe()
child = os.fork()
if child == 0:
    os.close(ready)
    os.write(go, b"x")
    for fd in (0, 1, 2):
        os.close(fd)
    threading.Event().wait(30)
    os._exit(0)
os.read(ready, 1)
print(process.pid, child, flush=True)
sys.stdin.readline()
""")
    assert script.stdout is not None
    worker, child = map(int, script.stdout.readline().split())
    _kill(script)
    try:
        vanish(worker, timeout_s=GONE_WITHIN_S)
        assert start_ticks(child) is not None
    finally:
        os.kill(child, signal.SIGKILL)
