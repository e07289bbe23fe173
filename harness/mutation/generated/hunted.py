"""The record of a hunt: each generated mutant, what was tried against it, and how many places no run executes.

Pure. Rules
1. A mutant is killed if a killer accuses it: the smoke test fails, the simulator finds a fault, a checker FAILs that
   passes on the unmutated pool, or the pools' answers differ as those of the unmutated pools do not.
2. A mutant whose runs do not end in time is a timeout, unless it was killed. A mutant of which only UNKNOWN was found
   is undecided: a comparison would not say SAFE, and no killer accuses it. All other mutants survived.
3. A place is executed if a run of the survey executed its statement. Mutants are planted at executed places only.
4. An equivalent is argued in equivalents.py and is not planted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from poolproof.harness.history.stats import Proportion, proportion

SCHEMA_VERSION = "1.0"


class Outcome(StrEnum):
    """The result for a mutant, or of one killer's attempt. ABSENT: this installation lacks the killer."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    UNDECIDED = "undecided"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"
    ABSENT = "absent"


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """What one killer did to a mutant: the outcome, why, the number of runs and the seconds that they took."""

    killer: str
    outcome: Outcome
    why: str = ""
    runs: int = 0
    duration_s: float = 0.0


class Hunted(msgspec.Struct, frozen=True, kw_only=True):
    """One generated mutant. `executed_by` counts the runs of the survey that executed the place."""

    operator: str
    package: str
    file: str
    line: int
    statement: str
    change: str
    diff: str
    outcome: Outcome
    executed_by: int
    attacks: tuple[Attack, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """The place and the operator, such as `pool_v2/pool.py:17 drop_raise`."""
        return f"{self.file}:{self.line} {self.operator}"

    @property
    def killer(self) -> Attack | None:
        """The first attack that decided the outcome."""
        return next((attack for attack in self.attacks if attack.outcome is self.outcome), None)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How many places of one package an operator could change, and how many of them the survey executed."""

    package: str
    operator: str
    places: int
    executed: int


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of a group of mutants. `detected` is the share that was killed or did not end in time."""

    group: str
    killed: int
    timeouts: int
    undecided: int
    survived: int
    equivalent: int
    detected: Proportion
    places: int
    not_executed: int


class Hunt(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. `sources` names the version of the sources; the same seed then gives the same mutants.

    `passed_over` are drawn mutants that were not planted, with the reason. `stale` are entries of equivalents.py that
    fit no place any more.
    """

    seed: int
    asked: int
    packages: tuple[str, ...]
    sources: str
    profile: str
    killers: tuple[str, ...]
    mutants: tuple[Hunted, ...]
    places: tuple[Places, ...]
    passed_over: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    survey_runs: int = 0
    fenced: bool = True
    duration_s: float = 0.0
    schema_version: str = SCHEMA_VERSION

    @property
    def planted(self) -> tuple[Hunted, ...]:
        """The mutants that were planted."""
        return tuple(mutant for mutant in self.mutants if mutant.outcome is not Outcome.EQUIVALENT)

    def having(self, outcome: Outcome) -> tuple[Hunted, ...]:
        """The mutants with this outcome."""
        return tuple(mutant for mutant in self.mutants if mutant.outcome is outcome)

    def tallies(self, of: str) -> tuple[Tally, ...]:
        """The outcomes by "operator" or "package", in alphabetical order, and of all together."""
        return tally(self.mutants, self.places, lambda one: str(getattr(one, of)))


def tally(
    mutants: Sequence[Hunted], places: Sequence[Places], group_of: Callable[[Hunted | Places], str]
) -> tuple[Tally, ...]:
    """Count outcomes by group, and those of all groups together as "all"."""
    groups = sorted({group_of(one) for one in mutants} | {group_of(one) for one in places})
    told = []
    for group in (*groups, "all"):
        own = [one.outcome for one in mutants if group in ("all", group_of(one))]
        here = [one for one in places if group in ("all", group_of(one))]
        found = own.count(Outcome.KILLED) + own.count(Outcome.TIMEOUT)
        told.append(
            Tally(
                group=group,
                killed=own.count(Outcome.KILLED),
                timeouts=own.count(Outcome.TIMEOUT),
                undecided=own.count(Outcome.UNDECIDED),
                survived=own.count(Outcome.SURVIVED),
                equivalent=own.count(Outcome.EQUIVALENT),
                detected=proportion(found, len(own) - own.count(Outcome.EQUIVALENT)),
                places=sum(one.places for one in here),
                not_executed=sum(one.places - one.executed for one in here),
            )
        )
    return tuple(told)
