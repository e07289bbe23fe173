"""States what each option of a pool promises, as far as callers and journals can see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.bridge import PoolStatus
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import CLOSING, COMMAND_FAULTS, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.capacity import FULL_LABEL
from poolproof.harness.oracle.ends import HARMLESS, ending_times, first_end_ns
from poolproof.harness.oracle.faces import DIRECT, ONE_REQUEST_A_CALL
from poolproof.harness.oracle.limits import LIMITED_LABEL
from poolproof.harness.oracle.status import CROWD_LABEL, READY
from poolproof.harness.oracle.turns import TURN_LABEL
from poolproof.harness.oracle.waiters import WAITER_LABEL

HOUSEKEEPING = frozenset({"ping", "snapshot_session", "restore_session", "initialize"})
"""Commands that a pool sends by itself."""


PROBING_LABELS = (FULL_LABEL, CROWD_LABEL, LIMITED_LABEL, TURN_LABEL, WAITER_LABEL)
"""How the labels of the calls begin that the harness makes after the run's own."""
LEAST_SHARE = 0.75
"""A worker may retire after this share of `max_requests` already, so that not all workers retire at once."""
DYING = "dying"
LAST_LOOKS = 5
"""How many looks at the pool, at least 10 ms apart, show its size long after the last call."""
ENDING_OPTIONS = frozenset({"overflow", "max_requests", "max_age_s", "max_memory_bytes"})
"""Options by which a pool ends workers that are in use."""


class OptionsKept(msgspec.Struct, frozen=True, kw_only=True):
    """`lazy`, `overflow`, `max_requests`, `min_workers` and `idle_timeout_s` do what they promise (G14 to G16)."""

    name: str = "options_kept"
    guarantees: tuple[str, ...] = ("G14", "G15", "G16")

    def check(self, history: History) -> Finding:
        """Judge the run by the journals, the status snapshots and the operations."""
        wrong = [
            *_requests_of_workers(history),
            *_never_too_eager(history),
            *_started_for_calls(history),
            *_shrunk(history),
            *_never_too_small(history),
            *_too_small_at_the_end(history),
            *_retired_in_use(history),
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
    killing = {FaultKind.KILL, FaultKind.STOP, *CLOSING, *COMMAND_FAULTS} - HARMLESS
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
    # A lazy pool has no worker before its first call.
    if not history.info.options.get("lazy") or not len(history.ops):
        return
    first_ns = int(history.ops.invoked_ns.min())
    for sample in history.statuses:
        if sample.ended_ns < first_ns and sample.status is not None and sample.status.workers:
            yield f"{len(sample.status.workers)} workers were started before the first call, and the pool is lazy"
            return


def _started_for_calls(history: History) -> Iterator[str]:
    # Until a worker is first ended, a lazy pool never has more workers than calls were open at once.
    ops = history.ops
    if not history.info.options.get("lazy") or history.info.face not in DIRECT or not len(ops):
        return
    until_ns = min(first_end_ns(history), _filled_ns(history))
    began, ended = np.sort(ops.invoked_ns), np.sort(ops.completed_ns[ops.completed_ns != NONE])
    open_calls = np.arange(1, len(began) + 1) - np.searchsorted(ended, began, "left")
    most_until = np.maximum.accumulate(open_calls)
    pinged = history.info.options.get("max_idle_pings", 1) if "ping_interval_s" in history.info.options else 0
    for sample in history.statuses:
        place = int(np.searchsorted(began, sample.ended_ns, "right")) - 1
        if sample.ended_ns >= until_ns or place < 0 or sample.status_after is None:
            continue
        needed = (
            int(most_until[place]) + pinged + ("session_ttl_s" in history.info.options)
        )  # which the pool ends itself
        if (living := _living(sample.status_after)) > needed:
            yield f"{living} workers live, the pool is lazy, and at most {needed} calls were open at once until then"
            return


def _filled_ns(history: History) -> int:
    # When the run's own calls had ended: then the harness asks for all workers at once.
    ops = history.ops
    probing = [label for label in ops.label.counts() if str(label).startswith(PROBING_LABELS)]
    return int(ops.completed_ns[~ops.label.are(*probing)].max(initial=0))


def _living(status: PoolStatus) -> int:
    return sum(worker.state != DYING for worker in status.workers)


def _never_too_small(history: History) -> Iterator[str]:
    # A pool that shrinks keeps `min_workers` living workers, unless something ends them.
    options = history.info.options
    least = options.get("min_workers", 0)
    resized = any(fault.kind is FaultKind.RESIZE for fault in history.faults)
    if not least or options.get("lazy") or "max_requests" in options or resized or not _quiet(history):
        return
    reached = False
    for sample in history.statuses:
        closing = history.close_began_ns is not None and sample.ended_ns >= history.close_began_ns
        if sample.status is None or closing:
            continue
        living = _living(sample.status)
        reached = reached or living >= least
        if reached and living < least:
            yield f"{living} workers live after it had {least}; min_workers is {least}, and nothing ended a worker"
            return


def _too_small_at_the_end(history: History) -> Iterator[str]:
    # Whatever the run did to the pool, such as a resize to one worker and back: in the end it has its smallest size.
    options, close_ns = history.info.options, history.close_began_ns
    least = options.get("min_workers", 0)
    if not least or options.get("lazy") or close_ns is None:
        return
    before = [one.status for one in history.statuses if one.ended_ns < close_ns and one.status is not None]
    last = [_living(status) for status in before[-LAST_LOOKS:]]
    if len(last) == LAST_LOOKS and max(last) < least:
        yield f"{max(last)} workers live long after the last call; min_workers is {least}"


def _retired_in_use(history: History) -> Iterator[str]:
    # A worker that was ready, and that nothing has ended, is idle for `idle_timeout_s` before it leaves.
    options, services = history.info.options, history.services
    limit_s = options.get("idle_timeout_s")
    if limit_s is None or not len(services) or ENDING_OPTIONS & options.keys():
        return
    begins, ends = ending_times(history)
    ready: dict[int, int] = {}
    for sample in history.statuses:
        if sample.status is None or (history.close_began_ns or sample.ended_ns) < sample.ended_ns:
            continue
        now = {worker.pid for worker in sample.status.workers if worker.pid and worker.state in READY}
        for pid in ready.keys() - now:
            seen_ns = ready.pop(pid)
            used = services.start_ns[(services.pid == pid) & (services.start_ns < sample.ended_ns)]
            idle_s = (sample.ended_ns - int(used.max(initial=0))) / 1e9
            explained = ((begins <= sample.ended_ns) & (ends >= seen_ns)).any()
            if idle_s < limit_s and not explained:
                yield f"process {pid} left {idle_s:.3f} s after its last call had begun; idle_timeout_s is {limit_s:g}"
        ready.update(dict.fromkeys(now, sample.began_ns))


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
