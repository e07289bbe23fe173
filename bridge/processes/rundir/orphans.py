"""The pools of this machine and user: the list of them, and the end of those whose owner is gone."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from poolproof.bridge.machine.groups import remove_abandoned
from poolproof.bridge.processes.rundir.base import base_dir, pools_dir
from poolproof.bridge.processes.rundir.directory import clear, examined, pool_name, set_aside
from poolproof.bridge.processes.rundir.manifest import read_manifest
from poolproof.bridge.processes.rundir.workers import living_workers


class PoolRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of this machine, as recorded in its directory; `worker_pids` are the living workers."""

    name: str
    version: str
    owner_pid: int
    owner_alive: bool
    created_at: str
    worker_pids: tuple[int, ...]


class Reaped(msgspec.Struct, frozen=True, kw_only=True):
    """A dead pool that was removed, with the workers that had outlived it."""

    name: str
    owner_pid: int
    killed: tuple[int, ...]


def list_pools() -> list[PoolRecord]:
    """Return this user's pools on this machine, by name, including dead pools that are not reaped yet."""
    found = []
    for path in pool_paths():
        if not path.name.startswith("."):
            with examined(path) as (fd, dead):
                if fd >= 0:
                    found.append(read_record(path.name, fd, dead=dead))
    return found


def reap_orphans() -> list[Reaped]:
    """End the workers of pools whose owner is gone, and remove these pools' files. Affects no other process."""
    remove_abandoned()
    reaped = []
    for path in pool_paths():
        with examined(path) as (fd, dead):
            if not dead:
                continue
            record = read_record(path.name, fd, dead=True)
            try:
                aside = set_aside(path)
            except OSError:  # another process reaps it, or nothing can be renamed there
                continue
            reaped.append(Reaped(name=record.name, owner_pid=record.owner_pid, killed=clear(aside, fd)))
    return reaped


def pool_paths() -> list[Path]:
    """Return the paths of the run directories. Creates nothing: `poolproof ps` works where no directory can be made."""
    return sorted(pools_dir().iterdir()) if os.path.lexists(base_dir()) else []


def read_record(folder: str, fd: int, *, dead: bool) -> PoolRecord:
    """Return what the open run directory of this name says about its pool."""
    manifest = read_manifest(fd)
    return PoolRecord(
        name=pool_name(folder),
        version="?" if manifest is None else manifest.version,
        owner_pid=0 if manifest is None else manifest.pid,
        owner_alive=not dead,
        created_at="?" if manifest is None else manifest.created_at,
        worker_pids=tuple(pid for pid, _ in living_workers(fd)),
    )
