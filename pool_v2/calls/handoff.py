"""Grants a worker to a waiting client and writes the client's request first.

So the worker need not wait until the client's thread has woken up, and a client with a reply pipe need not wake up
before its response arrives.

Events. The client itself notes that its request was written ahead, so that the events of a call come in order: the
thread that wrote may be paused while the client's call already ends.

Interrupts. Taking a request out of its claim, writing it and noting how much was written is one atomic step, so no
KeyboardInterrupt can split it: an interrupted thread has done either nothing or all of it.
"""

from __future__ import annotations

import time
from operator import call, is_

from poolproof.bridge import EventKind
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.running.event_log import EventLog

_OFFER, _ACCEPT, _SEND = EventKind.OFFER, EventKind.ACCEPT, EventKind.SEND
WRITING_S = 0.0005
"""The interval of checks whether another thread has finished a write that never blocks, in seconds."""
LONGEST_WRITING_S = 1.0
"""How long such a write may take on a very busy machine, in seconds."""


def hand_over(ticket: Ticket, log: EventLog | None) -> None:
    """Write the ticket's request to the granted worker, if the ticket allows that, and wake the client if needed."""
    claim, written, worker = ticket.claim, ticket.written, ticket.worker
    if log is not None and worker is not None:
        log.append((_OFFER, log.now_ns(), ticket.call, worker.worker_id, None, ticket.queued_ns))
    if claim and written is not None and worker is not None and worker.reachable:
        if log is not None:
            ticket.ahead_ns = log.now_ns()
        try:
            written.extend(map(call, (worker.transport.put,), iter(claim.pop, None)))
            if ticket.reply_pipe is not None and ticket.request is not None and written[0] == len(ticket.request):
                return  # the response wakes the client
        except IndexError:
            pass  # the client took its request first
        except OSError:  # the worker has closed its end; the client will find that
            written.append(0)
    ticket.wake()


def take_back(ticket: Ticket) -> int:
    """Prevent other threads from writing the ticket's request. Returns how many bytes another thread has written.

    If that thread was interrupted during the write, the worker is killed, and the request counts as written.
    """
    claim, written = ticket.claim, ticket.written
    if written:
        return written[0]
    if claim is None or written is None:
        return 0
    if claim:
        try:
            written.extend(map(is_, (None,), iter(claim.pop, None)))  # extends by False, which is 0
            return 0
        except IndexError:
            pass  # another thread took the request first
    looks = int(LONGEST_WRITING_S / WRITING_S)
    while not written and looks:
        time.sleep(WRITING_S)
        looks -= 1
    if written:
        return written[0]
    if ticket.worker is not None and ticket.worker.reachable:
        ticket.worker.transport.kill()
    written.append(1)
    return 1


def note_ahead(ticket: Ticket, log: EventLog | None, written: int) -> None:
    """Report to the observer, once, that another thread has written this many bytes (1 or more) of the request."""
    worker, began_ns = ticket.worker, ticket.ahead_ns
    if log is not None and worker is not None and began_ns:
        ticket.ahead_ns = 0
        log.append((_ACCEPT, began_ns, ticket.call, worker.worker_id))
        if ticket.request is not None and written == len(ticket.request):
            log.append((_SEND, began_ns, ticket.call, worker.worker_id, worker.pid))
