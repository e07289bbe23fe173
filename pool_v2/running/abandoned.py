"""A call that its client has abandoned: the supervisor reads in its place what the worker owes, and the worker is kept.

Pure but for the receiver that it empties. Decision 27 says which calls keep their worker.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from poolproof.bridge import EventKind
from poolproof.bridge.wire.exchange import take
from poolproof.bridge.wire.messages import Response, ends_stream
from poolproof.bridge.wire.transport import Transport
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.running.event_log import EventLog

Record = Callable[[Response], bool]


class Abandoned(msgspec.Struct, eq=False):
    """The responses that the ticket's worker owes: the request ids in `due`, in order; `parts`: they come in parts.

    `record` notes a response of a session's call, and returns whether the worker may be kept. When nothing more is due,
    or the worker has failed, `ended` is called with this object and whether the worker has failed.
    """

    ticket: Ticket
    due: list[int]
    ended: Callable[[Abandoned, bool], None]
    parts: bool = False
    record: Record | None = None
    keep: bool = True

    def take(self, transport: Transport, log: EventLog | None) -> bool:
        """Take the responses that have arrived. Returns whether nothing more is due. Raises ProtocolError."""
        while self.due:
            response = take(transport, self.due[0], self.parts, last=len(self.due) == 1)
            if response is None:
                return False
            if self.parts and not ends_stream(response):
                continue
            number = self.due.pop(0)
            if log is not None and self.ticket.worker is not None:
                log.note(EventKind.RECEIVE, number, self.ticket.worker_id, self.ticket.worker.pid)
            if self.record is not None:
                self.keep = self.record(response)
        return True
