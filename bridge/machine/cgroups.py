"""Reads the limits and counters of this process's control groups, of version 1 and 2.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2 (cpu.max, memory.events) and cgroup-v1 (cpu.cfs_quota_us,
memory.oom_control). A file that is missing or cannot be read sets no limit. `root` is the folder that has proc and sys.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/")


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many processors' time this process may use, the smallest of all groups above it; None: no limit."""
    quotas = []
    for folder in _folders("cpu", root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if quota != "max" and int(quota) > 0:
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def oom_kills(root: Path = ROOT) -> int:
    """Return how many processes of this process's group the kernel has killed because memory ran out.

    In a group without this counter, such as the root group, the count is that of the whole machine.
    """
    for folder in _folders("memory", root)[:1]:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                return _counter(folder / name)
    with contextlib.suppress(OSError, ValueError):
        return _counter(root / "proc/vmstat")
    return 0


def _counter(path: Path) -> int:
    for line in path.read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    raise ValueError(f"{path} does not count the kills")


def _folders(controller: str, root: Path) -> list[Path]:
    # The folder of this process's group and those above it, the nearest first. In a container the path may be that of
    # the host, whose folders are not there; then only the topmost exists.
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    top = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controller in names:
            bases = [top / controllers, top / controller]
        elif not controllers:
            bases = [top, top / "unified"]
        else:
            continue
        base = next((base for base in bases if base.is_dir()), bases[0])
        inner = Path(path.lstrip("/"))
        folders = [base / folder for folder in (inner, *inner.parents) if ".." not in folder.parts]
        found += [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    return found
