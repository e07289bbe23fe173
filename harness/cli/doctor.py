"""Examines whether pools, runs and reports can work on this machine; each point is tried out.

It repairs nothing. Every examination ends, whatever it finds.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec

from poolproof.bridge import ConfigError, PoolConfig, PoolError
from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.processes.interpreter import environment
from poolproof.bridge.processes.process_manager import ProcessManager, unique_name
from poolproof.bridge.processes.rundir.base import BASE_VARIABLE, pools_dir
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.bridge.processes.rundir.rundir import RunDir
from poolproof.harness.cli.worker_checks import WORKER_CHECKS

Check = Callable[[], tuple[bool, str]]
LEAST_PYTHON = (3, 11)
LEAST_DESCRIPTORS = 256
ORPHAN_PATIENCE_S = 3.0
PACKAGES = ("typer", "rich", "jinja2", "pytest", "pytest-xdist", "coverage", "msgspec", "psutil", "numpy", "altair")

ORPHAN = """
import sys, time
from poolproof.bridge.processes.process import WorkerProcess
worker = WorkerProcess.spawn(1, [sys.executable, "-c", "import time; time.sleep(60)"], {})
print(worker.pid, flush=True)
time.sleep(60)
"""


class Examination(msgspec.Struct, frozen=True):
    """The result of one examination: its name, whether it passed, and what was found."""

    name: str
    well: bool
    found: str


def examine(more: Sequence[tuple[str, Check]] = ()) -> list[Examination]:
    """Run every examination, and then `more`; later ones may depend on earlier ones."""
    checks: tuple[tuple[str, Check], ...] = (
        ("Python", _python),
        ("system", _system),
        ("packages", _packages),
        ("processors and load", _load),
        ("file descriptors", _descriptors),
        ("run directories", _run_directories),
        ("temporary folder", _temporary_folder),
        ("a worker starts and answers", _worker),
        ("a worker ends when its parent is killed", _orphan),
        *WORKER_CHECKS,
        ("charts without a network", _charts),
        *more,
    )
    return run_checks(checks)


def run_checks(checks: Sequence[tuple[str, Check]]) -> list[Examination]:
    """Run these checks; a check that raises has found a problem."""
    found = []
    for name, check in checks:
        try:
            well, told = check()
        except Exception as error:
            well, told = False, f"{type(error).__name__}: {error}"
        found.append(Examination(name, well, told))
    return found


def _python() -> tuple[bool, str]:
    return sys.version_info >= LEAST_PYTHON, f"{platform.python_version()} at {sys.executable}"


def _system() -> tuple[bool, str]:
    lacks = [name for name in ("pidfd_open", "eventfd", "posix_spawnp") if not hasattr(os, name)]
    if sys.platform != "linux" or lacks:
        return False, f"{platform.system()} {platform.release()}: Linux with pidfd is needed ({', '.join(lacks)})"
    return True, f"{platform.system()} {platform.release()} {platform.machine()}"


def _packages() -> tuple[bool, str]:
    lacking = []
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            lacking.append(package)
    return (
        not lacking,
        f"missing: {', '.join(lacking)}" if lacking else f"all {len(PACKAGES)} needed packages are installed",
    )


def _load() -> tuple[bool, str]:
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    note = "; more than the processors can serve, so timings would be noisy now" if load > cpus else ""
    return True, f"load {load:.2f} on {cpus} processors{note}"


def _descriptors() -> tuple[bool, str]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft >= LEAST_DESCRIPTORS, f"this process may open {soft} file descriptors; each worker needs 5"


def _run_directories() -> tuple[bool, str]:
    try:
        path = pools_dir()
        owned = RunDir.claim(unique_name("doctor"), version="doctor")
        try:
            os.mkfifo(owned.make_reply_dir() / "pipe")
        finally:
            owned.release()
    except (ConfigError, OSError) as error:
        return False, (
            f"{error}; pools with a name cannot be opened, and those without one have no reply pipes and no logs: let "
            f"{BASE_VARIABLE} name a directory of this user's own"
        )
    room = os.statvfs(path)
    if not room.f_bavail:
        return False, f"{path} is on a full disk: pools there have no record of their workers, and no logs"
    dead = [record.name for record in list_pools() if not record.owner_alive]
    note = f"; {len(dead)} pools there have no living owner: `poolproof reap` removes them" if dead else ""
    if os.geteuid() == 0 and (user := os.environ.get("SUDO_USER")):
        note += f"; these are root's own: `sudo -u {user} poolproof ps` lists the pools of {user}"
    return True, f"{path}{note}"


def _temporary_folder() -> tuple[bool, str]:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            return True, tempfile.gettempdir()
    except OSError as error:
        return False, f"{error.strerror}; tests and runs need one: let TMPDIR name a folder that can be written"


def _worker() -> tuple[bool, str]:
    config = PoolConfig()
    process_manager = ProcessManager(config, version="doctor")
    channel = None
    try:
        began = time.monotonic()
        channel = process_manager.spawn(process_manager.next_id())
        channel.handshake(deadline_ns=deadline_ns(config.start_timeout_s))
        return True, f"the first answer came after {(time.monotonic() - began) * 1e3:.0f} ms"
    except PoolError as error:
        return False, str(error).replace("\n", " | ")
    finally:
        if channel is not None:
            channel.process.kill()
            channel.process.exited(ORPHAN_PATIENCE_S)
            channel.process.reap()
            process_manager.release(channel)
        process_manager.shut_down()


def _orphan() -> tuple[bool, str]:
    command = [sys.executable, "-P", "-c", ORPHAN]
    parent = subprocess.Popen(command, env=os.environ | environment(), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        with parent.stdout as told:
            pid = int(told.readline())
    finally:
        parent.kill()
        parent.wait()
    began = time.monotonic()
    while start_ticks(pid) is not None:
        if time.monotonic() - began > ORPHAN_PATIENCE_S:
            return False, f"worker process {pid} still ran {ORPHAN_PATIENCE_S:.0f} s after its parent was killed"
        time.sleep(0.005)
    return True, f"the worker ended {(time.monotonic() - began) * 1e3:.0f} ms after its parent was killed"


def _charts() -> tuple[bool, str]:
    import vl_convert  # the slowest import; only this examination needs it

    return True, f"Vega-Lite {', '.join(vl_convert.get_vegalite_versions()[-1:])} is installed"
