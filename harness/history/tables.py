"""The tables of a history: operations, events and service intervals, in columns.

Pure. Each table is a sequence of its records; code that handles a million records reads the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from poolproof.bridge import Event, EventKind, ServiceInterval
from poolproof.harness.history.columns import NONE, Documents, Numbers, Objects, Table, Words, find_last, pick
from poolproof.harness.history.gathering import (
    Gathered,
    GatheredKinds,
    GatheredNumbers,
    GatheredObjects,
    GatheredSeconds,
    GatheredWords,
    Gathering,
    Vocabulary,
)
from poolproof.harness.model.op import Op, OpType


class Ops(Table[Op]):
    """A table of operations."""

    RECORD = Op
    index: Numbers  # type: ignore[assignment]  # the field, not what finds a record
    client: Numbers
    command: Words
    args: Documents | Objects
    nonce: Words
    label: Words
    session: Words
    timeout_s: Numbers
    checkout_timeout_s: Numbers
    intended_ns: Numbers
    invoked_ns: Numbers
    checked_out_ns: Numbers
    sent_ns: Numbers
    received_ns: Numbers
    completed_ns: Numbers
    type: Words
    outcome: Words
    sent: Words
    value: Documents | Objects
    error: Words
    completions: Numbers
    call: Numbers
    worker: Numbers
    pid: Numbers

    @classmethod
    def of(cls, ops: Iterable[Op]) -> Ops:
        """Make a table of these operations; the JSON values in them stay objects."""
        gathering = cls.gathering()
        gathering.extend_all(ops)
        return cls(**gathering.columns())

    @staticmethod
    def gathering(values: Callable[[], Gathered] = GatheredObjects, nonces: Vocabulary | None = None) -> Gathering[Op]:
        """Start the columns of a table that grows. `values` makes those of JSON values; `nonces` may be shared."""
        return Gathering(
            {
                "index": GatheredNumbers(),
                "client": GatheredNumbers(),
                "command": GatheredWords(),
                "args": values(),
                "nonce": GatheredWords(nonces),
                "label": GatheredWords(),
                "session": GatheredWords(),
                "timeout_s": GatheredSeconds(),
                "checkout_timeout_s": GatheredSeconds(),
                "intended_ns": GatheredNumbers("q"),
                "invoked_ns": GatheredNumbers("q"),
                "checked_out_ns": GatheredNumbers("q"),
                "sent_ns": GatheredNumbers("q"),
                "received_ns": GatheredNumbers("q"),
                "completed_ns": GatheredNumbers("q"),
                "type": GatheredKinds(OpType),
                "outcome": GatheredWords(),
                "sent": GatheredWords(),
                "value": values(),
                "error": GatheredWords(),
                "completions": GatheredNumbers(),
                "call": GatheredNumbers(),
                "worker": GatheredNumbers(),
                "pid": GatheredNumbers(),
            }
        )


class Events(Table[Event]):
    """A table of the pool's events."""

    RECORD = Event
    kind: Words
    at_ns: Numbers
    call: Numbers
    worker: Numbers
    pid: Numbers
    detail: Words

    @classmethod
    def of(cls, events: Iterable[Event]) -> Events:
        """Make a table of these events."""
        gathering = cls.gathering()
        gathering.extend_all(events)
        return cls(**gathering.columns())

    @staticmethod
    def gathering() -> Gathering[Event]:
        """Start the columns of a table that grows."""
        return Gathering(
            {
                "kind": GatheredKinds(EventKind),
                "at_ns": GatheredNumbers("q"),
                "call": GatheredNumbers(),
                "worker": GatheredNumbers(),
                "pid": GatheredNumbers(),
                "detail": GatheredWords(),
            }
        )


class Services(Table[ServiceInterval]):
    """A table of service intervals."""

    RECORD = ServiceInterval
    worker_id: Numbers
    pid: Numbers
    request_id: Numbers
    command: Words
    nonce: Words
    start_ns: Numbers
    end_ns: Numbers
    ok: Words

    @classmethod
    def of(cls, services: Iterable[ServiceInterval], nonces: Vocabulary | None = None) -> Services:
        """Make a table of these service intervals; operations may share the `nonces`."""
        gathering: Gathering[ServiceInterval] = Gathering(
            {
                "worker_id": GatheredNumbers(),
                "pid": GatheredNumbers(),
                "request_id": GatheredNumbers(),
                "command": GatheredWords(),
                "nonce": GatheredWords(nonces),
                "start_ns": GatheredNumbers("q"),
                "end_ns": GatheredNumbers("q"),
                "ok": GatheredWords(),
            }
        )
        gathering.extend_all(services)
        return cls(**gathering.columns())

    @classmethod
    def of_exchanges(cls, ops: Ops, sends: Events, receives: Events) -> Services:
        """Derive the service intervals of workers that keep no journal: from each SEND of a call to its RECEIVE."""
        sends = sends.take((sends.call != NONE) & (sends.worker != NONE))
        op = find_last((sends.call,), (ops.call,))
        answer = find_last((sends.call,), (receives.call,))
        done = np.where(pick(ops.type.are(OpType.OK), op, False), 2, 1)
        return cls(
            worker_id=sends.worker,
            pid=np.where(sends.pid == NONE, 0, sends.pid),
            request_id=sends.call,
            command=Words(pick(ops.command.codes, op, len(ops.command.words)), [*ops.command.words, ""]),
            nonce=Words(pick(ops.nonce.codes, op, len(ops.nonce.words)), [*ops.nonce.words, None]),
            start_ns=sends.at_ns,
            end_ns=pick(receives.at_ns, answer, NONE),
            ok=Words(np.where(op < 0, 0, done), [None, False, True]),
        )
