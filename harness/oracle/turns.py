"""States which worker serves a call: by the options `idle_order` and `session_affinity`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.bridge import Capability
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History, Op, RunInfo
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.faces import DIRECT
from poolproof.harness.oracle.status import READY

TURN_LABEL = f"{RESERVED}turn"
"""The label of the calls that one client makes one after another while the pool has nothing else to do."""
TURN_SESSION = "turns"
"""The session of some of these calls; a longer name is that of a session with one call."""
UNSETTLED = frozenset({"ping_interval_s", "session_ttl_s", "max_age_s", "max_memory_bytes"})
"""Options with which a pool itself uses idle workers. Whether it has replaced some, its status tells."""


def keeps_turns(info: RunInfo) -> bool:
    """Return whether the pool promises which worker serves next, and leaves idle workers alone."""
    return Capability.OPTIONS in info.capabilities and not UNSETTLED & info.options.keys() and info.face in DIRECT


class TurnsKept(msgspec.Struct, frozen=True, kw_only=True):
    """The idle worker that serves is the one that `idle_order` and `session_affinity` promise (G17).

    With one call at a time, "rotate" lets every worker serve before one serves again, and "hot" always takes the same
    worker. A session with the affinity "strict" or "prefer" stays on its worker, and one with "none" is served like
    calls outside sessions. With "strict", that holds for the whole run: no call of a session is served by another
    worker while the one that served it before goes on to serve.
    """

    name: str = "turns_kept"
    guarantees: tuple[str, ...] = ("G17",)

    def check(self, history: History) -> Finding:
        """Decide from the answers to the labelled calls, the status around them, and the workers' journals."""
        wrong = [*_out_of_turn(history), *_strayed(history)]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} calls were served by the wrong worker", examples=wrong)
        return finding(self, Verdict.PASS, "each call was served by a worker that the pool's options allow")


def _out_of_turn(history: History) -> Iterator[str]:
    order = history.info.options.get("idle_order", "rotate")
    ops = list(history.ops.take(history.ops.label.are(TURN_LABEL)))
    workers = _ready_throughout(history, ops)
    served = [(op, op.value.get("pid")) for op in ops if isinstance(op.value, dict)]
    if not workers or len(served) < len(ops):
        return
    free = history.info.options.get("session_affinity", "strict") == "none"
    plain = [pid for op, pid in served if op.session is None]
    own = [pid for op, pid in served if op.session == TURN_SESSION]
    first = [pid for op, pid in served if op.session not in (None, TURN_SESSION)]
    rows = {"calls outside sessions": plain[: 2 * workers], "first calls of new sessions": first}
    if free:
        rows["calls of a session and others in turn"] = [pid for op, pid in served][len(first) + 2 * workers :]
    elif len(set(own)) > 1:
        yield f"the calls of one session were served by the processes {own}, while nothing else was to do"
    for what, pids in rows.items():
        if order == "hot" and len(set(pids)) > 1:
            yield f"{what} were served by the processes {pids}, and the pool takes the worker that served last"
        for place in range(len(pids) - workers + 1 if order == "rotate" else 0):
            if len(set(pids[place : place + workers])) < workers:
                yield f"{what} were served by the processes {pids}, and {workers} idle workers take turns"
                break


def _ready_throughout(history: History, ops: list[Op]) -> int:
    # The number of workers, if all of them were ready before the calls and after them; otherwise 0.
    if not ops:
        return 0
    begin_ns, end_ns = ops[0].invoked_ns, ops[-1].completed_ns or 0
    before = [sample.status for sample in history.statuses if sample.ended_ns < begin_ns and sample.status]
    after = [sample.status for sample in history.statuses if sample.began_ns > end_ns and sample.status]
    if not before or not after:
        return 0
    one, other = before[-1].workers, after[0].workers
    same = {worker.pid for worker in one} == {worker.pid for worker in other}
    return len(one) if same and all(worker.state in READY for worker in (*one, *other)) else 0


def _strayed(history: History) -> Iterator[str]:
    info, ops, services = history.info, history.ops, history.services
    strict = info.options.get("session_affinity", "strict") == "strict"
    if not strict or Capability.OPTIONS not in info.capabilities or info.face not in DIRECT or not len(services):
        return
    if "session_ttl_s" in info.options or any(fault.kind is FaultKind.RESIZE for fault in history.faults):
        return
    last_ns = {int(pid): int(services.start_ns[services.pid == pid].max()) for pid in np.unique(services.pid)}
    ended = set(ops.session[ops.command.are("cleanup_session")].tolist())
    served = history.serving
    for session in ops.session.counts():
        if session is None or session in ended:
            continue
        rows = np.flatnonzero(ops.session.are(session) & (served >= 0))
        rows = rows[np.argsort(services.start_ns[served[rows]], kind="stable")]
        pids, starts_ns = services.pid[served[rows]], services.start_ns[served[rows]]
        for place in np.flatnonzero(pids[1:] != pids[:-1]):
            pid, other = int(pids[place]), int(pids[place + 1])
            if last_ns[pid] > starts_ns[place + 1] and services.end_ns[served[rows[place]]] != NONE:
                yield (
                    f"call {ops.index[rows[place + 1]]} of session {session!r} was served by process {other}, "
                    f"although process {pid}, which had served the session, went on to serve"
                )
                break
