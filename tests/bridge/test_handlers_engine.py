"""A worker runs the engine that its environment names, and does not start with one that there is not."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest

from poolproof.bridge import PoolConfig, PoolError
from poolproof.bridge.worker.handlers import Context, HandlerError, service
from poolproof.bridge.worker.handlers.engine import PROGRAMS_VARIABLE, TEMPLATES, load_engine
from poolproof.pool_v2 import PoolV2


class NoDspy(importlib.abc.MetaPathFinder):
    """Finds no DSPy, as on a machine without the extra."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] == "dspy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_the_stand_in_is_the_engine_unless_another_is_asked_for() -> None:
    assert load_engine("") is load_engine("template") is TEMPLATES
    assert service.ping(Context(1, "pool-worker", lambda _: None), {})["dspy_available"] is False


def test_an_engine_that_there_is_not_is_named() -> None:
    with pytest.raises(HandlerError, match="POOLPROOF_PROGRAMS 'dspi': must be one of template, dspy"):
        load_engine("dspi")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dspy" or "handlers.dspy_" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoDspy(), *sys.meta_path])
    with pytest.raises(HandlerError, match=r"dspy is not installed; pip install 'poolproof\[dspy\]'"):
        load_engine("dspy")


def test_a_worker_with_a_wrong_engine_does_not_start_and_says_why() -> None:
    config = PoolConfig(workers=1, env={PROGRAMS_VARIABLE: "nothing"}, start_failures_to_open=1, circuit_reset_s=60)
    with (
        PoolV2(config) as pool,
        pytest.raises(PoolError, match="POOLPROOF_PROGRAMS 'nothing': must be one of template, dspy"),
    ):
        pool.warm_up()
