"""The option `pickler` of PoolExecutor: what another pickler can, what it cannot, and what is no pickler."""

from __future__ import annotations

import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poolproof.bridge import ConfigError
from poolproof.pool_v2 import PoolExecutor
from poolproof.pool_v2.executor.executor import NotPicklable

LIMIT_S = 20.0
OWN = """
import pickle
def dumps(value):
    return b"own" + pickle.dumps(value)
def loads(data):
    return pickle.loads(data[3:])
"""


class Wordy:
    """A pickler that is an object."""

    def dumps(self, value: object) -> bytes:
        return pickle.dumps(value)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


def test_what_only_cloudpickle_can_pickle_goes_and_comes() -> None:
    pytest.importorskip("cloudpickle")
    secret = 40

    def adder(more: int) -> Any:
        return lambda number: number + more

    with PoolExecutor(1, pickler="cloudpickle", initializer=lambda: None) as executor:
        assert executor.submit(lambda: secret + 2).result(LIMIT_S) == 42
        assert executor.submit(adder, 3).result(LIMIT_S)(4) == 7, "a result"
        assert executor.submit(lambda function, *, by: function(by), adder(1), by=2).result(LIMIT_S) == 3, "arguments"
        assert executor.with_timeout(LIMIT_S).submit(lambda: 1).result(LIMIT_S) == 1
        assert list(executor.map(lambda number: number**2, range(50))) == [number**2 for number in range(50)]
        assert list(executor.map(lambda number: -number, range(5), chunksize=2)) == [0, -1, -2, -3, -4]
        with pytest.raises(NotPicklable, match="<lambda>: the call cannot be pickled"):
            executor.submit(lambda lock: lock, threading.Lock()).result(LIMIT_S)
        with pytest.raises(NotPicklable, match="the result cannot be pickled"):
            executor.submit(threading.Lock).result(LIMIT_S)
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 // 0).result(LIMIT_S)


def test_an_array_goes_and_comes_with_its_memory_beside_the_pickle() -> None:
    pytest.importorskip("cloudpickle")
    np = pytest.importorskip("numpy")
    array = np.arange(100_000.0)
    with PoolExecutor(1, pickler="cloudpickle") as executor:
        found = executor.submit(lambda value: value * 2, array).result(LIMIT_S)
    assert np.array_equal(found, array * 2)


@pytest.mark.parametrize("how", ["name", "module"])
def test_a_module_with_dumps_and_loads_will_do(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"own_pickler_{how}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(name)
    with PoolExecutor(1, pickler=name if how == "name" else module) as executor:
        assert executor.submit(divmod, 7, 2).result(LIMIT_S) == (3, 1)


def test_an_object_with_dumps_and_loads_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)  # so that a worker finds its class
    with PoolExecutor(1, pickler=Wordy()) as executor:
        assert executor.submit(divmod, 7, 2).result(LIMIT_S) == (3, 1)


def test_a_pickler_that_the_worker_cannot_import_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    only_here = ModuleType("only_here")
    vars(only_here).update(dumps=pickle.dumps, loads=pickle.loads)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with PoolExecutor(1, pickler="only_here") as executor:
        future = executor.submit(abs, -1)
        with pytest.raises(NotPicklable, match=r"the pickler 'only_here' cannot be imported: .*; install it"):
            future.result(LIMIT_S)


@pytest.mark.parametrize(
    ("pickler", "told"),
    [("no_such_pickler", "No module named 'no_such_pickler'"), ("math", "no functions `dumps` and `loads`"), (3, "3")],
)
def test_what_is_no_pickler_is_refused(pickler: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=f"pickler {pickler!r}: .*{told}"):
        PoolExecutor(1, pickler=pickler)
