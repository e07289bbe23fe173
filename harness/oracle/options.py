"""States what each option of a pool promises, as far as callers and journals can see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import COMMAND_FAULTS, FaultKind
from poolproof.harness.model.verdict import Verdict

HOUSEKEEPING = frozenset({"ping", "snapshot_session", "restore_session", "initialize"})
"""Commands that a pool sends by itself."""


LEAST_SHARE = 0.75
"""Workers are retired at different counts, so that they do not all leave at once; the earliest at this share."""
ONE_REQUEST_A_CALL = frozenset({"execute", "main_thread", "zygote", "foreign_worker", "asyncio", "uvloop"})
"""The faces through which a worker counts exactly the requests that its journal has."""


class OptionsKept(msgspec.Struct, frozen=True, kw_only=True):
    """The options `lazy`, `overflow`, `max_requests`, `min_workers` and `zygote` do what they promise (G14 to G16)."""

    name: str = "options_kept"
    guarantees: tuple[str, ...] = ("G14", "G15", "G16")

    def check(self, history: History) -> Finding:
        """Decide from the journals, the status snapshots and the operations."""
        wrong = [
            *_requests_of_workers(history),
            *_never_too_eager(history),
            *_shrunk(history),
            *_at_work_at_once(history),
        ]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} promises of options were broken", examples=wrong)
        return finding(self, Verdict.PASS, "the pool kept what its options promise")


def _first_services(history: History) -> Counter[int]:
    # By process: how many requests of callers it served. A repetition in a handover does not count.
    services = history.services
    known = services.nonce.codes_in(history.ops.nonce) >= 0
    _, first = np.unique(services.nonce.codes[known], return_index=True)
    return Counter(services.pid[np.flatnonzero(known)[first]].tolist())


def _quiet(history: History) -> bool:
    # Nothing in the run ends a worker, or leaves a call in doubt.
    killing = {FaultKind.KILL, FaultKind.STOP, FaultKind.CLOSE, *COMMAND_FAULTS} - {FaultKind.PRINT}
    kinds = {fault.kind for fault in history.faults}
    doubtful = history.ops.type.are("info").any() or history.ops.outcome.are("Cancelled", "CallTimeout").any()
    return not doubtful and not kinds & killing


def _requests_of_workers(history: History) -> Iterator[str]:
    most = history.info.options.get("max_requests")
    if most is None or not len(history.services):
        return
    served = _first_services(history)
    for pid, count in served.items():
        if count > most + history.info.together - 1:  # a batch goes to one worker as a whole
            yield f"process {pid} served {count} requests; max_requests is {most}"
    living = {worker.pid for sample in history.statuses[-1:] if sample.status for worker in sample.status.workers}
    shrinks = bool({"min_workers", "overflow", "max_age_s"} & history.info.options.keys())
    in_sessions = bool((~history.ops.session.are(None)).any())
    if not living or shrinks or in_sessions or history.info.face not in ONE_REQUEST_A_CALL or not _quiet(history):
        return
    last_ns = history.statuses[-1].began_ns
    before = history.services.take(history.services.start_ns < last_ns)
    for pid in set(before.pid.tolist()) - living:
        if served[pid] < LEAST_SHARE * most:
            yield f"process {pid} was replaced after {served[pid]} requests; max_requests is {most}"


def _never_too_eager(history: History) -> Iterator[str]:
    # A lazy pool has no worker before its first call, and never more workers than calls that were open at once.
    if not history.info.options.get("lazy") or not len(history.ops):
        return
    first_ns = int(history.ops.invoked_ns.min())
    for sample in history.statuses:
        if sample.ended_ns < first_ns and sample.status is not None and sample.status.workers:
            yield f"{len(sample.status.workers)} workers were started before the first call, and the pool is lazy"
            return


def _shrunk(history: History) -> Iterator[str]:
    # The run waits after its last call until an idle pool has had time to shrink; the last snapshot shows the result.
    options, last = history.info.options, history.statuses[-1:]
    if not last or last[0].status is None or history.close_began_ns is None:
        return
    if last[0].began_ns > history.close_began_ns:
        return
    living = len(last[0].status.workers)
    least = options.get("min_workers", history.info.workers)
    if "min_workers" in options and living > least:
        yield f"{living} workers live long after the last call; min_workers is {least}"
    if "overflow" in options and living > history.info.workers:
        yield f"{living} workers live long after the last call; overflow was for a time of need"


def _at_work_at_once(history: History) -> Iterator[str]:
    # Never more processes at work than the pool may have, by their own journals.
    services = history.closed_intervals
    most = history.info.workers + int(history.info.options.get("overflow", 0))
    if not len(history.services) or not len(services) or history.info.baseline:
        return
    known = services.take((services.end_ns != NONE) & ~services.command.are(*HOUSEKEEPING))
    if not len(known):
        return
    moments = np.concatenate([known.start_ns, known.end_ns])
    change = np.concatenate([np.ones(len(known), int), -np.ones(len(known), int)])
    order = np.lexsort((change, moments))
    together = int(np.cumsum(change[order]).max())
    if together > most:
        yield f"{together} workers were at work at once; at most {most} may live"
