"""What a process holds for a pool: memory, descriptors, threads, children and files."""

from __future__ import annotations

import msgspec
import psutil

from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.pool_v2 import PoolV2

MIB = 2**20


class Held(msgspec.Struct, frozen=True):
    """One look. `zombies` are children that have ended and are not reaped, `files` those of the run directory."""

    rss_mib: float
    descriptors: int
    threads: int
    children: int
    zombies: int
    files: int


def held_for(pool: PoolV2) -> Held:
    """Look at this process and at the pool's run directory now."""
    process = psutil.Process()
    children = process.children(recursive=True)
    return Held(
        rss_mib=round(process.memory_info().rss / MIB, 1),
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        children=len(children),
        zombies=sum(_is_zombie(child) for child in children),
        files=sum(1 for _ in (pools_dir() / pool.name).rglob("*")),
    )


def _is_zombie(child: psutil.Process) -> bool:
    try:
        return bool(child.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
