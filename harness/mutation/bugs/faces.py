"""Bugs that affect only one way of calling V2: each kind of bug in each way. Entry point."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from poolproof.bridge.wire.messages import Response
from poolproof.harness.mutation.bugs.kinds import (
    DOUBLED,
    KINDS,
    LATE,
    LOST,
    SWAPPED,
    WRONG,
    in_batch,
    in_call,
    in_executor,
    in_migration,
    in_stream,
)
from poolproof.harness.mutation.mutant import EXECUTE, V2, Mutant
from poolproof.migration.plan import Mode
from poolproof.pool_v2.aio.io import TaskIo
from poolproof.pool_v2.calls import calls, handover, leases

LARGE_BYTES = 4096


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to call V2. `plant` plants a kind of bug there; `answers` and `late` are scenarios that show it."""

    name: str
    about: str
    plant: Callable[[str], None]
    face: str = EXECUTE
    kinds: tuple[str, ...] = tuple(KINDS)
    answers: str = "waiting_echoes"
    late: str = "late_answer"
    observed_because: str = ""


def _thread(io: Any, *, main: bool) -> bool:
    return not isinstance(io, TaskIo) and (threading.current_thread() is threading.main_thread()) is main


def _is_large(response: Response) -> bool:
    return response.success and len(msgspec.json.encode(response.result)) > LARGE_BYTES


def _call(*, where: Callable[..., bool], **options: Any) -> Callable[[str], None]:
    return partial(in_call, where=where, **options)


def _migration(mode: Mode) -> Way:
    name = f"migrating_{mode.value}"
    return Way(
        name=name, face=name, about=f"in a MigratingPool in mode {mode.value}", plant=partial(in_migration, mode=mode)
    )


SEEN = "the bug is active only while the pool has an observer"
WAYS = (
    Way(
        name="off_main",
        about="in execute off the main thread",
        plant=_call(module=calls, where=lambda runtime, io, ticket: _thread(io, main=False)),
    ),
    Way(
        name="main_thread",
        face="main_thread",
        about="in execute in the main thread",
        plant=_call(module=calls, where=lambda runtime, io, ticket: _thread(io, main=True)),
    ),
    Way(
        name="lease",
        face="lease",
        about="in a thread's lease",
        plant=_call(module=leases, where=lambda runtime, io, ticket: not isinstance(io, TaskIo)),
    ),
    Way(name="many", face="many", about="in a thread's execute_many", plant=partial(in_batch, tasks=False)),
    Way(
        name="stream",
        face="stream",
        about="in a thread's execute_stream",
        plant=partial(in_stream, tasks=False),
        answers="parts_and_echoes",
    ),
    Way(
        name="task",
        face="asyncio",
        about="in AsyncPool.execute",
        plant=_call(module=calls, where=lambda runtime, io, ticket: isinstance(io, TaskIo)),
    ),
    Way(
        name="task_lease",
        face="asyncio_lease",
        about="in a task's lease",
        plant=_call(module=leases, where=lambda runtime, io, ticket: isinstance(io, TaskIo)),
    ),
    Way(
        name="task_many",
        face="asyncio_many",
        about="in a task's execute_many",
        plant=partial(in_batch, tasks=True),
    ),
    Way(
        name="task_stream",
        face="asyncio_stream",
        about="in a task's execute_stream",
        plant=partial(in_stream, tasks=True),
        answers="parts_and_echoes",
    ),
    Way(name="executor", face="executor", about="in PoolExecutor", plant=in_executor),
    Way(
        name="session",
        about="in a session",
        plant=_call(module=handover, where=lambda runtime, io, ticket: True),
        answers="session_echoes",
        late="late_in_session",
    ),
    _migration(Mode.SHADOW),
    _migration(Mode.CANARY),
    _migration(Mode.V2),
    Way(
        name="observed",
        about="in a pool that has an observer",
        plant=_call(where=lambda runtime, io, ticket: runtime.log is not None),
        observed_because=SEEN,
    ),
    Way(
        name="unobserved",
        about="in a pool without an observer",
        plant=_call(where=lambda runtime, io, ticket: runtime.log is None),
    ),
    Way(
        name="large",
        about=f"with an answer above {LARGE_BYTES} bytes",
        plant=_call(where=lambda runtime, io, ticket: True, after=_is_large),
        kinds=(WRONG, LOST, SWAPPED, DOUBLED),
    ),
    Way(
        name="ahead",
        about="with a request that was sent before the previous answer was read",
        plant=_call(where=lambda runtime, io, ticket: bool(ticket.written and ticket.written[0])),
        late="late_after_queue",
    ),
)


def _mutant(way: Way, kind: str) -> Mutant:
    breaks, does = KINDS[kind]
    return Mutant(
        name=f"{kind}_{way.name}",
        pool=V2,
        about=f"{way.about[0].upper()}{way.about[1:]} {does}.",
        plant=partial(way.plant, kind),
        scenarios=(way.late if kind == LATE else way.answers,),
        breaks=(breaks,),
        face=way.face,
        observed_because=way.observed_because,
    )


MUTANTS = [_mutant(way, kind) for way in WAYS for kind in way.kinds]
