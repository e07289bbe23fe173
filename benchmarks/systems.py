"""The measured systems: how each is opened with N ready workers, called, and closed.

Each is a context manager that yields `execute(command, args)`; a process of the system answers each call with an echo.
"""

from __future__ import annotations

import importlib
import multiprocessing
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

import msgspec

from benchmarks.blocks import Execute, MissingPeer, System
from benchmarks.raw import hand_off, pipe_call, pipes_in_turn
from poolproof.bridge import Observer, PoolConfig
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

ANSWER_TIMEOUT_S = 30.0


def config(**options: object) -> PoolConfig:
    """A pool's options, without those that this version of the pools does not know."""
    known = {field.name for field in msgspec.structs.fields(PoolConfig)}
    return PoolConfig.from_options({name: value for name, value in options.items() if name in known})


def has_zygote() -> bool:
    """Whether this version of V2 can start its workers through a zygote."""
    return any(field.name == "zygote" for field in msgspec.structs.fields(PoolConfig))


@contextmanager
def raw(_: int) -> Iterator[Execute]:
    """One child and a pipe."""
    with pipe_call() as call:
        yield call


@contextmanager
def raw_in_turn(workers: int) -> Iterator[Execute]:
    """As many children as V2 has workers, used in turn."""
    with pipes_in_turn(workers) as call:
        yield call


@contextmanager
def bare_hand_off(workers: int, worker_command: str | None = None) -> Iterator[Execute]:
    """Bare pipes behind a lock and a queue, without a pool's guarantees."""
    with hand_off(workers, worker_command) as call:
        yield call


@contextmanager
def v1(workers: int) -> Iterator[Execute]:
    """V1, the legacy pool."""
    with PoolV1(config(workers=workers, call_timeout_s=ANSWER_TIMEOUT_S)) as pool:
        pool.warm_up()
        yield pool.execute


@contextmanager
def v2(workers: int, *, observer: Observer | None = None, **more: object) -> Iterator[Execute]:
    """V2, the refactored pool, with all its guarantees; it has no observer unless one is given."""
    options = config(workers=workers, call_timeout_s=ANSWER_TIMEOUT_S, checkout_timeout_s=ANSWER_TIMEOUT_S, **more)
    with PoolV2(options, observer=observer) as pool:
        pool.warm_up()
        yield pool.execute


def v2_observed(workers: int) -> AbstractContextManager[Execute]:
    """V2 with an observer that does nothing."""
    return v2(workers, observer=lambda event: None)


def echo(value: object) -> object:
    """The function that the workers of the other systems run."""
    return value


@contextmanager
def process_pool_executor(workers: int) -> Iterator[Execute]:
    """concurrent.futures.ProcessPoolExecutor, with its default start method."""
    with forking(), ProcessPoolExecutor(workers) as pool:
        list(pool.map(echo, range(workers)))
        yield lambda command, args: pool.submit(echo, args["value"]).result(ANSWER_TIMEOUT_S)


@contextmanager
def multiprocessing_pool(workers: int) -> Iterator[Execute]:
    """multiprocessing.Pool, with its default start method."""
    with forking():
        pool = multiprocessing.Pool(workers)
        try:
            yield lambda command, args: pool.apply(echo, (args["value"],))
        finally:
            pool.terminate()
            pool.join()


@contextmanager
def pebble(workers: int) -> Iterator[Execute]:
    """pebble.ProcessPool, which kills a worker whose task is late, as V2 does."""
    module = require("pebble")
    with forking():
        pool = module.ProcessPool(max_workers=workers)
    try:
        limit = ANSWER_TIMEOUT_S
        yield lambda command, args: pool.schedule(echo, args=(args["value"],), timeout=limit).result(limit)
    finally:
        pool.stop()
        pool.join()


@contextmanager
def loky(workers: int) -> Iterator[Execute]:
    """loky's executor, which survives the death of a worker by starting all of its workers anew."""
    module = require("loky")
    pool = module.ProcessPoolExecutor(workers, timeout=None)
    try:
        yield lambda command, args: pool.submit(echo, args["value"]).result(ANSWER_TIMEOUT_S)
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def require(module: str) -> ModuleType:
    """Import an optional peer package. Raises MissingPeer if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeer(f"not installed; the extra 'bench' brings it ({error})") from error


@contextmanager
def forking() -> Iterator[None]:
    """Ignore Python's warning about forks beside threads: the other systems rest while one is opened."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        yield


FORKING: dict[str, System] = {
    "ProcessPoolExecutor": process_pool_executor,
    "multiprocessing.Pool": multiprocessing_pool,
    "pebble": pebble,
    "loky": loky,
}
OURS: dict[str, System] = {"V1": v1, "V2": v2, "V2, observed": v2_observed}
ALL: dict[str, System] = {**FORKING, **OURS}
"""In the order in which they are opened: systems that may fork this process come first."""
