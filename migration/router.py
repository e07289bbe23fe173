"""Chooses the pool of a call: one table for sessions, one rule for calls outside sessions.

Pure and stateless: the session's current home is an argument. Rules

1. The mode at a call's entry decides its pool. The call ends on that pool, even if the mode changes.
2. A new session is assigned a pool once; in a canary, by the hash of its id. It stays there as long as the mode uses
   that pool, even if the canary's share changes. So no session is on both pools.
3. A session moves only if its pool no longer serves, with its next call, as the plan says.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from poolproof.migration.plan import Mode, Moving, Plan, Position, Side


class Home(StrEnum):
    """Where the state of a session is: nowhere yet, in a pool, or only in the log of acknowledged commands."""

    NEW = "new"
    V1 = "v1"
    V2 = "v2"
    LOG = "log"


class Act(StrEnum):
    """What happens to a session before its next call: it begins or stays on the pool, is rebuilt there, or is lost."""

    GO = "go"
    REBUILD = "rebuild"
    LOSE = "lose"


class Route(msgspec.Struct, frozen=True):
    """The pool of a session's next call, and what must be done first."""

    side: Side
    act: Act = Act.GO


class Rule(StrEnum):
    """The rules that TABLE refers to."""

    TO_V1 = "to v1"
    TO_V2 = "to v2"
    BY_HASH = "by hash"
    FORWARD = "as plan.forward says"
    BACK = "as plan.back says"


TABLE: dict[tuple[Mode, Home], Rule] = {
    **{(mode, Home.NEW): Rule.TO_V1 for mode in (Mode.V1, Mode.SHADOW)},
    **{(mode, Home.V1): Rule.TO_V1 for mode in (Mode.V1, Mode.SHADOW)},
    **{(mode, Home.V2): Rule.BACK for mode in (Mode.V1, Mode.SHADOW)},
    **{(mode, Home.LOG): Rule.TO_V1 for mode in (Mode.V1, Mode.SHADOW)},
    (Mode.CANARY, Home.NEW): Rule.BY_HASH,
    (Mode.CANARY, Home.V1): Rule.TO_V1,
    (Mode.CANARY, Home.V2): Rule.TO_V2,
    (Mode.CANARY, Home.LOG): Rule.BY_HASH,
    (Mode.V2, Home.NEW): Rule.TO_V2,
    (Mode.V2, Home.V1): Rule.FORWARD,
    (Mode.V2, Home.V2): Rule.TO_V2,
    (Mode.V2, Home.LOG): Rule.TO_V2,
}


def route_session(position: Position, plan: Plan, session_id: str, home: Home) -> Route:
    """Return the route of a session's next call."""
    match TABLE[position.mode, home]:
        case Rule.TO_V1:
            side = Side.V1
        case Rule.TO_V2:
            side = Side.V2
        case Rule.BY_HASH:
            side = Side.V2 if bucket(session_id) < position.percent else Side.V1
        case Rule.FORWARD:
            return _move(plan.forward, Side.V1, Side.V2)
        case Rule.BACK:
            return _move(plan.back, Side.V2, Side.V1)
    return Route(side, Act.REBUILD if home is Home.LOG else Act.GO)


def route_call(position: Position, rank: int) -> Side:
    """Return the pool of a call outside sessions; `rank` is its place (0 to 99) in its hundred (spread.Spread)."""
    if position.mode is Mode.CANARY:
        return Side.V2 if rank < position.percent else Side.V1
    return Side.V2 if position.mode is Mode.V2 else Side.V1


def bucket(session_id: str) -> int:
    """Map a session id to 0..99, the same in every process; a canary of P percent takes the sessions below P."""
    return int.from_bytes(hashlib.blake2b(session_id.encode("utf-8", "surrogatepass"), digest_size=4).digest()) % 100


def _move(moving: Moving, here: Side, there: Side) -> Route:
    match moving:
        case Moving.STAY:
            return Route(here)
        case Moving.HANDOVER:
            return Route(there, Act.REBUILD)
        case Moving.LOST:
            return Route(there, Act.LOSE)
