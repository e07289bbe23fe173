"""The supervisor's next actions for one worker, derived from the state of the worker and of the ticket that holds it.

Pure: all state is in the worker itself, so an action that was lost is derived again. Each function adds to `times` the
time of its next check, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits, Worker, age_limit_ns

RETIRE_GRACE_NS = 2_000_000_000
"""How long a worker may take to exit after it was asked to."""
STRANGER_GRACE_NS = 20_000_000
"""How long a worker may be dead before its client is woken, because another process holds the worker's stdout open."""
OFFER_GRACE_NS = 5_000_000
"""When to check a call again whose deadline passed before it accepted its offer."""
HEARTBEAT_NS = 500_000_000
"""The interval of checks while workers are held or tickets wait, or while an old worker cannot be spared."""
PING_PAUSE_NS = 1_000_000


class Act(StrEnum):
    """The kinds of actions."""

    START = "start"
    RETIRE = "retire"
    KILL = "kill"
    CUT_OFF = "cut_off"
    TERM = "term"
    WAKE_READER = "wake_reader"
    RELEASE = "release"
    WAKE = "wake"
    PING = "ping"


class Action(msgspec.Struct, frozen=True):
    """One action of the supervisor. A START has neither worker nor ticket; `reason` is reported with a kill."""

    act: Act
    worker: Worker | None = None
    ticket: Ticket | None = None
    reason: str = ""


def watch_lease(worker: Worker, ticket: Ticket, now_ns: int, times: list[int], term_grace_ns: int = 0) -> list[Action]:
    """Actions for a held worker: wake its client, cut it off at the deadline, or report its death.

    With `term_grace_ns`, the worker gets SIGTERM that long before the deadline, once for each deadline.
    """
    orders = []
    if ticket.state is TicketState.OFFERED:
        orders.append(Action(Act.WAKE, ticket=ticket))  # waking twice does no harm
    if worker.exited_ns:
        grace_ns = STRANGER_GRACE_NS if ticket.reply_pipe is None else 0  # a reply pipe outlives the worker
        wake_ns = min(worker.exited_ns + grace_ns, ticket.deadline_ns)
        if not worker.woken and now_ns >= wake_ns:
            worker.woken = True
            orders.append(Action(Act.WAKE_READER, worker))
        times.append(NEVER_NS if worker.woken else wake_ns)
    elif ticket.state is TicketState.OFFERED and not (ticket.written and ticket.written[0]):
        # The exchange has not begun: the client gives up in time, and the worker stays usable.
        times.append(ticket.deadline_ns if now_ns < ticket.deadline_ns else now_ns + OFFER_GRACE_NS)
    elif ticket.deadline_ns <= now_ns and not worker.killed:
        worker.overdue = worker.killed = True
        orders.append(Action(Act.CUT_OFF, worker, reason="CallTimeout"))
    elif not worker.killed:
        times.append(ticket.deadline_ns)
        term_ns = ticket.deadline_ns - term_grace_ns
        if term_grace_ns and worker.term_deadline_ns != ticket.deadline_ns:
            if now_ns < term_ns:
                times.append(term_ns)
            else:
                worker.term_deadline_ns = ticket.deadline_ns
                orders.append(Action(Act.TERM, worker))
    return orders


def watch_queue(waiting: Iterable[Ticket], now_ns: int, times: list[int]) -> list[Action]:
    """Actions for the queue: wake each client whose wait is over and that relies on the supervisor for that."""
    orders = []
    for ticket in waiting:
        if ticket.until_ns <= now_ns:
            orders.append(Action(Act.WAKE, ticket=ticket))
        else:
            times.append(ticket.until_ns)
    return orders


def end_worker(worker: Worker, now_ns: int, times: list[int]) -> list[Action]:
    """Actions for a dying worker that no client holds.

    A worker without a `reason` is asked to leave and killed after a grace period; a worker with a `reason` is killed at
    once. Then the worker is reaped.
    """
    if worker.unreaped:
        return []
    if worker.exited_ns:
        return [Action(Act.RELEASE, worker)]
    if worker.killed:
        return []
    if worker.reason or (worker.told_ns and now_ns >= worker.told_ns + RETIRE_GRACE_NS):
        worker.killed = True
        return [Action(Act.KILL, worker, reason=worker.reason or "did not leave in time")]
    if not worker.told_ns:
        worker.told_ns = now_ns
        times.append(now_ns + RETIRE_GRACE_NS)
        return [Action(Act.RETIRE, worker)]
    times.append(worker.told_ns + RETIRE_GRACE_NS)
    return []


def recycle(
    idle: Sequence[Worker], limits: Limits, now_ns: int, times: list[int], *, spare: int, lacking: bool
) -> tuple[list[Worker], list[Worker]]:
    """Return the idle workers to retire (too old or not needed), and the idle workers to ping.

    `spare`: the number of workers above the minimum. `lacking`: the pool lacks a worker already, so it retires no
    worker for its age. At most one worker at a time is retired for its age.
    """
    leaving: list[Worker] = []
    pinged: list[Worker] = []
    for worker in idle:
        old_ns = worker.born_ns + age_limit_ns(limits, worker.worker_id)
        if now_ns >= old_ns and not lacking:
            lacking = True
            spare -= 1
            leaving.append(worker)
            continue
        times.append(old_ns if now_ns < old_ns else now_ns + HEARTBEAT_NS)
        if limits.idle_timeout_ns is not None and spare > 0:
            stale_ns = worker.idle_since_ns + limits.idle_timeout_ns
            if now_ns >= stale_ns:
                lacking = True
                spare -= 1
                leaving.append(worker)
                continue
            times.append(stale_ns)
        if limits.ping_interval_ns is not None:
            due_ns = max(worker.idle_since_ns, worker.pinged_ns) + limits.ping_interval_ns
            if now_ns >= due_ns and len(pinged) < limits.max_idle_pings:
                worker.pinged_ns = now_ns
                pinged.append(worker)
            else:
                times.append(max(due_ns, now_ns + PING_PAUSE_NS))
    return leaving, pinged
