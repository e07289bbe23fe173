"""Bugs in V2's sessions, closing, leases and statistics. Entry point."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from poolproof.harness.mutation.mutant import V2, Registry
from poolproof.harness.mutation.planting import replace
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls import lease
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Affinity, Grants
from poolproof.pool_v2.core.sessions import Session, SessionTable
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import NEVER_NS
from poolproof.pool_v2.running.housekeeper import Housekeeper
from poolproof.pool_v2.running.lifetime import Lifetime

REGISTRY = Registry()


@REGISTRY.bug(V2, breaks=("G17",), scenarios=("session_state",))
def session_roams() -> None:
    """A session's call goes to any worker, without a handover."""

    def rootless(idle_worker_for: Any) -> Any:
        def any_worker(self: Coordinator, ticket: Ticket) -> Any:
            self.affinity = Affinity.NONE
            return idle_worker_for(self, ticket)

        return any_worker

    replace(Grants, "_idle_worker_for", rootless)
    replace(Session, "lacks", lambda _: lambda self, worker_id: ())


@REGISTRY.bug(V2, breaks=("G17",), scenarios=("session_handover",))
def session_empty_after_crash() -> None:
    """A session whose worker is gone continues empty, without an error."""
    replace(Session, "lacks", lambda _: lambda self, worker_id: ())


@REGISTRY.bug(V2, breaks=("G18",), scenarios=("session_handover",))
def handover_one_behind() -> None:
    """A handover omits the last acknowledged change."""
    replace(Session, "lacks", lambda lacks: lambda self, worker_id: lacks(self, worker_id)[:-1])


@REGISTRY.bug(V2, breaks=("G19",), scenarios=("session_counters",))
def counters_reset() -> None:
    """A session's counter restarts with each of its calls."""

    def resetting(begin: Any) -> Any:
        def forget(self: SessionTable, session_id: str, number: int) -> Session:
            session: Session = begin(self, session_id, number)
            session.operations = 0
            return session

        return forget

    replace(SessionTable, "begin", resetting)


@REGISTRY.bug(V2, breaks=("G19",), scenarios=("session_threads",))
def counters_per_thread() -> None:
    """A session's counter restarts when another thread calls in the session."""
    callers: dict[int, threading.Thread] = {}  # thread objects, since a thread's ident may be reused

    def forgetful(begin: Any) -> Any:
        def forget(self: SessionTable, session_id: str, number: int) -> Session:
            session: Session = begin(self, session_id, number)
            caller = threading.current_thread()
            if callers.setdefault(id(session), caller) is not caller:
                callers[id(session)] = caller
                session.operations = 0
            return session

        return forget

    replace(SessionTable, "begin", forgetful)


@REGISTRY.bug(V2, breaks=("G20", "G22"), scenarios=("close_busy",))
def busy_workers_left() -> None:
    """Closing a pool leaves its busy workers running."""
    replace(Coordinator, "kill_rest", lambda _: lambda self: [])


@REGISTRY.bug(V2, breaks=("G22",), scenarios=("close_under_load",))
def waiters_not_told() -> None:
    """Callers that wait while the pool is closed are not woken."""
    replace(Grants, "_refuse_all", lambda _: lambda self, reason: [])


@REGISTRY.bug(V2, breaks=("G22",), scenarios=("close_under_load",))
def close_without_grace() -> None:
    """Closing a pool ends its running calls at once."""
    replace(PoolV2, "close", lambda close: lambda self, grace_s=None: close(self, 0.001))


@REGISTRY.bug(V2, breaks=("G22",), scenarios=("drain_under_load",))
def drain_refuses_waiters() -> None:
    """A drain ends the calls that wait."""
    replace(Lifetime, "drain", lambda _: lambda self, timeout_s: self.close(self.config.close_grace_s))


@REGISTRY.bug(V2, breaks=("G22",), scenarios=("drain_under_load",))
def drain_serves_new_calls() -> None:
    """A pool that is drained takes new calls as long as others run."""
    replace(Coordinator, "drain", lambda _: lambda self: None)


@REGISTRY.bug(V2, breaks=("G14",), scenarios=("resize_under_load",))
def resize_ignored() -> None:
    """A pool keeps all of its workers when it is resized."""
    replace(Lifetime, "resize", lambda _: lambda self, n: None)


@REGISTRY.bug(V2, breaks=("G22",), scenarios=("close_twice",))
def second_close_raises() -> None:
    """Closing a closed pool raises an error."""

    def once_only(close: Any) -> Any:
        def once(self: PoolV2, grace_s: float | None = None) -> None:
            if self.status().state == "closed":
                raise RuntimeError("the pool is closed")
            close(self, grace_s)

        return once

    replace(PoolV2, "close", once_only)


@REGISTRY.bug(V2, breaks=("G26",), scenarios=("lease_misuse", "abandoned_lease"))
def lease_never_reclaimed() -> None:
    """A lease whose thread has ended keeps its worker."""
    replace(Housekeeper, "beat", lambda _: lambda self, now: NEVER_NS)


@REGISTRY.bug(V2, breaks=("G26",), scenarios=("abandoned_lease",))
def checkout_not_told() -> None:
    """The line of code that opened a lease is not kept, so the warning about a lost lease does not name it."""
    replace(lease, "_where", lambda _: tuple)


@REGISTRY.bug(V2, breaks=("G27",), scenarios=("command_errors",))
def errors_not_counted() -> None:
    """The pool's statistics omit command errors."""

    def without_errors(status: Any) -> Any:
        def cleaned(self: PoolV2) -> Any:
            told = status(self)
            outcomes = {name: n for name, n in told.statistics.outcomes.items() if name != "CommandError"}
            return msgspec.structs.replace(told, statistics=msgspec.structs.replace(told.statistics, outcomes=outcomes))

        return cleaned

    replace(PoolV2, "status", without_errors)
