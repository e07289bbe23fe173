"""Faults of the pool as a whole, from inside its own process: each function injects one kind of fault.

The functions know nothing of moments. Each calls `tell` with whether its fault landed and what the victim saw, and
restores what it changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable

import msgspec

from poolproof.bridge import Pool, PoolClosed, PoolConfig
from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import environment, with_flags
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.faults.lease_injuries import (
    ANSWER_WAIT_S,
    LOOK_EVERY_S,
    hold_lease,
    lose_lease,
    use_after_checkin,
)
from poolproof.harness.faults.stage import Drainable, Resizable, Stage
from poolproof.harness.model.fault import Fault, FaultKind

CLOSE_GRACE_S = 5.0
OWNER_WAIT_S = 30.0
"""How many seconds another process may take to make its pool."""


def close(fault: Fault, stage: Stage) -> None:
    """Close the pool with a grace period of `for_s` seconds."""
    stage.tell(fault, landed=True, detail="close()")
    stage.recorder.mark("close_began")
    (stage.close or stage.pool.close)(fault.for_s or CLOSE_GRACE_S)
    stage.recorder.mark("close_ended")


def drain(fault: Fault, stage: Stage) -> None:
    """Drain the pool, for at most `for_s` seconds."""
    pool = stage.pool
    if not isinstance(pool, Drainable):
        stage.tell(fault, landed=False, detail="this pool has no method drain()")
        return
    stage.tell(fault, landed=True, detail="drain()")
    stage.recorder.mark("close_began")
    pool.drain(fault.for_s)
    stage.recorder.mark("close_ended")


def resize(fault: Fault, stage: Stage) -> None:
    """Give the pool one worker for `for_s` seconds, and then its own size again: two records, each of a resize."""
    pool = stage.pool
    if not isinstance(pool, Resizable):
        stage.tell(fault, landed=False, detail="this pool has a fixed size")
        return
    with stage.resizing:  # otherwise the next resize would take the one worker for the pool's own size
        size = pool.status().target
        pool.resize(1)
        stage.tell(fault, landed=True, detail=f"from {size} workers to 1")
        stage.stop.wait(fault.for_s)
        stage.tell(fault, landed=True, detail=f"from 1 worker to {size}")
        with contextlib.suppress(PoolClosed):
            pool.resize(size)


def restart(fault: Fault, stage: Stage) -> None:
    """Restart the workers by the pool's own method `restart`, which returns what was done."""
    method = getattr(stage.pool, "restart", None)
    if method is None:
        stage.tell(fault, landed=False, detail="this pool has no method restart()")
        return
    stage.tell(fault, landed=True, detail=str(method()))


def fork(fault: Fault, stage: Stage) -> None:
    """Fork this process; the child makes a call, closes the pool, and exits."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(stage.pool, write_fd)
    os.close(write_fd)
    try:
        told = b""
        if select.select([read_fd], [], [], ANSWER_WAIT_S)[0]:
            told = os.read(read_fd, 1000)
        if not told:
            os.kill(pid, signal.SIGKILL)  # the child is not waited for yet, so its pid is still its own
    finally:
        os.close(read_fd)
        os.waitpid(pid, 0)
    stage.tell(fault, landed=True, pid=pid, detail="fork()", seen=told.decode() or "the forked child hung")


def _be_the_child(pool: Pool, write_fd: int) -> None:
    try:
        seen = "served"
        try:
            pool.execute("echo", {"value": "from a forked child"}, timeout_s=2.0)
        except BaseException as error:
            seen = type(error).__name__
        with contextlib.suppress(BaseException):
            pool.close(0.0)
        os.write(write_fd, seen.encode())
    finally:
        os._exit(0)


def own_twice(fault: Fault, stage: Stage) -> None:
    """Make a second pool with the name of the first, which must be refused."""
    if stage.config is None or stage.make is None:
        stage.tell(fault, landed=False, detail="no second pool can be made here")
        return
    try:
        second = stage.make(msgspec.structs.replace(stage.config, name=stage.pool.name), None)
    except Exception as error:
        stage.tell(fault, landed=True, detail=str(error), seen=type(error).__name__)
    else:
        second.close(0.0)
        stage.tell(fault, landed=True, seen="accepted")


def ask_the_impossible(fault: Fault, stage: Stage) -> None:
    """Make a pool with a misspelt option, which the pool must refuse."""
    if stage.make is None:
        stage.tell(fault, landed=False, detail="no second pool can be made here")
        return
    try:
        second = stage.make(PoolConfig.from_options({"name": f"{stage.pool.name}-second", "worker": 2}), None)
    except Exception as error:
        stage.tell(fault, landed=True, detail=str(error), seen=type(error).__name__)
    else:
        second.close(0.0)
        stage.tell(fault, landed=True, seen="accepted")


class JunkHooks:
    """An object that has a hook of every name; each hook returns a value that no pool accepts."""

    def __getattr__(self, name: str) -> Callable[..., str]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_: "junk"


def answer_junk(fault: Fault, stage: Stage) -> None:
    """Give a second pool of the same class hooks that return invalid values, and call it."""
    if stage.config is None:
        stage.tell(fault, landed=False, detail="no second pool can be made here")
        return
    config = msgspec.structs.replace(stage.config, name=f"{stage.pool.name}-hooked", workers=1)
    hooked: Callable[..., Pool] = type(stage.pool)
    try:
        second = hooked(config, behaviour=JunkHooks())
    except TypeError as error:
        stage.tell(fault, landed=True, detail=str(error), seen="no hooks")
        return
    try:
        second.execute("echo", {"value": 1}, timeout_s=ANSWER_WAIT_S)
        seen, detail = "served", ""
    except Exception as error:
        seen, detail = type(error).__name__, str(error)
    finally:
        second.close(0.0)
    stage.tell(fault, landed=True, detail=detail, seen=seen)


def exhaust_descriptors(fault: Fault, stage: Stage) -> None:
    """Leave this process without a free descriptor for `for_s` seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        # The limit is not lower, because poll(2) refuses more descriptors than the limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, highest + 1), hard))
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            stage.tell(fault, landed=True, detail=str(error.strerror))
        stage.stop.wait(fault.for_s)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


def kill_parent(fault: Fault, stage: Stage) -> None:
    """SIGKILL a separate process that owns a busy pool of the same kind.

    `seen` is "all gone", or how many workers are left after `for_s` seconds.
    """
    if stage.config is None or not stage.subject:
        stage.tell(fault, landed=False, detail="no second pool can be made here")
        return
    with tempfile.TemporaryDirectory(prefix="poolproof-") as journals:  # not the run's folder, nor its workers
        env = {**stage.config.env, JOURNAL_VARIABLE: journals}
        config = msgspec.structs.replace(stage.config, name=f"{stage.pool.name}-orphaned", env=env)
        order = msgspec.json.encode({"pool": stage.subject, "config": config})
        owner, line = _own_and_die(order)
    if not line:
        stage.tell(fault, landed=False, pid=owner.pid, detail=f"no process could make a pool {stage.subject!r}")
        return
    workers: list[int] = json.loads(line)
    stage.pids.update(workers)
    deadline = time.monotonic() + (fault.for_s or ANSWER_WAIT_S)
    left = workers
    while left and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        left = [pid for pid in left if _lives(pid)]
    seen = f"{len(left)} of {len(workers)} workers left" if left else "all gone"
    stage.tell(fault, landed=bool(workers), pid=owner.pid, detail="SIGKILL to the pool's process", seen=seen)


def _own_and_die(order: bytes) -> tuple[subprocess.Popen[bytes], bytes]:
    # Starts a process that makes the pool, and kills it once the pool is busy; returns the process and its line of
    # output.
    owner = subprocess.Popen(
        with_flags(module_command("poolproof.harness.faults.owner")),
        env={**os.environ, **environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            owner.stdin.write(order + b"\n")
            owner.stdin.flush()
        line = owner.stdout.readline() if select.select([owner.stdout], [], [], OWNER_WAIT_S)[0] else b""
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            owner.stdin.close()
    return owner, line


def fail_models(fault: Fault, stage: Stage) -> None:
    """Let the model server fail every request for `for_s` seconds. The fault landed once a request has failed."""
    models = stage.models
    if models is None:
        stage.tell(fault, landed=False, detail="this run has no model server")
        return
    before = models.stats()["failed"]
    models.outage(fault.outage)
    end = time.monotonic() + fault.for_s
    try:
        landed = False
        while not landed and time.monotonic() < end and not stage.stop.wait(LOOK_EVERY_S):
            landed = models.stats()["failed"] > before
        stage.tell(fault, landed=landed, detail=fault.outage.value)
        stage.stop.wait(max(0.0, end - time.monotonic()))
    finally:
        models.outage(None)


def _lives(pid: int) -> bool:
    # A process that has ended counts as gone even if its new parent has not waited for it.
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


INJURIES: dict[FaultKind, Callable[[Fault, Stage], None]] = {
    FaultKind.CLOSE: close,
    FaultKind.DRAIN: drain,
    FaultKind.RESIZE: resize,
    FaultKind.RESTART: restart,
    FaultKind.FORK: fork,
    FaultKind.SECOND_OWNER: own_twice,
    FaultKind.BAD_OPTION: ask_the_impossible,
    FaultKind.HOOK_JUNK: answer_junk,
    FaultKind.STALE_LEASE: use_after_checkin,
    FaultKind.LOST_LEASE: lose_lease,
    FaultKind.HELD_LEASE: hold_lease,
    FaultKind.FD_EXHAUSTION: exhaust_descriptors,
    FaultKind.PARENT_KILL: kill_parent,
    FaultKind.MODEL_OUTAGE: fail_models,
}
