"""Pool names never meet, and tell whom they belong to."""

from __future__ import annotations

import os

import pytest

from poolproof.bridge import PoolConfig
from poolproof.harness.run.names import pool_name


@pytest.fixture(autouse=True)
def _outside_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_TESTRUNUID", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def test_no_two_names_are_the_same() -> None:
    names = [pool_name("scenario", "v2") for _ in range(200)]
    assert len(set(names)) == 200


def test_a_name_tells_its_scenario_its_pool_and_its_process() -> None:
    scenario, pool, pid, counter = pool_name("any_json", "v1").split("-")
    assert (scenario, pool, pid) == ("any_json", "v1", str(os.getpid()))
    assert counter.isdecimal()


def test_under_xdist_a_name_tells_its_test_run_and_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", "0123456789abcdef")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    assert pool_name("s", "v2").split("-")[2:4] == ["0123456789ab", "gw7"]


@pytest.mark.parametrize("scenario", ["a" * 60, "with blank", "s/ümlaut", "x"])
def test_every_name_is_one_that_a_pool_takes(monkeypatch: pytest.MonkeyPatch, scenario: str) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", "f" * 64)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw123")
    name = pool_name(scenario, "v2")
    assert PoolConfig(name=name).name == name
