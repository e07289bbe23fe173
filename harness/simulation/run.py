"""Runs one plan: simulates from the pool's start to its close, and checks the history."""

from __future__ import annotations

import gc
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from poolproof.bridge import PoolError
from poolproof.bridge.wire import messages
from poolproof.harness.simulation.clients import SimClient
from poolproof.harness.simulation.plan import MS, Plan
from poolproof.harness.simulation.properties import Violation, violations
from poolproof.harness.simulation.scheduler import BEGIN_NS, Stuck
from poolproof.harness.simulation.state import History
from poolproof.harness.simulation.world import World

SETTLE_NS = 4_000 * MS
"""How long the pool may take after the last call to reach its size again."""
LONGEST_NS = 4 * 3600 * 10**9
STAMP = datetime(2026, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder(enc_hook=repr).encode


class Result(msgspec.Struct, frozen=True):
    """One simulation: `trace` is the checksum of its history, the same in each run of the same plan."""

    plan: Plan
    calls: int
    steps: int
    trace: int
    found: tuple[Violation, ...]
    history: History


class Errors(logging.Handler):
    """Notes the errors that the pool logs: internal errors that the pool has survived."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Note one record of the log."""
        error = record.exc_info[1] if record.exc_info else None
        self._world.note("error", record.msg, repr(error))


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Note the errors that the pool logs, and print nothing."""
    logger = logging.getLogger("poolproof.pool_v2")
    former = logger.propagate, logger.level
    handler = Errors(world)
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = former[0]
        logger.setLevel(former[1])


def _stamp(_: object) -> datetime:
    return STAMP


@contextmanager
def same_timestamps() -> Iterator[None]:
    """Put the same time into every frame, because the length of a frame may depend on it."""
    former, messages._now = messages._now, cast(Any, _stamp)
    enabled = gc.isenabled()
    gc.disable()  # a collection could drop a lease at any moment
    try:
        yield
    finally:
        messages._now = former
        if enabled:
            gc.enable()


def run_plan(plan: Plan) -> Result:
    """Simulate this plan and check its history."""
    with same_timestamps():
        world = World(plan)
        with listening(world):
            fault = _play(world)
    history = world.history
    calls = sum(note[0] == "outcome" for note in history)
    found = [Violation("crash", fault)] if fault else []
    found += violations(plan, history)
    return Result(plan, calls, world.scheduler.steps, zlib.crc32(_encode(history)), tuple(found), history)


def _play(world: World) -> str:
    # Returns an error that the simulated program must not raise, as text.
    plan, engine = world.plan, world.engine
    by_client: list[list[Any]] = [[] for _ in range(plan.clients)]
    for op in plan.ops:
        by_client[op.client].append(op)
    clients = [
        SimClient(world, ops, task=bool(plan.traits["tasks"]) and number % 2 == 0)
        for number, ops in enumerate(by_client)
    ]
    world.clients_left = len(clients)
    try:
        for client in clients:
            client.begin()
        if plan.traits["warm_up"]:
            _warm_up(world)
        close_ns = BEGIN_NS + plan.traits["close_ms"] * MS if plan.traits["close_ms"] else LONGEST_NS
        world.scheduler.run(lambda: not world.clients_left, max(close_ns, world.now_ns()))
        if not world.clients_left:
            _settle(world)
        grace_ms = plan.traits["grace_ms"]
        world.note("close", grace_ms * MS)
        engine.close(grace_ms / 1e3)
        world.note("closed")
        world.scheduler.run(lambda: not world.clients_left)
        world.scheduler.run(lambda: False, world.now_ns() + 1000 * MS)
        status = engine.status()
        numbers = status.statistics
        sessions = [(s.session_id, s.operations, s.version) for s in engine.sessions.table()]
        world.note("final", numbers.submitted, numbers.in_flight, numbers.outcomes, sessions, status.state)
    except Stuck as stuck:
        waiting = [client._op.index for client in clients if client._op is not None and not client.done]
        return f"{stuck}; operations {waiting} have not ended"
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = "" if place is None else f" in {place.tb_frame.f_code.co_name}"
        return f"{type(error).__name__}: {error}{where}"
    finally:
        world.ended = True
        for client in clients:
            client.forget()
    return ""


def _warm_up(world: World) -> None:
    n = world.config.workers
    try:
        ready = world.engine.warm_up(n, world.now_ns() + 1000 * MS)
        world.note("warm", ready, n)
    except PoolError as error:
        world.note("cold", type(error).__name__)


def _settle(world: World) -> None:
    # No call is left: the pool gets time to reach its size and to take back what was abandoned.
    world.note("settle")
    coordinator = world.engine.coordinator
    floor = coordinator.floor
    world.scheduler.run(lambda: False, world.now_ns() + SETTLE_NS)
    workers = [(worker.worker_id, coordinator.state_of(worker).value) for worker in coordinator.workers.values()]
    world.note("settled", workers, floor, coordinator.waiting, sorted(coordinator.held))
