"""The systems under measure: how each is opened with N ready workers, called, and ended.

Each is a context manager that yields one call: an echo of the same text, answered by a process of the system's.
"""

from __future__ import annotations

import importlib
import multiprocessing
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType

import msgspec

from benchmarks.blocks import Call, MissingPeer, System
from benchmarks.raw import hand_off, pipe_call, pipes_in_turn
from bridge import PoolConfig
from pool_v1 import PoolV1
from pool_v2 import PoolV2

VALUE = "x" * 24
"""Makes a request of about 120 bytes on the wire."""
ANSWER_TIMEOUT_S = 30.0


def config(**options: object) -> PoolConfig:
    """A pool's options; those that this version of the pools does not know yet are left out."""
    known = {field.name for field in msgspec.structs.fields(PoolConfig)}
    return PoolConfig.from_options({name: value for name, value in options.items() if name in known})


def has_zygote() -> bool:
    """Whether this version of V2 can start its workers through a zygote."""
    return any(field.name == "zygote" for field in msgspec.structs.fields(PoolConfig))


@contextmanager
def raw(_: int) -> Iterator[Call]:
    """One child and a pipe."""
    with pipe_call({"value": VALUE}) as call:
        yield call


@contextmanager
def raw_in_turn(workers: int) -> Iterator[Call]:
    """As many children as V2 has workers, used in turn."""
    with pipes_in_turn({"value": VALUE}, workers) as call:
        yield call


@contextmanager
def bare_hand_off(workers: int) -> Iterator[Call]:
    """Bare pipes behind a lock and a queue, with none of a pool's promises."""
    with hand_off({"value": VALUE}, workers) as call:
        yield call


@contextmanager
def v1(workers: int) -> Iterator[Call]:
    """The legacy pool."""
    args = {"value": VALUE}
    with PoolV1(config(workers=workers, call_timeout_s=ANSWER_TIMEOUT_S)) as pool:
        pool.warm_up()
        yield lambda: pool.execute("echo", args)


@contextmanager
def v2(workers: int) -> Iterator[Call]:
    """The refactored pool, with all its promises and no observer."""
    args = {"value": VALUE}
    options = config(workers=workers, call_timeout_s=ANSWER_TIMEOUT_S, checkout_timeout_s=ANSWER_TIMEOUT_S)
    with PoolV2(options) as pool:
        pool.warm_up()
        yield lambda: pool.execute("echo", args)


def echo(value: str) -> str:
    """What the workers of the others run."""
    return value


@contextmanager
def process_pool_executor(workers: int) -> Iterator[Call]:
    """concurrent.futures.ProcessPoolExecutor, with its default start method."""
    with forking(), ProcessPoolExecutor(workers) as pool:
        list(pool.map(echo, [VALUE] * workers))
        yield lambda: pool.submit(echo, VALUE).result(ANSWER_TIMEOUT_S)


@contextmanager
def multiprocessing_pool(workers: int) -> Iterator[Call]:
    """multiprocessing.Pool, with its default start method."""
    args = (VALUE,)
    with forking():
        pool = multiprocessing.Pool(workers)
        try:
            yield lambda: pool.apply(echo, args)
        finally:
            pool.terminate()
            pool.join()


@contextmanager
def pebble(workers: int) -> Iterator[Call]:
    """pebble.ProcessPool, which kills a worker whose task is late, as V2 does."""
    module = require("pebble")
    with forking():
        pool = module.ProcessPool(max_workers=workers)
    try:
        call = {"args": (VALUE,), "timeout": ANSWER_TIMEOUT_S}
        yield lambda: pool.schedule(echo, **call).result(ANSWER_TIMEOUT_S)
    finally:
        pool.stop()
        pool.join()


@contextmanager
def loky(workers: int) -> Iterator[Call]:
    """loky's executor, which survives the death of a worker by starting all anew."""
    module = require("loky")
    pool = module.ProcessPoolExecutor(workers, timeout=None)
    try:
        yield lambda: pool.submit(echo, VALUE).result(ANSWER_TIMEOUT_S)
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def require(module: str) -> ModuleType:
    """Import a peer that is an extra. Raises MissingPeer."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeer(f"not installed; the extra 'bench' brings it ({error})") from error


@contextmanager
def forking() -> Iterator[None]:
    """From Python 3.12 on, a fork beside threads warns; the systems are opened one by one, while the others rest."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        yield


FORKING: dict[str, System] = {
    "ProcessPoolExecutor": process_pool_executor,
    "multiprocessing.Pool": multiprocessing_pool,
    "pebble": pebble,
    "loky": loky,
}
OURS: dict[str, System] = {"V1": v1, "V2": v2}
ALL: dict[str, System] = {**FORKING, **OURS}
"""In the order in which they are opened: those that may fork this process come first."""
