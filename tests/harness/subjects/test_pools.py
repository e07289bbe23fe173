"""The pools that can be put to the test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from poolproof.bridge import Capability, Event, Pool, PoolConfig
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.names import pool_name
from poolproof.harness.subjects.nodes import end_agents
from poolproof.harness.subjects.pools import find_pool, offered_pools
from poolproof.harness.subjects.shipped import SUBJECTS


@pytest.mark.parametrize("name", ["v1", "v2", "nodes"])  # "ray" needs a cluster
def test_a_subject_makes_the_pool_that_it_describes(name: str) -> None:
    subject = find_pool(name)
    pool = subject.make(PoolConfig(name=pool_name("pools", name), workers=1, lazy=True), None)
    try:
        assert isinstance(pool, Pool)
        assert (pool.version, pool.capabilities) == ("v1" if name == "v1" else "v2", subject.capabilities)
        assert {Capability.EVENTS, Capability.SESSIONS} <= subject.capabilities
    finally:
        pool.close()
        end_agents()


def test_the_pools_of_the_project_are_known_by_their_names() -> None:
    assert list(SUBJECTS) == ["v1", "v2", "nodes", "ray"]
    assert all(subject.name == name and subject.summary for name, subject in SUBJECTS.items())


@pytest.mark.parametrize(
    ("name", "hint"), [("V2", "did you mean 'v2'"), ("v3", "did you mean"), ("zzz", "there are v1, v2")]
)
def test_an_unknown_pool_is_a_usage_error_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        find_pool(name)


OWN = '''
"""Pools of a user's own."""
from poolproof.pool_v2 import PoolV2
from poolproof.harness.run.runner import Subject

class Mine(PoolV2):
    """My own pool."""

def by_name(config, *, observer=None):
    return PoolV2(config, observer=observer)

def by_position(config, watcher):
    return PoolV2(config, observer=watcher)

def blind(config):
    return PoolV2(config)

def no_pool(config, observer):
    return object()

def broken(config, observer):
    raise RuntimeError("no disk")

def nothing():
    return None

class Told:
    """Says what it is."""
    summary = "told"
    capabilities = ("kill",)
    commands = frozenset({"echo"})
    call_timeout_s = 7.0
    prepared = 0

    @classmethod
    def prepare(cls):
        cls.prepared += 1

    def __new__(cls, config, observer):
        return PoolV2(config, observer=observer)

NUMBER = 7
SUBJECT = Subject(name="inner", summary="s", make=by_name, capabilities=frozenset(), call_timeout_s=1.0,
                  checkout_timeout_s=2.0)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with pools, in the current folder; its name, which no other test has used."""
    name = f"own_pools_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


@pytest.mark.parametrize("factory", ["Mine", "by_name", "by_position", "blind"])
def test_a_factory_is_found_in_the_current_folder_and_makes_pools(own: str, factory: str) -> None:
    subject = find_pool(f"{own}:{factory}")
    assert subject.name == f"{own}:{factory}"
    assert subject.capabilities == find_pool("v2").capabilities
    seen: list[Event] = []
    with subject.make(PoolConfig(name=pool_name("pools", factory), workers=1), seen.append) as pool:
        assert pool.execute("echo", {"value": 3}) == 3
    assert bool(seen) == (factory != "blind")


def test_a_factory_may_say_what_it_is(own: str) -> None:
    subject = find_pool(f"{own}:Told")
    assert (subject.summary, subject.capabilities) == ("told", {Capability.KILL})
    assert (subject.call_timeout_s, subject.checkout_timeout_s, subject.commands) == (7.0, 7.0, {"echo"})
    assert find_pool(f"{own}:Told") is subject
    assert sys.modules[own].Told.prepared == 1
    assert find_pool(f"{own}:Mine").summary == "My own pool."
    assert find_pool(f"{own}:SUBJECT").checkout_timeout_s == 2.0
    assert find_pool(f"{own}:SUBJECT").name == f"{own}:SUBJECT"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_pool", "gave <object object at .*, which lacks capabilities, close, end_session"),
        ("broken", "the factory of the pool .* raised an error: RuntimeError: no disk"),
        ("nothing", r"factory\(config, observer\) is needed, not nothing\(\)"),
        ("NUMBER", "is no factory of pools but 7"),
        ("Mne", "has no Mne; did you mean 'Mine'?"),
        ("", "package.module:factory is needed"),
    ],
)
def test_what_is_no_factory_is_told_in_one_sentence(own: str, path: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find_pool(f"{own}:{path}")


def test_a_module_that_is_not_there_or_breaks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "breaks_at_import.py").write_text("1 / 0")
    with pytest.raises(UsageError, match="no_such_module cannot be imported: ModuleNotFoundError"):
        find_pool("no_such_module:Pool")
    with pytest.raises(UsageError, match="breaks_at_import cannot be imported: ZeroDivisionError"):
        find_pool("breaks_at_import:Pool")


def test_packages_offer_pools_by_entry_points(own: str, tmp_path: Path) -> None:
    package = tmp_path / "offers-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        f"[poolproof.pools]\noffered = {own}:by_name\nv2 = {own}:broken\nlost = {own}:lost\n"
    )
    sys.path.insert(0, str(tmp_path))
    assert {"offered", "lost"} <= offered_pools().keys()
    assert find_pool("offered").name == "offered"
    assert find_pool("v2") is SUBJECTS["v2"], "nobody takes our names"
    with pytest.raises(UsageError, match=r"the pool 'lost' .* cannot be loaded: AttributeError"):
        find_pool("lost")
    with pytest.raises(UsageError, match="did you mean 'offered'"):
        find_pool("ofered")
