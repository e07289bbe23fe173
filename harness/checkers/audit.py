"""What became of every request, by the workers' own journals: the pool's word is not needed."""

from __future__ import annotations

import msgspec

from bridge import ServiceInterval
from harness.checker import Finding, finding
from harness.history import History, Op, OpType
from harness.verdict import Verdict


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether each call ran, by the workers' journals; none ran twice, and no error and no answer belies it (G4).

    A call that ended in doubt is resolved to ran or not ran. A call whose error says that nothing was sent must not
    have run, and one with an answer must have. One repetition is meant: a handover repeats what a session's client
    has an answer to. Calls without a nonce, and answers of workers that keep no journal, are counted and not judged.
    """

    name: str = "audit"
    guarantees: tuple[str, ...] = ("G4",)

    def check(self, history: History) -> Finding:
        """Decide from the operations and the service intervals."""
        if not history.services:
            return finding(self, Verdict.UNKNOWN, "no worker kept a journal")
        runs: dict[str, tuple[ServiceInterval, ...]] = {}
        for service in history.services:
            if service.nonce is not None:
                nonce = str(service.nonce)
                runs[nonce] = (*runs.get(nonce, ()), service)
        journalled = {service.pid for service in history.services}
        wrong: list[str] = []
        ran = unfinished = not_ran = unknown = decided = 0
        for op in history.ops:
            if op.args.get("nonce") != op.nonce:
                unknown += 1
                continue
            decided += 1
            found = runs.get(op.nonce, ())
            if len(found) != 1 or op.sent == "no":
                wrong += _contradictions(op, found, op.pid in journalled)
            if op.type is OpType.INFO:
                ran += bool(found)
                not_ran += not found
                unfinished += bool(found) and all(service.end_ns is None for service in found)
        figures: dict[str, float | int | str] = {
            "decided": decided,
            "doubtful_ran": ran,
            "doubtful_unfinished": unfinished,
            "doubtful_not_ran": not_ran,
            "without_nonce": unknown,
        }
        if wrong:
            claim = f"{len(wrong)} calls are belied by the workers' journals"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no call bears a nonce, so none is found in the journals")
        claim = f"{decided} calls ran at most once; of {ran + not_ran} in doubt {ran} ran and {not_ran} did not"
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
        told.append(f"{who} was told that nothing was sent, and ran: {_places(found)}")
    if not before and op.type is OpType.OK and journalled:
        told.append(f"{who} has an answer of process {op.pid}, and ran nowhere")
    return told


def _places(services: tuple[ServiceInterval, ...]) -> str:
    return ", ".join(f"process {service.pid} request {service.request_id}" for service in services[:3])
