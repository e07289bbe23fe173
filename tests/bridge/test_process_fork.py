"""A forked child of the parent: it closes its copies, harms no worker, and the parent goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Script = Callable[..., subprocess.Popen[str]]

BEGIN = """
import os, sys
from poolproof.bridge.processes.process import WorkerProcess
def fds():
    return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
before = fds()
process = WorkerProcess.spawn(1, ("sh", "-c", "while read a; do echo got-$a; done"), os.environ)
def ask(word):
    os.write(process.stdin_fd, word + b"\\n")
    return os.read(process.stdout_fd, 100)
def end(status=0):
    sys.stdout.flush()
    os._exit(status)
"""


def _output(script: subprocess.Popen[str]) -> list[str]:
    output, errors = script.communicate(timeout=30)
    assert errors == ""
    assert script.returncode == 0
    return output.split()


def test_the_parent_goes_on_after_a_child_has_closed_its_copies_and_left(run_script: Script) -> None:
    script = run_script(
        BEGIN
        + """
child = os.fork()
if child == 0:
    kept = set(fds()) - set(before) - {process.stderr_fd}
    print("child", *kept)
    end()
assert os.waitpid(child, 0)[1] == 0
print(ask(b"one").decode().strip(), process.exited(), flush=True)
process.end_input()
assert process.exited(10) and process.reap()
print(process.exit_status)
"""
    )
    assert _output(script) == ["child", "got-one", "False", "0"]


def test_a_child_signals_and_reaps_nothing(run_script: Script) -> None:
    script = run_script(
        BEGIN
        + """
child = os.fork()
if child == 0:
    process.kill()
    assert process.reap() and process.exited()
    process.close()
    end()
assert os.waitpid(child, 0)[1] == 0
print(ask(b"two").decode().strip())
process.kill()
"""
    )
    assert _output(script) == ["got-two"]


def test_a_child_never_closes_a_descriptor_that_it_opened_itself(run_script: Script) -> None:
    # The worker's numbers are free in the child, so whatever it opens next gets one of them.
    script = run_script(
        BEGIN
        + """
child = os.fork()
if child == 0:
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
    process.end_input()
    process.close()
    for fd in mine:
        os.fstat(fd)
    end()
print(os.waitpid(child, 0)[1])
process.kill()
"""
    )
    assert _output(script) == ["0"]


def test_a_child_may_start_workers_of_its_own(run_script: Script) -> None:
    script = run_script(
        BEGIN
        + """
child = os.fork()
if child == 0:
    process = WorkerProcess.spawn(2, ("sh", "-c", "read a; echo got-$a"), os.environ)
    print(ask(b"mine").decode().strip())
    assert process.exited(10) and process.reap()
    end()
os.waitpid(child, 0)
print(ask(b"theirs").decode().strip())
process.kill()
"""
    )
    assert _output(script) == ["got-mine", "got-theirs"]


def test_a_worker_that_was_closed_before_the_fork_is_not_closed_again(run_script: Script) -> None:
    script = run_script(
        BEGIN
        + """
process.kill()
assert process.exited(10)
process.close()  # given up without being reaped
mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
child = os.fork()
if child == 0:
    for fd in mine:
        os.fstat(fd)
    end()
print(os.waitpid(child, 0)[1])
"""
    )
    assert _output(script) == ["0"]


def test_a_fork_in_the_middle_of_a_start_inherits_nothing_of_the_worker(run_script: Script) -> None:
    # Another thread forks while this one has opened the pipes and not yet recorded the process.
    script = run_script(
        """
import os, threading
from poolproof.bridge.processes import process as room

def pipes():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return {target for target in found if target.startswith("pipe:")}

before = pipes()
inside, forking = threading.Event(), threading.Event()
spawn = os.posix_spawnp

def slow_spawn(*args, **options):
    inside.set()
    forking.wait(10)
    return spawn(*args, **options)

def fork():
    inside.wait(10)
    forking.set()
    child = os.fork()
    if child == 0:
        os._exit(len(pipes() - before))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

os.posix_spawnp = slow_spawn
thread = threading.Thread(target=fork)
thread.start()
worker = room.WorkerProcess.spawn(1, ("cat",), os.environ)
thread.join(10)
os.close(worker.stderr_fd)
worker.kill()
assert worker.exited(10) and worker.reap()
worker.close()
"""
    )
    output, errors = script.communicate(timeout=30)
    # The child's own stderr end is a drain's to close, and here there is none.
    assert (output.split(), errors) == (["1"], "")
