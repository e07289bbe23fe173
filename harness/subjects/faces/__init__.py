"""The faces that V2 has beside `execute`: leases, batches, streams, asyncio, executor, migration, other workers."""

from __future__ import annotations

from poolproof.harness.model.face import EXECUTE, MAIN_THREAD, Face
from poolproof.harness.subjects.faces.blocking import LEASE, MANY, STREAM
from poolproof.harness.subjects.faces.executor import EXECUTOR
from poolproof.harness.subjects.faces.migrating import MIGRATING
from poolproof.harness.subjects.faces.migrating_tasks import MIGRATING_TASKS
from poolproof.harness.subjects.faces.starting import FOREIGN_WORKER, ZYGOTE
from poolproof.harness.subjects.faces.tasks import ASYNCIO, ASYNCIO_LEASE, ASYNCIO_MANY, ASYNCIO_STREAM, UVLOOP

ALL_FACES: tuple[Face, ...] = (
    EXECUTE,
    MAIN_THREAD,
    LEASE,
    MANY,
    STREAM,
    ASYNCIO,
    UVLOOP,
    ASYNCIO_LEASE,
    ASYNCIO_MANY,
    ASYNCIO_STREAM,
    EXECUTOR,
    *MIGRATING,
    MIGRATING_TASKS,
    ZYGOTE,
    FOREIGN_WORKER,
)
FACES: dict[str, Face] = {face.name: face for face in ALL_FACES}

__all__ = ["ALL_FACES", "FACES"]
