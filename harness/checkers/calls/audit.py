"""Finds from the workers' journals whether every request ran; the pool's own records are not needed."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

import msgspec
import numpy as np

from poolproof.bridge import ServiceInterval
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History, Op, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.evidence import FROM_JOURNALS, Evidence
from poolproof.harness.model.verdict import Verdict


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """By the workers' journals each call ran once or not at all, and no error or answer contradicts that (G4).

    A call that ended in doubt is resolved to ran or did not run. A call whose error says that nothing was sent must not
    have run; a call with an answer must have run. One repetition is allowed: a handover repeats requests of a session
    that were already answered. Calls without a nonce, and answers of workers that keep no journal, are counted and not
    judged.
    """

    name: str = "audit"
    guarantees: tuple[str, ...] = ("G4",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_JOURNALS

    def check(self, history: History) -> Finding:
        """Judge the run by the operations and the service intervals."""
        ops, services = history.ops, history.services
        if not len(services):
            return finding(self, Verdict.UNKNOWN, "no worker kept a journal")
        told = (args.get("nonce") == nonce for nonce, args in ops.rows("nonce", "args"))
        known = np.fromiter(told, dtype=bool, count=len(ops))
        runs = services.nonce.codes_in(ops.nonce)  # -1: of no operation
        places = max(len(ops.nonce.words), 1)
        times = np.bincount(runs[runs >= 0], minlength=places)[ops.nonce.codes]
        ended = np.bincount(runs[(runs >= 0) & (services.end_ns != NONE)], minlength=places)[ops.nonce.codes]
        doubtful = known & ops.type.are(OpType.INFO)
        ran, not_ran = int((doubtful & (times > 0)).sum()), int((doubtful & (times == 0)).sum())
        decided = int(known.sum())
        figures: dict[str, float | int | str] = {
            "decided": decided,
            "doubtful_ran": ran,
            "doubtful_unfinished": int((doubtful & (times > 0) & (ended == 0)).sum()),
            "doubtful_not_ran": not_ran,
            "without_nonce": len(ops) - decided,
        }
        # Most calls ran once, as they should. Each other call is examined together with all of its service intervals.
        strange = np.flatnonzero(known & ((times != 1) | ops.sent.are("no")))
        of_these = np.flatnonzero(np.isin(runs, ops.nonce.codes[strange]))
        found: dict[str, list[ServiceInterval]] = defaultdict(list)
        for service in services.take(of_these):
            found[str(service.nonce)].append(service)
        journalled = set(np.unique(services.pid).tolist())
        unobserved = not history.info.observed  # then no event says which worker served a call
        wrong = [
            text
            for op in ops.take(strange)
            for text in _contradictions(
                op, tuple(found.get(op.nonce, ())), op.pid in journalled or (unobserved and op.pid is None)
            )
        ]
        if wrong:
            claim = f"{len(wrong)} calls contradict the workers' journals"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        if not decided:
            return finding(
                self, Verdict.UNKNOWN, "no call carried a nonce, so the journals cannot tell which calls ran"
            )
        claim = (
            f"{decided} calls ran at most once; of the {ran + not_ran} calls with an uncertain outcome {ran} "
            f"ran and {not_ran} did not"
        )
        return finding(self, Verdict.PASS, claim, figures=figures)


def _contradictions(op: Op, found: tuple[ServiceInterval, ...], journalled: bool) -> list[str]:
    told = []
    before = found
    if op.session is not None and op.type is OpType.OK and op.completed_ns is not None:
        before = tuple(service for service in found if service.start_ns < op.completed_ns)
    who = f"call {op.index} ({op.command}, {op.outcome}, nonce {op.nonce})"
    if len(before) > 1:
        told.append(f"{who} ran {len(before)} times: {_places(before)}")
    if found and op.sent == "no":
        told.append(f"{who} ended with an error that says nothing was sent, but ran: {_places(found)}")
    if not before and op.type is OpType.OK and journalled:
        of = "" if op.pid is None else f" of process {op.pid}"
        told.append(f"{who} has an answer{of}, but is in no worker's journal")
    return told


def _places(services: tuple[ServiceInterval, ...]) -> str:
    return ", ".join(f"process {service.pid} request {service.request_id}" for service in services[:3])
