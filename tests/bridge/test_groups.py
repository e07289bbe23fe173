"""A control group of a worker has the worker and what it starts, and never another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolproof.bridge.machine.groups import Groups, own_group
from poolproof.bridge.machine.procfs import start_ticks
from tests.waiting import wait_until


@pytest.fixture
def groups() -> Iterator[Groups]:
    """A folder of groups, which is removed at the end."""
    made = Groups.make()
    if made is None:
        pytest.skip("this process may not make control groups")
    yield made
    made.kill_all()
    wait_until(made.remove, "the groups are removed")


def test_what_a_process_in_a_group_starts_is_killed_with_it_in_any_session(groups: Groups) -> None:
    code = "import subprocess; subprocess.Popen(('sleep', '600'), start_new_session=True); input()"
    with subprocess.Popen((sys.executable, "-c", code), stdin=subprocess.PIPE, start_new_session=True) as parent:
        assert groups.take(7, parent.pid, start_ticks(parent.pid) or 0)
        procs = groups.path / "7" / "cgroup.procs"
        wait_until(lambda: len(procs.read_text().split()) == 2, "the child has begun")
        assert not groups.forget(7), "a process in it lives"
        killed = groups.kill(7)
        assert len(killed) == 2
        wait_until(lambda: groups.forget(7), "all have ended")
    assert [pid for pid, ticks in killed if start_ticks(pid) == ticks] == []


def test_a_process_that_only_has_the_pid_of_a_worker_stays_where_it_was(groups: Groups) -> None:
    with subprocess.Popen(("cat",), stdin=subprocess.PIPE) as other:
        assert not groups.take(1, other.pid, (start_ticks(other.pid) or 0) + 1)
        own = own_group()
        assert own is not None
        assert str(other.pid) in (own / "cgroup.procs").read_text().split()
    assert list(groups.path.glob("1")) == []


@pytest.mark.parametrize("told", ["", "1:name=systemd:/\n", "0::/../other\n", "0::/elsewhere\n", "nonsense"])
def test_without_a_group_that_can_be_seen_there_are_no_groups(tmp_path: Path, told: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(told)
    (tmp_path / "sys/fs/cgroup/other").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/other/cgroup.procs").write_text(str(os.getpid()))
    assert Groups.make(tmp_path) is None


def test_a_group_that_cannot_be_killed_at_once_is_not_used(tmp_path: Path) -> None:
    """As before Linux 5.14."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/mine\n")
    mine = tmp_path / "sys/fs/cgroup/mine"
    mine.mkdir(parents=True)
    (mine / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    assert Groups.make(tmp_path) is None
    assert [path.name for path in mine.iterdir()] == ["cgroup.procs"]
