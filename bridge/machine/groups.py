"""Control groups for workers: whatever is below a worker, in any session and process group, can be killed at once.

Version 2 only, from Linux 5.14 on, and only where this process may make groups below its own: as root, in a service
with Delegate=yes, or in the session of a user; elsewhere `Groups.make` returns None. No controller is enabled, so no
limit changes. Sources: cgroups(7); the kernel's admin-guide/cgroup-v2 (cgroup.procs, cgroup.kill).

The name of the groups' folder says who owns it, so that the next program removes what a killed program has left.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import zlib
from pathlib import Path

from poolproof.bridge.machine.cgroups import ROOT
from poolproof.bridge.machine.procfs import is_alive, pid_space, start_ticks

NAME = re.compile(r"poolproof-([0-9a-f]{12})-(\d+)-(\d+)-\d+")
_numbers = itertools.count(1)


class Groups:
    """A folder with a control group for each worker, inside the control group of this process. `path` is the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, root: Path = ROOT) -> Groups | None:
        """Make the folder; None where that is not possible. `root` is the folder that has proc and sys."""
        own = own_group(root)
        if own is None:
            return None
        pid = os.getpid()
        path = own / f"poolproof-{_space()}-{pid}-{start_ticks(pid) or 0}-{next(_numbers)}"
        try:
            path.mkdir()
        except OSError:
            return None
        groups = cls(path)
        if not (path / "cgroup.kill").exists():
            groups.remove()
            return None
        return groups

    def take(self, worker_id: int, pid: int, ticks: int) -> bool:
        """Move a process into the group of this worker. Returns False if that is not possible.

        The process is identified by pid and start: another process that got the pid meanwhile is moved back.
        """
        folder = self.path / str(worker_id)
        try:
            folder.mkdir()
            (folder / "cgroup.procs").write_text(str(pid))
            if start_ticks(pid, zombie=True) == ticks:
                return True
            (self.path.parent / "cgroup.procs").write_text(str(pid))
        except OSError:
            pass
        _remove(folder)
        return False

    def kill(self, worker_id: int) -> list[tuple[int, int]]:
        """Kill all processes in the group of this worker, and return them as (pid, start in clock ticks)."""
        return _kill(self.path / str(worker_id))

    def forget(self, worker_id: int) -> bool:
        """Remove the group of this worker. Returns False as long as a process in it has not ended."""
        return _remove(self.path / str(worker_id))

    def kill_all(self) -> None:
        """Kill all processes in all groups."""
        _kill(self.path)

    def remove(self) -> bool:
        """Remove all groups. Returns False as long as a process in one of them has not ended."""
        return _remove(self.path)


def own_group(root: Path = ROOT) -> Path | None:
    """Return the folder of this process's control group (version 2); None if this process can see none."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, inner = line.split(":", 2)
            if (number, controllers) == ("0", "") and ".." not in inner.split("/"):
                for base in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                    folder = base / inner.lstrip("/")
                    with contextlib.suppress(OSError):
                        if str(os.getpid()) in (folder / "cgroup.procs").read_text().split():
                            return folder
    return None


def remove_abandoned(root: Path = ROOT) -> None:
    """Kill the processes in the groups of pools whose programs have ended, and remove these groups."""
    own = own_group(root)
    if own is None:
        return
    with contextlib.suppress(OSError):
        for path in own.iterdir():
            named = NAME.fullmatch(path.name)
            if named and named[1] == _space() and not is_alive(int(named[2]), int(named[3])):
                _kill(path)
                _remove(path)


def _space() -> str:
    # A pid of another PID namespace says nothing here. A checksum is enough; hashlib would load OpenSSL.
    return f"{zlib.crc32(pid_space().encode()):012x}"


def _kill(folder: Path) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with contextlib.suppress(OSError, ValueError):
        pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
        found += [(pid, ticks) for pid in pids if (ticks := start_ticks(pid)) is not None]
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
    return found


def _remove(folder: Path) -> bool:
    # From below: a worker may have made groups in its own. The files of a group are not removed, but go with it.
    with contextlib.suppress(OSError):
        for path, _, _ in os.walk(folder, topdown=False):
            os.rmdir(path)
    return not folder.exists()
