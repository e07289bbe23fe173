"""What the machine is, and that a timing holds the one lock for it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from benchmarks.machine import busy_share, describe, quietly_timed
from poolproof.bridge.processes.rundir.base import pools_dir


def test_the_machine_is_described_without_a_name_of_its_own() -> None:
    machine = describe()
    assert machine.cpus == len(os.sched_getaffinity(0))
    assert machine.memory_bytes > 2**20
    assert machine.processor
    assert machine.python.startswith("CPython 3.")
    assert "msgspec" in machine.packages
    assert os.uname().nodename not in repr(machine)


def test_a_busy_share_is_a_share() -> None:
    assert 0 <= busy_share(0.05) <= 1


def test_a_timing_holds_the_measuring_lock_and_tells_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("POOLPROOF_GATE_DIR", raising=False)
    with quietly_timed() as watch:
        assert watch.load is None
        with (pools_dir().parent / "measuring.lock").open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert watch.load is not None
    assert watch.seconds > 0
    assert 0 <= watch.load.steal <= 1
    with (pools_dir().parent / "measuring.lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
