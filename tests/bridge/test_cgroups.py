"""What control groups of both versions grant, read from folders made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolproof.bridge.machine.cgroups import cpu_quota, oom_kills
from poolproof.bridge.machine.processors import usable_processors
from poolproof.pool_v2 import PoolExecutor

V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n1:name=systemd:/docker/abc\n"


def machine(root: Path, own: str, files: dict[str, str]) -> Path:
    """A root folder with /proc/self/cgroup and these files of /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cfs(folder: str, quota: int, period: int) -> dict[str, str]:
    """The files of a group of version 1."""
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000\n"}, 3.0),
        ("0::/../outside\n", {"cpu.max": "100000 100000\n"}, 1.0),
        ("4:cpu:/x\n0::/\n", {"unified/cpu.max": "max 1", **cfs("cpu/x", 20, 10)}, 2.0),
        (V1, cfs("cpu,cpuacct/docker/abc", 70000, 100000), 0.7),
        (V1, cfs("cpu,cpuacct/docker/abc", -1, 100000), None),
        (V1, cfs("cpu", 250000, 100000), 2.5),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_the_smallest_quota_of_all_groups_counts(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(machine(tmp_path, own, files)) == quota


@pytest.mark.parametrize(("quota", "expected"), [(10000, 1), (100000, 1), (150000, 2), (800000, 4), (None, 4)])
def test_usable_processors_are_those_of_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: int | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5, 7})
    assert usable_processors(machine(tmp_path, "0::/\n", {"cpu.max": f"{quota or 'max'} 100000"})) == expected


def test_a_machine_without_proc_sets_no_limit(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path), oom_kills(tmp_path)) == (None, 0)


@pytest.mark.parametrize(
    ("own", "files", "kills"),
    [
        ("0::/a\n", {"a/memory.events": "low 0\nhigh 0\nmax 5\noom 2\noom_kill 3\noom_group_kill 0\n"}, 3),
        (V1, {"memory/docker/abc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"}, 4),
        ("0::/\n", {}, 9),
    ],
)
def test_the_kernel_s_kills_are_those_of_the_own_group_or_of_the_machine(
    tmp_path: Path, own: str, files: dict[str, str], kills: int
) -> None:
    root = machine(tmp_path, own, files)
    (root / "proc/vmstat").write_text("nr_free_pages 1\noom_kill 9\n")
    assert oom_kills(root) == kills


def test_an_executor_has_as_many_workers_as_its_program_may_use_processors() -> None:
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(here)})
    try:
        with PoolExecutor() as executor:
            assert executor.pool.status().target == 1
    finally:
        os.sched_setaffinity(0, here)
