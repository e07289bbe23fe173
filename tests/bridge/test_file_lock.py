"""The lock of a file: one exclusive holder or many that share, until the descriptor is closed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolproof.bridge.machine.file_lock import lock_file, unlock_file


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[list[int]]:
    """Three open files of one path, whose locks exclude each other as those of three processes do."""
    fds = [os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT, 0o644) for _ in range(3)]
    yield fds
    for fd in fds:
        os.close(fd)


def test_one_holder_excludes_all_others_until_it_unlocks(descriptors: list[int]) -> None:
    one, two, _ = descriptors
    assert lock_file(one)
    assert not lock_file(two)
    assert not lock_file(two, shared=True)
    unlock_file(one)
    assert lock_file(two)


def test_holders_that_share_exclude_only_those_that_do_not(descriptors: list[int]) -> None:
    one, two, three = descriptors
    assert lock_file(one, shared=True)
    assert lock_file(two, shared=True)
    assert not lock_file(three)


def test_a_closed_descriptor_holds_no_lock(descriptors: list[int], tmp_path: Path) -> None:
    gone = os.open(tmp_path / "lock", os.O_RDONLY)
    assert lock_file(gone)
    os.close(gone)
    assert lock_file(descriptors[0])


def test_waiting_goes_on_until_it_is_stopped(descriptors: list[int]) -> None:
    one, two, _ = descriptors
    assert lock_file(one)
    looks = iter([False, False, True])
    assert not lock_file(two, stop=lambda: next(looks))
    assert next(looks, None) is None


def test_waiting_ends_with_the_lock(descriptors: list[int]) -> None:
    one, two, _ = descriptors
    assert lock_file(one)

    def stop() -> bool:
        unlock_file(one)
        return False

    assert lock_file(two, stop=stop)
