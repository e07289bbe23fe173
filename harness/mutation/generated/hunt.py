"""Plants generated mutants, and lets one test after another (the killers) try to find each. An entry point.

Mutants are drawn from all places in an order that the seed and the sources decide. Those at places that no run of the
survey executes, and those that are argued to be equivalent, are passed over.
"""

from __future__ import annotations

import difflib
import shutil
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from poolproof.harness.compare.jobs.jobs import PlannedRun, Progress
from poolproof.harness.mutation.generated.draw import all_places, digest, draw
from poolproof.harness.mutation.generated.equivalents import EQUIVALENTS, Equivalent, find_stale, reason_of
from poolproof.harness.mutation.generated.hunted import Attack, Hunt, Hunted, Outcome, Places
from poolproof.harness.mutation.generated.killers import Killer
from poolproof.harness.mutation.generated.survey import Survey, SurveyedRun
from poolproof.harness.mutation.generated.target import Slots, Target, TreeRuns
from poolproof.harness.mutation.generated.tree import DANGEROUS, Tree, fence
from poolproof.harness.mutation.operators.places import Place, mutate

DECIDED = (Outcome.KILLED, Outcome.TIMEOUT)


def hunt(
    sources: Mapping[str, str],
    survey: Survey,
    planned: Mapping[str, PlannedRun],
    killers: Sequence[Killer],
    out: Path,
    *,
    count: int,
    seed: int,
    packages: Collection[str],
    jobs: int,
    progress: Progress,
    every_killer: bool = False,
    equivalents: Sequence[Equivalent] = EQUIVALENTS,
) -> Hunt:
    """Plant `count` mutants, `jobs` runs at a time; a mutant's trail ends at its first killer unless `every_killer`."""
    began = time.monotonic()
    places = [place for place in all_places(sources) if place.package in packages]
    chosen, passed_over, argued = choose(places, sources, survey, seed=seed, count=count, equivalents=equivalents)
    progress.planned(len(chosen))
    slots = Slots(jobs)
    with Tree({}) as shipped, TreeRuns(shipped, planned, out / "good", slots) as good:

        def carry_out(number: int, place: Place, text: str) -> Hunted:
            name = f"{place.file}:{place.line} {place.operator}"
            progress.began(name)
            executing = survey.executing(place.file, place.shown_by)
            folder = out / f"mutant-{number}"
            with Tree({place.file: text}) as tree, TreeRuns(tree, planned, folder, slots) as runs:
                target = Target(
                    tree=tree,
                    runs=runs,
                    good=good,
                    survey=survey,
                    planned=planned,
                    executing=executing,
                    slots=slots,
                )
                attacks = lead(target, killers, every_killer=every_killer)
            mutant = describe(place, sources[place.file], text, attacks, len(executing))
            if mutant.outcome is not Outcome.KILLED:
                shutil.rmtree(folder, ignore_errors=True)
            progress.ended(name, mutant.outcome.value)
            return mutant

        with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="mutant") as executor:
            try:
                futures = [executor.submit(carry_out, number, *one) for number, one in enumerate(chosen, 1)]
                mutants = [future.result() for future in futures]
            except BaseException:
                slots.stopping.set()
                executor.shutdown(wait=False, cancel_futures=True)
                raise
    return Hunt(
        seed=seed,
        asked=count,
        packages=tuple(packages),
        sources=digest(sources),
        profile=survey.profile,
        killers=tuple(killer.name for killer in killers),
        mutants=(*mutants, *argued),
        places=count_places(places, survey),
        passed_over=passed_over,
        stale=find_stale(all_places(sources), equivalents),
        survey_runs=len(survey.runs),
        fenced=bool(fence()),
        duration_s=time.monotonic() - began,
    )


def choose(
    places: Sequence[Place],
    sources: Mapping[str, str],
    survey: Survey,
    *,
    seed: int,
    count: int,
    equivalents: Sequence[Equivalent] = EQUIVALENTS,
) -> tuple[list[tuple[Place, str]], tuple[str, ...], list[Hunted]]:
    """Draw until `count` mutants can be planted: their places and texts, why others were passed over, equivalents."""
    lines = {file: survey.executed_lines(file) for file in sources}
    chosen: list[tuple[Place, str]] = []
    passed_over: list[str] = []
    argued: list[Hunted] = []
    for place in draw(places, seed):
        if len(chosen) == count:
            break
        name = f"{place.file}:{place.line} {place.operator}"
        if lines[place.file].isdisjoint(place.shown_by):
            passed_over.append(f"{name}: no run executes it")
            continue
        if not fence() and any(word in place.statement for word in DANGEROUS):
            passed_over.append(f"{name}: it ends processes or deletes files, and there is no namespace to contain it")
            continue
        text = mutate(sources[place.file], place)
        if text is None:
            passed_over.append(f"{name}: it is not valid Python")
            continue
        reason = reason_of(place, equivalents)
        if reason:
            attacks = (Attack(killer="nobody", outcome=Outcome.EQUIVALENT, why=reason),)
            argued.append(describe(place, sources[place.file], text, attacks, len(_executing(survey, place)), reason))
            continue
        chosen.append((place, text))
    return chosen, tuple(passed_over), argued


def _executing(survey: Survey, place: Place) -> list[SurveyedRun]:
    return survey.executing(place.file, place.shown_by)


def lead(target: Target, killers: Sequence[Killer], *, every_killer: bool = False) -> tuple[Attack, ...]:
    """Try one killer after another on the mutant until one decides its outcome; all of them if `every_killer`."""
    attacks: list[Attack] = []
    for killer in killers:
        attacks.append(killer.attack(target))
        if attacks[-1].outcome in DECIDED and not every_killer:
            break
    return tuple(attacks)


def describe(
    place: Place, before: str, after: str, attacks: Sequence[Attack], executed_by: int, reason: str = ""
) -> Hunted:
    """The record of one mutant."""
    outcomes = [attack.outcome for attack in attacks]
    order = (Outcome.EQUIVALENT, Outcome.KILLED, Outcome.TIMEOUT, Outcome.UNDECIDED)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), place.file, place.file, lineterm="", n=1)
    return Hunted(
        operator=place.operator,
        package=place.package,
        file=place.file,
        line=place.line,
        statement=place.statement,
        change=place.change,
        diff="\n".join(lines),
        outcome=next((one for one in order if one in outcomes), Outcome.SURVIVED),
        executed_by=executed_by,
        attacks=tuple(attacks),
        reason=reason,
    )


def count_places(places: Sequence[Place], survey: Survey) -> tuple[Places, ...]:
    """Count the places of each package and operator, and those that the survey executed."""
    lines = {file: survey.executed_lines(file) for file in {place.file for place in places}}
    whole: Counter[tuple[str, str]] = Counter()
    executed: Counter[tuple[str, str]] = Counter()
    for place in places:
        whole[place.package, place.operator] += 1
        executed[place.package, place.operator] += not lines[place.file].isdisjoint(place.shown_by)
    return tuple(
        Places(package=package, operator=operator, places=number, executed=executed[package, operator])
        for (package, operator), number in sorted(whole.items())
    )
