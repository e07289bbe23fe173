"""The doctor tries things out, and an examination that breaks is a finding like any other."""

from __future__ import annotations

import resource
import sys

import pytest

from poolproof.harness.cli import doctor


def test_every_point_is_tried_here_and_found_well() -> None:
    found = doctor.examine()
    assert [point.name for point in found if not point.well] == []
    assert len(found) == 9


def test_what_is_wrong_is_told_point_by_point(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    monkeypatch.setattr(doctor, "PACKAGES", ("msgspec", "no-such-package"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(doctor, "PoolConfig", lambda: doctor.msgspec.structs.replace(_config(), worker_command="false"))
    monkeypatch.setattr(doctor, "ORPHAN", "import sys; print('no number', flush=True)")
    found = {point.name: point for point in doctor.examine()}
    assert {name for name, point in found.items() if not point.well} == {
        "system",
        "packages",
        "file descriptors",
        "a worker starts and answers",
        "a worker ends when its parent is killed",
    }
    assert found["packages"].found == "missing: no-such-package"
    assert "may open 64 " in found["file descriptors"].found
    assert found["a worker ends when its parent is killed"].found.startswith("ValueError")


def test_a_worker_that_outlives_its_parent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORPHAN", "import os, time; print(os.getppid(), flush=True); time.sleep(60)")
    monkeypatch.setattr(doctor, "ORPHAN_PATIENCE_S", 0.05)
    [point] = [point for point in doctor.examine() if point.name == "a worker ends when its parent is killed"]
    assert not point.well
    assert "still ran" in point.found


def _config() -> doctor.PoolConfig:
    from poolproof.bridge import PoolConfig

    return PoolConfig()
