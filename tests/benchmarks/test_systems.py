"""Each system opens, answers, and ends all that it started; peers that are an extra are faked."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from benchmarks import systems
from benchmarks.blocks import Execute, MissingPeer
from poolproof.bridge import PoolConfig


def ask(call: Execute, *values: object) -> list[object]:
    return [call("echo", {"value": value}) for value in values]


@pytest.mark.parametrize("name", ["V1", "V2", "V2, observed", "ProcessPoolExecutor", "multiprocessing.Pool"])
def test_a_system_of_this_installation_answers(name: str) -> None:
    with systems.ALL[name](2) as call:
        assert ask(call, 1, [2, "x"], "three") == [1, [2, "x"], "three"]


def test_the_raw_pipe_answers() -> None:
    with systems.raw(1) as call:
        assert ask(call, [1, "x"]) == [[1, "x"]]


class FakePebble:
    """pebble's pool, as far as it is used, with threads."""

    ended: list[str]

    def __init__(self, *, max_workers: int) -> None:
        self.threads = ThreadPoolExecutor(max_workers)
        FakePebble.ended = []

    def schedule(self, function: Any, *, args: tuple[Any, ...], timeout: float) -> Any:
        assert timeout > 0
        return self.threads.submit(function, *args)

    def stop(self) -> None:
        self.ended.append("stop")

    def join(self) -> None:
        self.ended.append("join")
        self.threads.shutdown()


class FakeLoky(ThreadPoolExecutor):
    """loky's executor, as far as it is used, with threads."""

    ended: list[bool]

    def __init__(self, workers: int, *, timeout: float | None) -> None:
        super().__init__(workers)
        assert timeout is None, "its workers must not leave in the middle of a measurement"
        FakeLoky.ended = []

    def shutdown(self, wait: bool = True, *, kill_workers: bool = False) -> None:  # type: ignore[override]
        self.ended.append(kill_workers)
        super().shutdown(wait)


def _fake(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_pebble_is_called_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, "pebble", ProcessPool=FakePebble)
    with systems.pebble(2) as call:
        assert ask(call, [1, "x"]) == [[1, "x"]]
    assert FakePebble.ended == ["stop", "join"]


def test_loky_is_called_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, "loky", ProcessPoolExecutor=FakeLoky)
    with systems.loky(2) as call:
        assert ask(call, [1, "x"]) == [[1, "x"]]
    assert FakeLoky.ended == [True]


@pytest.mark.parametrize("name", ["pebble", "loky"])
def test_a_peer_that_is_not_installed_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPeer, match="the extra 'bench' brings it"), ExitStack() as stack:
        stack.enter_context(systems.ALL[name](1))


def test_those_that_may_fork_are_opened_before_any_pool_of_ours() -> None:
    names = list(systems.ALL)
    assert names.index("V1") > max(names.index(name) for name in systems.FORKING)


def test_options_that_this_version_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    options = systems.config(workers=3, quantum_leap=True)
    assert options == PoolConfig(workers=3)


@pytest.mark.parametrize(("fields", "has"), [(["workers"], False), (["workers", "zygote"], True)])
def test_a_zygote_is_found_by_its_option(fields: list[str], has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(name=name) for name in fields]
    monkeypatch.setattr(msgspec.structs, "fields", lambda _: found)
    assert systems.has_zygote() is has
