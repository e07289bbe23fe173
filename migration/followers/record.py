"""What each process that follows a migration reports about itself, and whether that process counts as alive. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

FORMAT = 1
SILENT_S = 15.0
"""A living follower that has reported nothing for this many seconds is stale."""


class Life(StrEnum):
    """Whether a follower lives (it holds its lock), lives but says nothing, or ended without leaving."""

    FOLLOWING = "following"
    STALE = "stale"
    DEAD = "dead"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One follower: one migrating pool of one process, as it last described itself.

    `sequence` is the number of the entry in the state file that it applies (0: none), `position` the position.
    `calls` and `failed` are the calls of its callers that ended on each pool since it took that position, and `copies`
    and `mismatches` those of shadow mode. `started` and `heard` are seconds since 1970. `load` is the machine's load
    for each processor; `ramp` and `idempotent` are those of the follower's own plan. `flag` is the flag that sets the
    position, with its provider, and `wanted` the position that it has; empty if no flag does, or if it is not known.
    """

    format: int = FORMAT
    pid: int
    start_ticks: int
    host: str
    name: str
    started: float
    heard: float
    sequence: int = 0
    position: str = "v1"
    flag: str = ""
    wanted: str = ""
    since: float = 0.0
    calls: dict[str, int] = {}
    failed: dict[str, int] = {}
    copies: int = 0
    mismatches: int = 0
    sessions: dict[str, int] = {}
    ramp: tuple[int, ...] = ()
    idempotent: tuple[str, ...] = ()
    load: float = 0.0
    breach: str = ""
    trouble: str = ""

    @property
    def who(self) -> str:
        """The follower in words."""
        return f"process {self.pid} on {self.host} (pool {self.name!r})"


class Follower(msgspec.Struct, frozen=True, kw_only=True):
    """A record with the state of its process. `silent_s` is the time since it last described itself."""

    record: Record
    life: Life
    silent_s: float

    def follows(self, sequence: int, position: str) -> bool:
        """Whether the follower is known to apply this entry of the state file now."""
        record = self.record
        applies = (record.sequence, record.position) == (sequence, position)
        return self.life is Life.FOLLOWING and applies and not record.flag

    @property
    def obeys(self) -> bool:
        """Whether the follower is known to apply what its flag says."""
        return self.life is Life.FOLLOWING and not self.record.trouble

    def describe(self) -> str:
        """Return one line: which process it is, the position that it applies, and the calls that it has served."""
        record = self.record
        told = f"{record.who} applies {record.position}, {self._reason()}"
        match self.life:
            case Life.DEAD:
                return f"{record.who} ended without leaving; its last position was {record.position}"
            case Life.STALE:
                return f"{told}, but has said nothing for {self.silent_s:.0f} s"
            case Life.FOLLOWING:
                served = ", ".join(
                    f"{side} {record.calls.get(side, 0)} calls ({record.failed.get(side, 0)} failed)"
                    for side in ("v1", "v2")
                )
                copies = f"; {record.copies} copies compared, {record.mismatches} differed" if record.copies else ""
                homes = ", ".join(f"{home} {count}" for home, count in sorted(record.sessions.items()))
                return f"{told}; since then {served}{copies}" + (f"; sessions: {homes}" if homes else "")

    def _reason(self) -> str:
        record = self.record
        if not record.flag:
            return f"number {record.sequence}"
        if not record.wanted:
            return f"while {record.flag} is not known"
        return f"{'as' if record.wanted == record.position else 'although'} {record.flag} says {record.wanted}"


def set_by(flag: str) -> str:
    """Return the sentence that refuses a change because a flag sets the position."""
    return f"the position is set by {flag}; change it there"


def judge(record: Record, *, held: bool, now_s: float) -> Follower:
    """Return the follower with the state of its process. `held` says whether the process still holds its lock."""
    silent_s = max(0.0, now_s - record.heard)
    life = Life.DEAD if not held else Life.STALE if silent_s > SILENT_S else Life.FOLLOWING
    return Follower(record=record, life=life, silent_s=silent_s)
