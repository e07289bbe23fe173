"""Asks the living pools of this machine and user for their figures (`poolproof.bridge.processes.rundir.figures`)."""

from __future__ import annotations

import socket

import msgspec

from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.processes.rundir.directory import examined
from poolproof.bridge.processes.rundir.figures import ANSWER_BYTES, address
from poolproof.bridge.processes.rundir.orphans import PoolRecord, pool_paths, read_record

ASK_TIMEOUT_S = 1.0


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One pool of this machine, and its figures, or why it gave none."""

    record: PoolRecord
    figures: PoolFigures | None = None
    why: str = ""


def ask_pools() -> list[Answered]:
    """Return this user's living pools on this machine, by name, with their figures."""
    found = []
    for path in pool_paths():
        with examined(path) as (fd, dead):
            if fd >= 0 and not dead and not path.name.startswith("."):
                found.append(_ask(read_record(path.name, fd, dead=False), fd))
    return found


def _ask(record: PoolRecord, run_dir_fd: int) -> Answered:
    try:
        return Answered(record=record, figures=msgspec.json.decode(_read(run_dir_fd), type=PoolFigures))
    except FileNotFoundError:
        return Answered(record=record, why="it gives no figures: a v1 pool, or one of an earlier version")
    except (OSError, msgspec.DecodeError) as error:
        return Answered(record=record, why=f"no answer: {error}")


def _read(run_dir_fd: int) -> bytes:
    line = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ASK_TIMEOUT_S)
        asking.connect(address(run_dir_fd))
        while piece := asking.recv(ANSWER_BYTES):
            line += piece
    return line
