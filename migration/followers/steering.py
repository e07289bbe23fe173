"""Changes the state of a migration from outside its processes, and reports which processes have followed.

A change is refused, and nothing is written, where a flag sets the position, where no living process follows the state,
where no migration has begun (only `start` begins one), and where the change makes no sense at the present step. After a
change, the command waits until every living follower applies it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from poolproof.migration.followers.place import SUFFIX, user_folder
from poolproof.migration.followers.record import Follower, Life, set_by
from poolproof.migration.followers.registry import find_followers
from poolproof.migration.plan import Mode, Plan, Position
from poolproof.migration.state import Entry, StateError, StateFile, whoami

POLL_S = 0.05


class Refused(StateError):
    """The change makes no sense now. Nothing was written."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a migration and its followers, as found at one moment."""

    entry: Entry | None
    followers: tuple[Follower, ...]

    @property
    def living(self) -> tuple[Follower, ...]:
        """The followers that hold their locks."""
        return tuple(follower for follower in self.followers if follower.life is not Life.DEAD)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that set the position of living followers."""
        return tuple(sorted({one.record.flag for one in self.living} - {""}))

    @property
    def by_file(self) -> bool:
        """Whether the state file sets the position of a living follower. If no follower lives, nobody knows: True."""
        return not self.living or any(not one.record.flag for one in self.living)

    @property
    def behind(self) -> tuple[Follower, ...]:
        """The living followers that are not known to apply the active entry of the state file, or else their flag."""
        entry = self.entry
        if not self.by_file:
            return tuple(one for one in self.living if not one.obeys)
        if entry is None or entry.trouble:
            return tuple(one for one in self.living if one.record.sequence or one.life is Life.STALE)
        return tuple(one for one in self.living if not one.follows(entry.sequence, str(entry.position)))

    @property
    def followed(self) -> bool:
        """Whether at least one process follows the state, and every process that does applies the active entry."""
        return bool(self.living) and not self.behind

    @property
    def begun(self) -> bool:
        """Whether the migration has begun, even if its file was removed since."""
        return self.entry is not None or any(one.record.sequence for one in self.living)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was written, and what was found when the waiting ended."""

    written: Entry
    survey: Survey

    @property
    def replaced(self) -> bool:
        """Whether another user or process has changed the state since this change."""
        entry = self.survey.entry
        return entry is None or entry.sequence != self.written.sequence


class Steering:
    """Steers one migration. `unfollowed`: change the state even if no process follows it."""

    def __init__(self, file: StateFile, plan: Plan, *, unfollowed: bool = False) -> None:
        self.file = file
        self._plan = plan
        self._unfollowed = unfollowed

    def survey(self) -> Survey:
        """Read the state and the register of followers. Raises StateError if the register cannot be read."""
        try:
            followers = tuple(find_followers(self.file.followers_path))
        except OSError as error:
            raise StateError(f"{self.file.followers_path} cannot be read: {error.strerror}") from error
        return Survey(entry=self.file.read(), followers=followers)

    def flag(self, found: Survey) -> str:
        """Return the flags that set the position, as the processes that follow say; without them, the plan's flag."""
        if found.living:
            return " and ".join(found.flags)
        return f"the flag {self._plan.flag!r}" if self._plan.flag else ""

    def next_step(self, found: Survey) -> Position | None:
        """Return the position of `promote` by the followers' own ramp; without followers, by this plan's."""
        plan = self._plan
        if (ramp := next((one.record.ramp for one in found.living), ())) != ():
            plan = msgspec.structs.replace(plan, ramp=ramp)
        return plan.next_step(Position() if found.entry is None else found.entry.position)

    def start(self, why: str, who: str = "") -> Entry:
        """Begin the migration with shadow mode. Raises Refused."""
        found = self._examine()
        entry = found.entry
        if entry is None and found.begun:
            raise Refused(self._removed(found))
        if entry is not None and entry.trouble:
            raise Refused(f"{entry.trouble}; `poolproof migrate rollback` writes it again")
        if entry is not None and entry.mode is not Mode.V1:
            raise Refused(
                f"the migration stands at {entry.position} already; `poolproof migrate promote` takes the next step, "
                "`rollback` returns to v1"
            )
        return self._write(found, Position(Mode.SHADOW), why, who)

    def move(self, position: Position, why: str, who: str = "") -> Entry:
        """Go to the position. Raises Refused."""
        found = self._examine()
        entry = self._require_begun(found)
        if entry.paused and position.percent_of_v2 > entry.position.percent_of_v2:
            raise Refused(f"the migration is paused: {entry.paused}; `poolproof migrate resume` first")
        return self._write(found, position, why, who)

    def promote(self, why: str, who: str = "") -> Entry:
        """Take the plan's next step. Raises Refused."""
        found = self._examine()
        entry = self._require_begun(found)
        if entry.trouble:
            raise Refused(f"{entry.trouble}, so the next step is unknown")
        if entry.paused:
            raise Refused(f"the migration is paused: {entry.paused}; `poolproof migrate resume` first")
        if len(ramps := {one.record.ramp for one in found.living}) > 1:
            told = " and ".join(str(list(ramp)) for ramp in sorted(ramps))
            raise Refused(f"the processes have different ramps: {told}; name the step, as in `migrate canary 25`")
        following = self.next_step(found)
        if following is None:
            raise Refused("v2 serves everything already; there is no next step")
        self._require_followed(found)
        return self._write(found, following, why, who)

    def roll_back(self, why: str, who: str = "") -> Entry:
        """Return to v1, whatever the state is. Raises Refused if there is nothing to return from."""
        found = self._examine(back=True)
        if not found.begun:
            raise Refused(self.not_begun(found))
        return self._write(found, Position(), why, who)

    def pause(self, why: str, who: str = "") -> Entry:
        """Keep the position, and allow no promotion until `resume`. Raises Refused."""
        found = self._examine()
        entry = self._require_begun(found)
        if entry.trouble or entry.mode is Mode.V1:
            raise Refused(entry.trouble or "v1 serves everything, so there is nothing to pause")
        return self._write(found, entry.position, why, who, paused=why)

    def resume(self, why: str, who: str = "") -> Entry:
        """End the pause; the limits begin anew. Raises Refused."""
        found = self._examine()
        entry = self._require_begun(found)
        if not entry.paused:
            raise Refused(f"the migration is not paused; it stands at {entry.position}")
        return self._write(found, entry.position, why, who)

    def finish(self, why: str, who: str = "") -> Entry:
        """Declare that v2 serves for good. Raises Refused unless every follower applies v2 and v1 has no session."""
        found = self._examine()
        entry = self._require_begun(found)
        if entry.trouble or entry.mode is not Mode.V2:
            raise Refused(entry.trouble or f"the migration stands at {entry.position}; only v2 can be finished")
        self._require_followed(found)
        for follower in found.living:
            if count := follower.record.sessions.get("v1", 0):
                raise Refused(
                    f"{follower.record.who} still has {count} sessions on v1; end them, or wait for their calls"
                )
        return self._write(found, entry.position, why, who, finished=True)

    def wait(self, written: Entry, wait_s: float, *, now: Callable[[], float] = time.monotonic) -> Outcome:
        """Wait until every follower applies the entry or the state is changed again, for at most `wait_s` seconds."""
        until_s = now() + wait_s
        while True:
            outcome = Outcome(written=written, survey=self.survey())
            if outcome.replaced or outcome.survey.followed or now() >= until_s or not outcome.survey.living:
                return outcome
            time.sleep(POLL_S)

    def _examine(self, *, back: bool = False) -> Survey:
        # Refuses a change where a flag sets the position. While some processes still follow the file, they can go back.
        found = self.survey()
        if (flag := self.flag(found)) and not (back and found.living and found.by_file):
            raise Refused(set_by(flag))
        return found

    def _require_begun(self, found: Survey) -> Entry:
        if found.entry is None:
            raise Refused(self._removed(found) if found.begun else self.not_begun(found))
        if found.entry.finished:
            raise Refused("the migration is finished: v2 serves for good; `poolproof migrate rollback` opens it again")
        return found.entry

    def _require_followed(self, found: Survey) -> None:
        if found.behind and not self._unfollowed:
            told = "; ".join(one.describe() for one in found.behind)
            raise Refused(f"not every process follows the present step, so the next one must wait: {told}")

    def _removed(self, found: Survey) -> str:
        told = "; ".join(one.describe() for one in found.living)
        return f"{self.file.path} was removed, but is followed: {told}; `poolproof migrate rollback` writes it again"

    def not_begun(self, found: Survey) -> str:
        """Return the message that no migration has begun; without followers it also names migrations that have some."""
        if flag := self.flag(found):
            return f"{set_by(flag)}; {self.nobody(found)}"
        told = f"there is no {self.file.path}: no migration has begun; `poolproof migrate start` begins one"
        return told if found.living else f"{told}; {self.nobody(found)}"

    def _write(
        self,
        found: Survey,
        position: Position,
        why: str,
        who: str,
        *,
        paused: str = "",
        finished: bool = False,
    ) -> Entry:
        if not why.strip():
            raise Refused("--why '': a change of a migration needs a reason")
        if not found.living and not self._unfollowed:
            raise Refused(f"{self.nobody(found)}; nothing was changed (--unfollowed changes the state all the same)")
        entry = found.entry
        return self.file.write(
            position,
            who=who or whoami(),
            why=why,
            expected=None if position.mode is Mode.V1 else 0 if entry is None else entry.sequence,
            above=max((one.record.sequence for one in found.living), default=0),
            paused=paused,
            finished=finished,
        )

    def nobody(self, found: Survey) -> str:
        """Return the message that no living process follows, with earlier followers and other followed migrations."""
        told = f"no process follows {self.file.path}"
        if found.followers:
            told += f" ({'; '.join(one.describe() for one in found.followers[-3:])})"
        if others := [name for name in followed_names() if user_folder() / f"{name}{SUFFIX}" != self.file.path]:
            told += f"; processes follow these migrations: {', '.join(others)} (--name)"
        if os.geteuid() == 0 and (user := os.environ.get("SUDO_USER")):
            told += f"; `sudo -u {user} poolproof migrate status` looks at the migrations of {user}"
        return told


def followed_names() -> list[str]:
    """Return the names of this user's migrations that a living process follows."""
    try:
        folders = sorted(user_folder().glob(f"*{SUFFIX}.followers"))
        return [
            folder.name.removesuffix(f"{SUFFIX}.followers")
            for folder in folders
            if any(one.life is not Life.DEAD for one in find_followers(folder))
        ]
    except (OSError, StateError):
        return []
