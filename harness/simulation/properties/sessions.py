"""The rules of sessions: a map of maps that no worker's end, handover or snapshot may change. Pure.

For each session the rules keep every state that it may have: a change whose client was interrupted may have been made
or not. A `get` must show one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from poolproof.harness.simulation.plan import ITEMS, KEYS
from poolproof.harness.simulation.properties.observed import Rules

State = dict[str, int]
MOST_STATES = 64


class Known:
    """The states that one session may have, each with the unacknowledged changes that it contains."""

    def __init__(self) -> None:
        self.states: list[tuple[State, frozenset[int]]] = [({}, frozenset())]
        self.unsettled: list[tuple[int, str]] = []
        self.used_ns = 0
        self.operations = 0
        self.version = 0
        self.ended = False
        self.ended_ns = -1
        """When a client last ended the session, in nanoseconds; -1 if no client has."""

    def change(self, nonce: int, command: str) -> None:
        """Record that a worker has made a change, of which its client may never know."""
        made = [(_changed(state, nonce, command), open_ | {nonce}) for state, open_ in self.states]
        self.unsettled.append((nonce, command))
        self.states = _distinct([*self.states, *made]) if len(made) > 1 else [*self.states, *made]

    def settle(self, nonce: int, *, made: bool) -> None:
        """Record that the client has an outcome, which says whether the change was made."""
        self.unsettled = [each for each in self.unsettled if each[0] != nonce]
        kept = [(state, open_ - {nonce}) for state, open_ in self.states if (nonce in open_) is made]
        if kept:
            self.states = _distinct(kept)

    def may_be_empty(self) -> None:
        """Record that the session may have ended."""
        # A change that is not acknowledged yet may have been made before that end, or after it, or not at all.
        fresh: list[tuple[State, frozenset[int]]] = []
        for made in _subsets(self.unsettled):
            label = frozenset(nonce for nonce, _ in made)
            for first in range(len(made) + 1):
                state: State = {}
                for nonce, command in made[first:]:
                    state = _changed(state, nonce, command)
                fresh.append((state, label))
        self.states = _distinct([*self.states, *fresh])
        self.ended = True

    def reset(self) -> None:
        """Record that the session has ended."""
        self.states = [({}, frozenset())]
        self.ended = True


class SessionRules(Rules):
    """The rules of sessions: guarantees G17, G18 and G19."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.known: dict[str, Known] = {}
        self.expected: dict[int, list[State]] = {}
        self.ending: dict[str, set[int]] = {}
        ttl = self.seen.config.session_ttl_s
        self.ttl_ns = None if ttl is None else int(ttl * 1e9)

    def _session(self, name: str) -> Known:
        return self.known.setdefault(name, Known())

    def on_invoke(self, index: int, deadline_ns: int, until_ns: int) -> None:
        """A client begins an operation."""
        op = self.seen.ops[index]
        if op.session is not None:
            if op.kind == "end":
                self.ending.setdefault(op.session, set()).add(index)
            known = self._session(op.session)
            if self.ttl_ns is not None and self.seen.now_ns - known.used_ns >= self.ttl_ns:
                known.may_be_empty()

    def on_own(self, number: int, session: str) -> None:
        """The pool ends a session that nobody uses."""
        idle_ns = self.seen.now_ns - self._session(session).used_ns
        if self.ttl_ns is None or idle_ns < self.ttl_ns:
            self.wrong("G17", f"session {session} is ended after {idle_ns / 1e6} ms without a call")

    def on_execute(self, worker_id: int, request_id: int, nonce: int, command: str, session: str | None) -> None:
        """A worker has executed a request."""
        if session is None:
            return
        known = self._session(session)
        if nonce < 0:
            if command == "cleanup_session" and not self.seen.plan.traits["no_cleanup"]:
                if not self.ending.get(session) and self.ttl_ns is None:
                    return  # a worker that had the state of an ended session
                known.may_be_empty()
            return
        if self.seen.arrived.get(nonce, [request_id])[0] != request_id:
            return  # a handover repeats a change
        if self.ending.get(session):
            known.may_be_empty()
        if command in ("put", "append") and self.seen.ops[nonce // ITEMS].kind != "bad_put":
            known.change(nonce, command)
        elif command == "get":
            self.expected[nonce] = [state for state, _ in known.states]

    def on_outcome(self, index: int, item: int, outcome: str, sent: str, value: Any) -> None:  # noqa: ANN401
        """A client has the outcome of a call."""
        op = self.seen.ops[index]
        if op.session is None:
            return
        known = self._session(op.session)
        nonce = index * ITEMS + item
        known.used_ns = self.seen.now_ns
        if outcome in ("result", "CommandError"):
            known.operations += 1
        changes = op.kind in ("put", "append", "batch_put")
        if changes and outcome == "result":
            known.version += 1
            known.settle(nonce, made=True)
        elif changes and outcome != "Cancelled":
            known.settle(nonce, made=False)  # its worker has ended, and with it what nobody was told of
        elif outcome == "result" and op.kind == "get":
            state = value[1] if isinstance(value, list) and len(value) == 2 else value
            known_states = self.expected.get(nonce, [])
            if state not in known_states and len(known_states) < MOST_STATES and not self.ending.get(op.session):
                self.wrong("G18", f"session {op.session} shows {state}; it may be {known_states[:3]}")
            # What was seen once stays, unless the session has ended while the call was under way.
            if self.seen.exact and known.ended_ns < self.seen.seen[index].invoked_ns:
                known.states = [each for each in known.states if each[0] == state] or known.states
        elif outcome == "SessionLost":
            small = self.seen.config.session_log_bytes < 2**20
            if not small and len(self.seen.plan.deaths) < 3 and not self.seen.plan.traits["no_cleanup"]:
                self.wrong("G17", f"operation {index} got SessionLost, although the session's state was not lost")

    def on_ended(self, index: int, session: str, found: int) -> None:
        """A client has ended a session."""
        self.ending.get(session, set()).discard(index)
        known = self._session(session)
        known.used_ns = known.ended_ns = self.seen.now_ns
        if self.seen.exact and not self.seen.interrupted:
            known.reset() if not self._in_use(session, index) else known.may_be_empty()
        else:
            known.may_be_empty()

    def _in_use(self, session: str, index: int) -> bool:
        return any(op.op.session == session and not op.ended and op.op.index != index for op in self.seen.seen.values())

    def on_end(self, index: int) -> None:
        """A client has ended an operation."""
        op = self.seen.ops[index]
        if op.kind == "end" and op.session is not None and index in self.ending.get(op.session, set()):
            self.ending[op.session].discard(index)  # interrupted: ended or not
            self._session(op.session).may_be_empty()

    def on_final(
        self, submitted: int, in_flight: int, outcomes: dict[str, int], sessions: list[Any], state: str
    ) -> None:
        """The pool is closed, and every client has ended."""
        if self.seen.interrupted or self.ttl_ns is not None:
            return
        for name, operations, version in sessions:
            known = self._session(name)
            if known.ended:
                continue
            if operations != known.operations:
                self.wrong("G19", f"session {name} has {known.operations} answered calls; the table says {operations}")
            if version != known.version:
                self.wrong("G19", f"session {name} has {known.version} changes; the table says {version}")
        listed = {name for name, _, _ in sessions}
        for name, known in self.known.items():
            if name not in listed and known.operations and not known.ended:
                self.wrong("G17", f"session {name} is gone from the table")


def _changed(state: State, nonce: int, command: str) -> State:
    key = f"k{nonce % KEYS}"
    return state | {key: nonce if command == "put" else (state.get(key, 0) * 31 + nonce) % 2**40}


def _subsets(changes: list[tuple[int, str]]) -> Iterator[tuple[tuple[int, str], ...]]:
    # All of them, in the order of the changes; of more than four changes only all and none.
    for size in range(len(changes) + 1) if len(changes) <= 4 else (0, len(changes)):
        yield from combinations(changes, size)


def _distinct(states: list[tuple[State, frozenset[int]]]) -> list[tuple[State, frozenset[int]]]:
    if len(states) == 1:
        return states
    found = {(frozenset(state.items()), open_): (state, open_) for state, open_ in states}
    return list(found.values())[-MOST_STATES:]
