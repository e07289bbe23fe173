"""PoolExecutor and what cannot be pickled, or not be read: one clear error on that future, and the rest goes on."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import types
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from poolproof.bridge import CommandError, InvalidRequest, PoolConfig, Sent
from poolproof.pool_v2 import PoolExecutor
from poolproof.pool_v2.executor.callables import unpack
from poolproof.pool_v2.executor.executor import NotPicklable, RemoteTraceback

LIMIT_S = 20.0
CALLS = """
import threading

class TwoArguments(Exception):
    def __init__(self, first, second):
        super().__init__(first)

class NoException(Exception):
    def __reduce__(self):
        return str, ("no exception",)

class Unreadable:
    def __reduce__(self):
        return int, ("unreadable",)

class Holder(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()

class Refusing(Exception):
    __slots__ = ()
    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set")

class Raising:
    def __init__(self, error, where):
        self.error, self.where = error, where
    def __reduce__(self):
        if self.where == "pickled":
            raise self.error
        return leave, (self.error,)

def leave(error):
    raise error

def fail(kind):
    raise {"two": lambda: TwoArguments(1, 2), "none": NoException, "lock": Holder, "refusing": Refusing}[kind]()

def fail_for_a_reason():
    try:
        {}["missing"]
    except KeyError as error:
        told = ValueError("for a reason")
        told.add_note("noted in the worker")
        raise told from error

def fail_unspeakably():
    raise ValueError("\\udcff is no text")
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[types.ModuleType]:
    """A module that only this process's path leads to."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "calls_that_fail.py").write_text(CALLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("calls_that_fail")
    del sys.modules["calls_that_fail"]


@pytest.fixture(scope="module")
def executor(calls: types.ModuleType) -> Iterator[PoolExecutor]:
    """One worker, which every test leaves as well as it was; it finds what is to be found here now."""
    with PoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def unhurt(executor: PoolExecutor) -> Iterator[None]:
    """The test costs the executor no worker."""
    assert executor.submit(abs, -1).result(LIMIT_S) == 1
    before = [worker.pid for worker in executor.pool.status().workers]
    yield
    assert executor.submit(abs, -1).result(LIMIT_S) == 1
    assert [worker.pid for worker in executor.pool.status().workers] == before


@pytest.mark.parametrize("bad", [lambda: 1, threading.Lock().acquire, type("Local", (), {"__call__": abs})()])
def test_a_callable_that_cannot_be_pickled_is_never_sent(executor: PoolExecutor, unhurt: None, bad: Any) -> None:
    error = executor.submit(bad).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert isinstance(error, pickle.PicklingError)
    assert "the call cannot be pickled" in str(error)
    assert error.sent is Sent.NO
    assert error.__cause__ is not None


def test_an_argument_that_cannot_be_pickled_is_never_sent(executor: PoolExecutor, unhurt: None) -> None:
    error = executor.submit(print, threading.Lock()).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert str(error).startswith("print: the call cannot be pickled: TypeError: ")


def test_a_callable_that_the_worker_does_not_find_is_never_run(
    executor: PoolExecutor, unhurt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("only_here")
    exec("def call(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    error = executor.submit(module.call).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert "call: the call cannot be read in the worker: ModuleNotFoundError: " in str(error)
    assert error.sent is Sent.MAYBE
    assert isinstance(error.__cause__, RemoteTraceback)


def test_a_result_that_cannot_be_pickled_is_told_with_where(executor: PoolExecutor, unhurt: None) -> None:
    error = executor.submit(threading.Lock).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert "result cannot be pickled: TypeError: " in str(error)
    assert error.sent is Sent.YES
    assert "Traceback" in str(error.__cause__)


def test_a_result_that_cannot_be_read_here_is_told(
    executor: PoolExecutor, unhurt: None, calls: types.ModuleType
) -> None:
    error = executor.submit(calls.Unreadable).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert "Unreadable: the result cannot be read: ValueError" in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("lock", "Holder: holds a lock: this exception cannot be pickled: TypeError: "),
        ("two", "fail: its exception cannot be read: TypeError: "),
        ("none", "fail: its exception was read as 'no exception'"),
    ],
)
def test_an_exception_that_cannot_come_over_is_told_with_its_traceback(
    executor: PoolExecutor, unhurt: None, calls: types.ModuleType, kind: str, told: str
) -> None:
    error = executor.submit(calls.fail, kind).exception(LIMIT_S)
    assert isinstance(error, NotPicklable)
    assert told in str(error)
    assert error.sent is Sent.YES
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_an_exception_keeps_its_notes_and_its_traceback_names_its_reason(
    executor: PoolExecutor, unhurt: None, calls: types.ModuleType
) -> None:
    error = executor.submit(calls.fail_for_a_reason).exception(LIMIT_S)
    assert type(error) is ValueError
    assert error.__notes__ == ["noted in the worker"]
    trace = str(error.__cause__)
    assert "KeyError: 'missing'" in trace
    assert "The above exception was the direct cause" in trace
    assert "bridge" not in trace, "what runs the call is nobody's business"
    unspeakable = executor.submit(calls.fail_unspeakably).exception(LIMIT_S)
    assert isinstance(unspeakable, ValueError)
    assert str(unspeakable) == "\udcff is no text"
    assert "\\udcff is no text" in str(unspeakable.__cause__)


@pytest.mark.parametrize("timeout_s", [None, 10.0])
def test_what_is_larger_than_a_frame_costs_no_worker(timeout_s: float | None) -> None:
    config = PoolConfig(max_frame_bytes=10_000)
    with PoolExecutor(1, config=config, timeout_s=timeout_s) as executor:
        assert executor.submit(abs, -1).result(LIMIT_S) == 1
        request = executor.submit(len, b"x" * 10_000).exception(LIMIT_S)
        assert isinstance(request, InvalidRequest)
        assert "the limit is 10000" in str(request)
        response = executor.submit(bytes, 10_000).exception(LIMIT_S)
        assert isinstance(response, CommandError)
        assert "the response is too large" in str(response)
        assert executor.submit(abs, -1).result(LIMIT_S) == 1
        assert [worker.worker_id for worker in executor.pool.status().workers] == [1]


def test_an_answer_that_is_none_is_told() -> None:
    data = pickle.dumps(1)
    assert unpack({"value": data}, abs) == (1, None)
    for answer in (None, 1, {}, {"value": 1}, {"value": "text"}, {"raised": data}):
        value, error = unpack(answer, abs)
        assert value is None
        assert isinstance(error, CommandError)
        assert "the worker's answer to 'call' is invalid" in str(error)


def test_what_has_no_name_is_shown() -> None:
    _, error = unpack({"value": b"\x80\x05}"}, partial(abs, 1))
    assert str(error).startswith("functools.partial(<built-in function abs>, 1): the result cannot be read: EOFError")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["pickled", "read"])
def test_an_exit_while_pickling_or_reading_costs_its_future_only(
    executor: PoolExecutor, calls: types.ModuleType, error: BaseException, where: str
) -> None:
    pid = executor.submit(os.getpid).result(LIMIT_S)
    told = executor.submit(abs, calls.Raising(error, where)).exception(LIMIT_S)
    assert isinstance(told, NotPicklable)
    assert told.sent is (Sent.NO if where == "pickled" else Sent.MAYBE)
    told = executor.submit(calls.Raising, error, where).exception(LIMIT_S)
    assert isinstance(told, NotPicklable)
    assert told.sent is Sent.YES
    assert executor.submit(os.getpid).result(LIMIT_S) == pid, "neither a thread nor a worker has ended"


def test_an_exception_that_refuses_attributes_arrives_as_itself(
    executor: PoolExecutor, calls: types.ModuleType
) -> None:
    told = executor.submit(calls.fail, "refusing").exception(LIMIT_S)
    assert type(told) is calls.Refusing
    assert told is not None
    assert "in fail" in str(told.__cause__)
