"""Examines what workers need: processors, memory limits, shared memory, and the end of all their processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from poolproof.bridge import PoolConfig
from poolproof.bridge.machine.cgroups import cpu_quota
from poolproof.bridge.machine.groups import Groups
from poolproof.bridge.machine.processors import usable_processors
from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.wire.segment import Segment

PATIENCE_S = 20.0
MEMORY_BYTES = 256 * 1024 * 1024
BEYOND = f"""
try:
    bytearray({2 * MEMORY_BYTES})
except MemoryError:
    raise SystemExit(7)
"""
REFUSED_STATUS = 7
STRAY = "import subprocess; p = subprocess.Popen(('sleep', '60'), start_new_session=True); print(p.pid, flush=True)"


def current_folder() -> tuple[bool, str]:
    """Name the files of the current folder that have the name of a module which this program or a worker imports."""
    needed = {*sys.stdlib_module_names, "msgspec", "poolproof"}
    try:
        here = Path.cwd()
        modules = [path for path in here.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
        names = sorted(path.name for path in modules if path.stem in needed)
    except OSError as error:
        return False, f"it cannot be read: {error.strerror}; workers start in it"
    own = (here / "pyproject.toml").exists() and names == ["poolproof"]
    if not names or own:
        return True, f"no module in {here} has the name of one that workers need"
    return True, (
        f"{', '.join(names)} in {here} replace modules of the same name in programs that run there, such as "
        "`python -m`; workers do not import them at their start"
    )


def processors() -> tuple[bool, str]:
    """Compare the default number of workers with the number of processors that this process may use."""
    usable, allowed, quota = usable_processors(), len(os.sched_getaffinity(0)), cpu_quota()
    limits = f"affinity {allowed}, quota of the control groups {'none' if quota is None else format(quota, 'g')}"
    workers = PoolConfig().workers
    note = f"; the {workers} workers of PoolConfig by default share them" if workers > usable else ""
    return True, f"{usable} usable ({limits}), so PoolExecutor starts {usable} workers by default{note}"


def memory_limit() -> tuple[bool, str]:
    """Try whether an allocation beyond `hard_memory_bytes` fails."""
    worker = WorkerProcess.spawn(1, [sys.executable, "-I", "-c", BEYOND], os.environ, memory_bytes=MEMORY_BYTES)
    try:
        os.close(worker.stderr_fd)
        ended = worker.exited(PATIENCE_S)
        worker.kill()
        worker.exited(PATIENCE_S)
        worker.reap()
    finally:
        worker.close()
    if not ended or worker.exit_status != REFUSED_STATUS:
        return False, f"an allocation beyond hard_memory_bytes was not refused: the process {worker.describe_exit()}"
    return True, "an allocation beyond hard_memory_bytes is refused (RLIMIT_DATA)"


def shared_memory() -> tuple[bool, str]:
    """Try whether a client and a worker can share memory for large buffers (memfd, /proc)."""
    mine = Segment.create(most_kept_bytes=0)
    try:
        mine.put([b"x" * 1_000_000])
        theirs = Segment.open(os.getpid(), mine.fd)
        theirs.close()
    except OSError as error:
        return False, f"{error.strerror}: set shared_memory_bytes=0, then buffers go through pipes"
    finally:
        mine.close()
    return True, "memory can be shared (memfd)"


def strays() -> tuple[bool, str]:
    """Try whether what a worker has started in a session of its own ends when the worker crashes."""
    groups = Groups.make()
    way = "a search of /proc, at most once a second; control groups are not permitted"
    if groups is not None:
        groups.remove()
        way = "cgroup.kill"
    process_manager = ProcessManager(PoolConfig(worker_command=(sys.executable, "-I", "-c", STRAY)), version="doctor")
    try:
        channel = process_manager.spawn(process_manager.next_id())
        with os.fdopen(os.dup(channel.process.stdout_fd)) as told:
            pid = int(told.readline())
        ticks = start_ticks(pid)
        adopter = _parent(pid) if channel.process.exited(PATIENCE_S) else 0
        channel.process.kill()
        channel.process.exited(PATIENCE_S)
        channel.process.reap()
        process_manager.release(channel)
        began = time.monotonic()
        while ticks is not None and start_ticks(pid) == ticks:
            if time.monotonic() - began > PATIENCE_S:
                return False, f"process {pid} still ran {PATIENCE_S:.0f} s after its worker had ended ({way})"
            time.sleep(0.005)
    finally:
        process_manager.shut_down()
    adopts = "; this program adopts orphans, and reaps them" if adopter == os.getpid() else ""
    return True, f"it ended {(time.monotonic() - began) * 1e3:.0f} ms after the worker, by {way}{adopts}"


def _parent(pid: int) -> int:
    # Source: proc(5), field 4 of /proc/PID/stat.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


WORKER_CHECKS = (
    ("current folder", current_folder),
    ("processors for workers", processors),
    ("a worker's memory can be limited", memory_limit),
    ("shared memory", shared_memory),
    ("what a worker has started ends with it", strays),
)
