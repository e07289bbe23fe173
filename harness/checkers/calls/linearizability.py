"""Checks whether the answers of each session have one order: linearizability of the session's key-value calls.

Pure. Each session is judged separately; if no call reads more than one key, each key is judged separately too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from poolproof.harness.checkers.calls.calls import SessionCall, calls_by_session, expired_sessions
from poolproof.harness.checkers.calls.search import Call, Found, State, Step, find_order
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict, worst

KEY_COMMANDS = frozenset({"put", "get", "append", "delete"})
WHOLE_COMMANDS = frozenset({"list", "cleanup_session", "snapshot_session", "restore_session"})
READ_COMMANDS = frozenset({"get", "list", "snapshot_session"})
WIPING_COMMANDS = frozenset({"reset_state"})
"""Commands that change all sessions of a worker, whichever session sends them; their histories are not judged."""

_canonical = msgspec.json.Encoder(order="deterministic").encode


class Linearizable(msgspec.Struct, frozen=True, kw_only=True):
    """Each session's key-value calls have one order that explains all answers and keeps the order of time (G17, G18).

    Calls may overlap. A call without an answer may have happened at any time after its begin, or never; if the workers'
    journals do not contain the call, it did not happen. From the begin of a call that ended as SessionLost, nothing of
    its session is judged, and nothing of a session that may have ended because it was not used. `most_visited` bounds
    the configurations that are searched for each session, or for each key of a session; beyond the bound the result is
    UNKNOWN.
    """

    most_visited: int = 200_000
    name: str = "linearizable"
    guarantees: tuple[str, ...] = ("G17", "G18")

    def check(self, history: History) -> Finding:
        """Judge the run by the key-value operations of each session, and from the workers' journals."""
        ops = history.ops
        if ops.command.are(*WIPING_COMMANDS).any():
            return finding(self, Verdict.UNKNOWN, "a call changed every session of its worker")
        in_doubt = ops.take(ops.type.are(OpType.INFO) & ~ops.session.are(None))
        told = np.isin(in_doubt.nonce.codes, history.services.nonce.codes_in(ops.nonce))
        unseen = set(in_doubt.nonce[~told].tolist()) if len(history.services) else set()
        telling = ops.command.are(*KEY_COMMANDS, *WHOLE_COMMANDS) | ops.outcome.are("SessionLost")
        answered = visited = placed = sessions = 0
        verdicts: list[Verdict] = []
        examples: list[str] = []
        expired = expired_sessions(history)
        for session, of_session in calls_by_session(history, telling):
            if session in expired:
                continue
            sessions += 1
            for what, calls in _parts(_judged(of_session, unseen)):
                found = find_order(calls, most_visited=self.most_visited)
                answered, visited, placed = answered + found.answered, visited + found.visited, placed + found.placed
                if found.answered:
                    verdicts.append(found.verdict)
                if found.verdict is not Verdict.PASS:
                    where = f"session {session!r}{what}"
                    examples.append(_describe(where, found, {op.index: op for op in of_session}))
        figures: dict[str, float | int | str] = {
            "sessions": sessions,
            "answers": answered,
            "in_order": placed,
            "visited": visited,
        }
        if not verdicts:
            return finding(self, Verdict.UNKNOWN, "no answer showed the state of a session", figures=figures)
        match worst(verdicts):
            case Verdict.PASS:
                claim = f"{answered} answers of {sessions} sessions can be explained by one order of the calls"
                return finding(self, Verdict.PASS, claim, figures=figures)
            case Verdict.UNKNOWN:
                claim = f"no order within {self.most_visited} steps of search; {placed} of {answered} answers have one"
                return finding(self, Verdict.UNKNOWN, claim, figures=figures, examples=examples)
            case Verdict.FAIL:
                claim = f"no order explains the answers of {verdicts.count(Verdict.FAIL)} sessions or keys"
                return finding(self, Verdict.FAIL, claim, figures=figures, examples=examples)


def _judged(ops: Sequence[SessionCall], unseen: set[str]) -> Iterator[SessionCall]:
    # Leaves out the calls that did not happen and the calls whose effect no other call can see.
    lost_ns = min((op.invoked_ns for op in ops if op.outcome == "SessionLost"), default=None)
    for op in ops:
        if lost_ns is not None and op.invoked_ns >= lost_ns:
            continue
        if op.type is OpType.OK and lost_ns is not None and (op.completed_ns or lost_ns) >= lost_ns:
            op = msgspec.structs.replace(op, type=OpType.INFO)  # the call may have run before or after the loss
        if op.type is OpType.FAIL:
            continue
        if op.type is OpType.INFO:
            never = op.args.get("nonce") == op.nonce and op.nonce in unseen
            if op.command in READ_COMMANDS or never:
                continue
        yield op


def _parts(ops: Iterable[SessionCall]) -> Iterator[tuple[str, list[Call]]]:
    ops = list(ops)
    if any(op.command in WHOLE_COMMANDS for op in ops):
        yield "", _as_calls(ops)
        return
    keys: dict[str, list[SessionCall]] = defaultdict(list)
    for op in ops:
        keys[op.key].append(op)
    for key, of_key in keys.items():
        yield f", key {key!r}", _as_calls(of_key)


def _as_calls(ops: Sequence[SessionCall]) -> list[Call]:
    # Leaves out the unanswered puts that no answer shows. If such a put is in an order that explains all answers, the
    # order without it explains them too, so that leaving it out changes no verdict; but it shortens the search.
    read: set[tuple[str, bytes]] = set()
    there: set[str] = set()  # keys that an answer shows to be there, without their value
    appended = {op.key for op in ops if op.command == "append"}
    for op in ops:
        if op.type is not OpType.OK:
            continue
        value = op.value if isinstance(op.value, dict) else {}
        match op.command:
            case "get" if "value" in value:
                read.add((op.key, _canonical(value["value"])))
            case "get":
                there |= {op.key} if value.get("found") is not False else set()
            case "delete":
                there |= {op.key} if value.get("deleted") is not False else set()
            case "list":
                there.update(value.get("keys") or ())
            case "snapshot_session":
                read.update(_state_of(value.get("values")) or ())
    kept = []
    for op in ops:
        if op.command == "put" and op.type is OpType.INFO and op.key not in there:
            stored = _canonical(op.args.get("value"))
            if (op.key, stored) not in read and not (op.key in appended and stored.startswith(b"[")):
                continue
        kept.append(_as_call(op))
    return kept


def _describe(where: str, found: Found, ops: dict[int, SessionCall]) -> str:
    stuck = "; ".join(
        f"call {index} {ops[index].command}({ops[index].key}) -> {str(ops[index].value)[:80]}"
        for index in found.stuck[:3]
    )
    kind = (
        "the search reached its limit of steps"
        if found.verdict is Verdict.UNKNOWN
        else "none of these calls can come next"
    )
    return (
        f"{where}: {found.placed} of {found.answered} answers can be explained by one order of the calls; "
        f"after them {kind}: {stuck}"
    )


def _as_call(op: SessionCall) -> Call:
    returned = op.completed_ns if op.type is OpType.OK else None
    return Call(op.index, op.invoked_ns, returned, _step(op, returned is not None))


def _step(op: SessionCall, answered: bool) -> Step:
    # Answers with other fields than the shipped worker's are judged by the fields that both have.
    key = op.key
    value = op.value if answered and isinstance(op.value, dict) else {}
    match op.command:
        case "put":
            stored = _canonical(op.args.get("value"))
            return lambda state: _with(state, key, stored)
        case "get":
            got = _canonical(value["value"]) if "value" in value else None
            there = value.get("found")

            def get(state: State) -> State | None:
                held = _at(state, key)
                fits = got is None or got == (b"null" if held is None else held)
                return state if fits and there in (None, held is not None) else None

            return get
        case "append":
            more = _canonical(op.args.get("value"))
            whole = _canonical(value["values"]) if "values" in value else None

            def append(state: State) -> State | None:
                held = _at(state, key) or b"[]"
                if not held.startswith(b"["):
                    return None if answered else state
                values = held[:-1] + (b"," if len(held) > 2 else b"") + more + b"]"
                return _with(state, key, values) if whole in (None, values) else None

            return append
        case "delete":
            deleted = value.get("deleted")
            return lambda state: _with(state, key, None) if deleted in (None, _at(state, key) is not None) else None
        case "list":
            keys = value.get("keys")
            return lambda state: state if keys in (None, [name for name, _ in state]) else None
        case "snapshot_session":
            values = _state_of(value.get("values"))
            return lambda state: state if values in (None, state) else None
        case "restore_session":
            given = op.args.get("state")
            restored = _state_of(given.get("values")) if isinstance(given, dict) else None
            return lambda state: state if restored is None else restored
        case _:
            return lambda state: ()  # cleanup_session


def _state_of(values: Any) -> State | None:  # noqa: ANN401 - any JSON
    if not isinstance(values, dict):
        return None
    return tuple(sorted((name, _canonical(value)) for name, value in values.items()))


def _at(state: State, key: str) -> bytes | None:
    for name, value in state:
        if name == key:
            return value
    return None


def _with(state: State, key: str, value: bytes | None) -> State:
    others = [pair for pair in state if pair[0] != key]
    if value is not None:
        others.append((key, value))
        others.sort()
    return tuple(others)
