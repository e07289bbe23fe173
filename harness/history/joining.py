"""Joins operations with other records: the pool's events by the caller's number, the journals by the nonce.

Pure. A pool may deliver the events of a call after its operation is over, and in any order, so events are joined when
the history is read and not while it is written.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE, Numbers, find_last, order_by, pick
from poolproof.harness.history.tables import Events, Ops, Services
from poolproof.harness.model.fault import FaultRecord


def join_events(ops: Ops, events: Events, calls: Numbers, correlations: Numbers) -> Ops:
    """Return the operations with their pool call, and with the moments, worker and pid in the call's events.

    `calls` and `correlations` come from the ENQUEUE events that have both; a correlation is an operation's index plus
    one. If one operation has several calls, the last one counts.
    """
    if not len(calls) or not len(ops):
        return ops
    place = np.minimum(np.searchsorted(ops.index, correlations - 1), len(ops) - 1)
    known = ops.index[place] == correlations - 1
    call = ops.call.astype(np.int64)
    call[place[known]] = calls[known]
    told = {kind: _last_of_calls(events, kind, call) for kind in (EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE)}
    taken, sent = told[EventKind.ACCEPT], told[EventKind.SEND]
    worker = _prefer(events.worker, sent, _prefer(events.worker, taken, ops.worker))
    return ops.replacing(
        call=call,
        checked_out_ns=_prefer(events.at_ns, taken, ops.checked_out_ns),
        sent_ns=_prefer(events.at_ns, sent, ops.sent_ns),
        received_ns=_prefer(events.at_ns, told[EventKind.RECEIVE], ops.received_ns),
        worker=worker,
        pid=_prefer(events.pid, sent, ops.pid),
    )


def _last_of_calls(events: Events, kind: EventKind, call: Numbers) -> Numbers:
    # For each operation the row of its call's last event of this kind; -1 if there is none.
    rows = np.flatnonzero(events.kind.are(kind) & (events.call != NONE))
    rows = rows[order_by(events.at_ns[rows])]
    found = np.where(call == NONE, -1, find_last((call,), (events.call[rows],)))
    return pick(rows, found, -1)


def _prefer(values: Numbers, rows: Numbers, otherwise: Numbers) -> Numbers:
    return np.where(rows >= 0, values[rows], otherwise) if len(values) else otherwise


def first_service(ops: Ops, services: Services) -> Numbers:
    """Return for each operation the row of the first service interval with its nonce; -1 if there is none."""
    nonces = services.nonce.codes_in(ops.nonce)[::-1]  # service intervals are in order of time
    last = find_last((ops.nonce.codes.astype(np.int64),), (nonces.astype(np.int64),))
    return np.where(last >= 0, len(services) - 1 - last, -1)


def join_journals(ops: Ops, services: Services) -> Ops:
    """Return the operations with the worker and pid that served their nonce, where the pool has reported no worker."""
    unknown = ops.pid == NONE
    if not len(services) or not unknown.any():
        return ops
    row = np.where(unknown, first_service(ops, services), -1)
    return ops.replacing(worker=_prefer(services.worker_id, row, ops.worker), pid=_prefer(services.pid, row, ops.pid))


def land(faults: Iterable[FaultRecord], ops: Ops) -> tuple[FaultRecord, ...]:
    """Return the faults; a fault by an operation's own command landed if a worker is known to have the operation."""
    return tuple(fault if fault.op is None else _landed(fault, ops) for fault in faults)


def _landed(fault: FaultRecord, ops: Ops) -> FaultRecord:
    place = int(np.searchsorted(ops.index, int(fault.op or 0)))
    if place == len(ops) or ops.index[place] != fault.op:
        return fault
    op = ops[place]
    return msgspec.structs.replace(
        fault,
        landed=fault.landed or op.pid is not None,
        at_ns=fault.at_ns if op.sent_ns is None else op.sent_ns,
        worker=op.worker,
        pid=op.pid,
    )
