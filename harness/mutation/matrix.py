"""The kill matrix: the checkers that accused each mutant, by scenario, and the conclusions about the harness.

Pure. Rules
1. A checker accuses a mutant if it FAILs on the mutant and PASSes on the unmutated pool with the same scenario, seed,
   face and observer setting. The run of the unmutated pool must pass as a whole, except for declared weaknesses.
   UNKNOWN is no accusation. A mutant whose own code failed, or that was never executed, is not accused.
2. A mutant is killed with a seed if any checker accuses it.
3. A mutant shows that a guarantee is guarded if it breaks the guarantee, and if with each seed a checker of that
   guarantee accuses it.
4. A false alarm is an undeclared FAIL on an unmutated or an equivalent pool.
5. A mutant whose own code failed in each of its runs with a seed is an error of the self-check, not a survivor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.mutant import EXECUTE, FIXES, GUARANTEES, Mutant

SCHEMA_VERSION = "2.1"
WANTED_RATE = 0.95


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's finding in one run. `declared` is the reason why the unmutated pool may fail it."""

    checker: str
    verdict: Verdict
    claim: str
    guarantees: tuple[str, ...] = ()
    declared: str = ""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run: of a mutant, or of the unmutated pool if `mutant` is empty.

    `trouble` says what went wrong with the run, `broken` what went wrong with the mutant's own code.
    """

    pool: str
    mutant: str = ""
    scenario: str
    seed: int
    face: str = EXECUTE
    observed: bool = False
    judgements: tuple[Judgement, ...] = ()
    trouble: str = ""
    broken: str = ""
    duration_s: float = 0.0
    folder: str = ""

    @property
    def control(self) -> tuple[str, str, int, str, bool]:
        """The values that a mutant's run shares with its run on the unmutated pool."""
        return self.pool, self.scenario, self.seed, self.face, self.observed

    @property
    def alarms(self) -> tuple[Judgement, ...]:
        """The failures that were not declared."""
        return tuple(j for j in self.judgements if j.verdict is Verdict.FAIL and not j.declared)

    @property
    def verdict(self) -> Verdict:
        """FAIL with an alarm, UNKNOWN if anything is undecided, else PASS."""
        if self.alarms:
            return Verdict.FAIL
        undecided = self.trouble or self.broken or not self.judgements
        if undecided or any(j.verdict is Verdict.UNKNOWN for j in self.judgements):
            return Verdict.UNKNOWN
        return Verdict.PASS


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one mutant. `killers` are `scenario:checker`, with the number of seeds in which each accused it.

    `shows` are the guarantees in `breaks` that it shows to be guarded (rule 3); `aimed` counts the seeds in which a
    checker of one of `breaks` accused it. `survived` are the seeds in which no checker accused it, and `why` is the
    reason in one of them.
    `broken` is the error of the mutant's own code, by rule 5.
    """

    mutant: str
    pool: str
    about: str
    breaks: tuple[str, ...]
    fix: str = ""
    face: str = EXECUTE
    observed: bool = False
    seeds: int = 0
    killed: int = 0
    killers: dict[str, int] = {}
    shows: tuple[str, ...] = ()
    aimed: int = 0
    survived: tuple[int, ...] = ()
    why: str = ""
    broken: str = ""

    @property
    def by_its_guarantee(self) -> bool:
        """Whether with each seed a checker of a guarantee that the mutant breaks has accused it."""
        return self.aimed == self.seeds > 0


class FalseAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An accusation of a good pool."""

    pool: str
    equivalent: str
    scenario: str
    seed: int
    face: str = EXECUTE
    observed: bool = False
    checker: str
    claim: str
    folder: str = ""


Controls = dict[tuple[str, str, int, str, bool], Cell]
"""The runs of unmutated pools, by `Cell.control`."""


class KillMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. Rates are from 0 to 1; `lowest_detection_rate` is that of the worst seed.

    `guarantees` has the mutants that show each guarantee, `fixes` the mutants of each fix that were killed with every
    seed. `good_runs` counts runs of unmutated and equivalent pools; `undecided` are those without a decision. `unseen`
    are declared weaknesses that no run has shown.
    """

    schema_version: str = SCHEMA_VERSION
    profile: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    guarantees: dict[str, tuple[str, ...]]
    fixes: dict[str, tuple[str, ...]]
    detection_rate: float
    lowest_detection_rate: float
    good_runs: int
    false_alarms: tuple[FalseAlarm, ...]
    undecided: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    whole: bool = True
    duration_s: float = 0.0

    @property
    def false_alarm_rate(self) -> float:
        """The share of good pools' runs that were accused."""
        accused = {(a.pool, a.equivalent, a.scenario, a.seed, a.face, a.observed) for a in self.false_alarms}
        return len(accused) / self.good_runs if self.good_runs else 0.0

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """The defects of the harness that the matrix shows; empty if none."""
        found = []
        if self.rows and self.lowest_detection_rate < WANTED_RATE:
            found.append(
                f"{self.lowest_detection_rate:.1%} of the mutants were found; at least {WANTED_RATE:.0%} must be"
            )
        missing = [name for name, killed in {**self.guarantees, **self.fixes}.items() if not killed]
        if missing:
            found.append(
                f"no mutant was found that breaks these guarantees or undoes these fixes: {', '.join(missing)}"
            )
        broken = [f"{row.pool}.{row.mutant}: {row.broken}" for row in self.rows if row.broken]
        if broken:
            found.append(f"{len(broken)} mutants are broken: {'; '.join(broken)}")
        if self.false_alarms:
            found.append(f"{len(self.false_alarms)} false alarms")
        return tuple(found)

    @property
    def verdict(self) -> Verdict:
        """FAIL if the harness has a shortcoming, UNKNOWN if a good run is undecided, else PASS: it can be trusted."""
        if self.shortcomings:
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.undecided or not self.cells else Verdict.PASS


def way_text(face: str, *, observed: bool) -> str:
    """The face and the observer of a run in words; empty for `execute` without an observer."""
    return (f" through {face}" if face != EXECUTE else "") + (" observed" if observed else "")


def accusers(cell: Cell, control: Cell | None) -> tuple[Judgement, ...]:
    """The judgements that accuse the mutant of this cell, by rule 1."""
    if control is None or cell.broken or control.verdict is not Verdict.PASS:
        return ()
    passed = {j.checker for j in control.judgements if j.verdict is Verdict.PASS}
    return tuple(j for j in cell.judgements if j.verdict is Verdict.FAIL and j.checker in passed)


def build_matrix(
    mutants: Sequence[Mutant], cells: Iterable[Cell], *, profile: str, seeds: Sequence[int], whole: bool = True
) -> KillMatrix:
    """Build the matrix from the cells. `whole`: all mutants were tried, so every guarantee must have a mutant."""
    cells = tuple(cells)
    controls = {c.control: c for c in cells if not c.mutant}
    bugs = [mutant for mutant in mutants if not mutant.equivalent]
    rows = tuple(_row(mutant, cells, controls, seeds) for mutant in bugs)
    dead = [row for row in rows if row.killed == row.seeds > 0]
    wanted = GUARANTEES if whole else tuple(g for g in GUARANTEES if any(g in mutant.breaks for mutant in bugs))
    fixes = FIXES if whole else tuple(fix for fix in FIXES if any(fix == mutant.fix for mutant in bugs))
    per_seed = [sum(seed not in row.survived for row in rows) / len(rows) for seed in seeds] if rows else []
    equivalents = {mutant.key for mutant in mutants if mutant.equivalent}
    good = [c for c in cells if not c.mutant or f"{c.pool}.{c.mutant}" in equivalents]
    return KillMatrix(
        profile=profile,
        seeds=tuple(seeds),
        rows=rows,
        cells=cells,
        guarantees={g: tuple(f"{r.pool}.{r.mutant}" for r in rows if g in r.shows) for g in wanted},
        fixes={fix: tuple(f"{r.pool}.{r.mutant}" for r in dead if r.fix == fix) for fix in fixes},
        detection_rate=sum(per_seed) / len(per_seed) if per_seed else 0.0,
        lowest_detection_rate=min(per_seed, default=0.0),
        good_runs=len(good),
        false_alarms=tuple(
            FalseAlarm(
                pool=c.pool,
                equivalent=c.mutant,
                scenario=c.scenario,
                seed=c.seed,
                face=c.face,
                observed=c.observed,
                checker=j.checker,
                claim=j.claim,
                folder=c.folder,
            )
            for c in good
            for j in c.alarms
        ),
        undecided=tuple(_undecided(c) for c in good if c.verdict is Verdict.UNKNOWN),
        unseen=tuple(sorted(_unseen(controls.values()))),
        whole=whole,
    )


def _row(mutant: Mutant, cells: Sequence[Cell], controls: Controls, seeds: Sequence[int]) -> Row:
    own = [c for c in cells if (c.pool, c.mutant) == (mutant.pool, mutant.name)]
    killers: dict[str, int] = {}
    dead: set[int] = set()
    accused: dict[str, set[int]] = {guarantee: set() for guarantee in mutant.breaks}
    for cell in own:
        for judgement in accusers(cell, controls.get(cell.control)):
            name = f"{cell.scenario}:{judgement.checker}"
            killers[name] = killers.get(name, 0) + 1
            dead.add(cell.seed)
            for guarantee in set(judgement.guarantees) & set(mutant.breaks):
                accused[guarantee].add(cell.seed)
    survived = tuple(seed for seed in seeds if seed not in dead)
    return Row(
        mutant=mutant.name,
        pool=mutant.pool,
        about=mutant.about,
        breaks=mutant.breaks,
        fix=mutant.fix,
        face=mutant.face,
        observed=mutant.observed,
        seeds=len(seeds),
        killed=len(seeds) - len(survived),
        killers=dict(sorted(killers.items(), key=lambda item: (-item[1], item[0]))),
        shows=tuple(guarantee for guarantee in mutant.breaks if accused[guarantee] == set(seeds)),
        aimed=len(set[int]().union(*accused.values())),
        survived=survived,
        why=_why([c for c in own if c.seed in survived], controls),
        broken=next(filter(None, (_broken([c for c in own if c.seed == seed]) for seed in survived)), ""),
    )


def _broken(cells: Sequence[Cell]) -> str:
    return cells[0].broken if cells and all(cell.broken for cell in cells) else ""


def _why(survivors: Sequence[Cell], controls: Controls) -> str:
    for cell in survivors:
        control = controls.get(cell.control)
        if cell.broken:
            return f"{cell.scenario}: the mutant itself broke: {cell.broken}"
        if control is None or control.verdict is not Verdict.PASS:
            return f"{cell.scenario}: the unmutated pool did not pass"
        if cell.trouble:
            return f"{cell.scenario}: {cell.trouble}"
    return "every checker passed" if survivors else ""


def _undecided(cell: Cell) -> str:
    doubts = [j.checker for j in cell.judgements if j.verdict is Verdict.UNKNOWN]
    name = f"{cell.pool}.{cell.mutant}" if cell.mutant else cell.pool
    way = way_text(cell.face, observed=cell.observed)
    return f"{cell.scenario} on {name}{way}, seed {cell.seed}: {cell.trouble or cell.broken or ', '.join(doubts)}"


def _unseen(controls: Iterable[Cell]) -> set[str]:
    declared: dict[str, bool] = {}
    for cell in controls:
        for judgement in cell.judgements:
            if judgement.declared:
                name = f"{cell.pool}: {cell.scenario}:{judgement.checker}"
                declared[name] = declared.get(name, False) or judgement.verdict is Verdict.FAIL
    return {name for name, seen in declared.items() if not seen}
