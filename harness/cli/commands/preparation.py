"""Prepares a comparison: from the words of the command line to scenarios, pools, and generated runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolproof.harness.cli.commands.options import Profile
from poolproof.harness.cli.commands.requests import build_request
from poolproof.harness.compare.catalogue import all_scenarios, find_scenarios, known_failures
from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.declared import declare, entries_of, read_ledger
from poolproof.harness.explore.choosing import EXPLORED, Chosen, choose_runs
from poolproof.harness.explore.found import Found
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.pool.configuration import require_startable
from poolproof.harness.run.request import Request, Subject
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import DEFAULT_SUITE

MOST_EXPLORED = 100_000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a comparison runs. `generated` are runs on the candidate alone, made from the seed.

    `total` is the number of scenarios of the suite; None if all scenarios come from the user's own files.
    """

    scenarios: Sequence[Scenario]
    baseline: Subject
    candidate: Subject
    request: Request
    generated: Sequence[Chosen]
    total: int | None

    def remember_failures(self, comparison: Comparison) -> None:
        """Store the generated scenarios that failed, so that the next comparison of this candidate runs them first."""
        found = Found()
        for result in comparison.explored:
            if result.verdict is Verdict.FAIL:
                found.add(self.candidate.name, result.scenario)


def prepare(
    words: Sequence[str],
    *,
    suite: str,
    imports: Sequence[str],
    declared: Sequence[Path],
    pools: tuple[str, str],
    explore: int | None,
    profile: Profile,
    worker_command: str | None,
    seed: int,
    workers: int,
    clients: int,
    jobs: int,
) -> Prepared:
    """Find the scenarios that `words` name (all of the suite if there are none) and both pools, and choose the runs.

    `pools` are the names of the baseline and the candidate, `declared` files with known weaknesses. `explore` is the
    number of generated runs; None: as the profile says, and none if scenarios are named. Raises UsageError.
    """
    if explore is not None and not 0 <= explore <= MOST_EXPLORED:
        raise UsageError(f"--explore {explore}: a whole number from 0 to {MOST_EXPLORED}")
    named = Named([*words, *imports])
    found = find_scenarios(list(words), profile=profile, suite=suite, named=named)
    baseline, candidate = map(find_pool, pools)
    require_startable(found, (baseline.name, candidate.name), worker_command)
    known = [*entries_of(known_failures(words)), *(entry for file in declared for entry in read_ledger(file))]
    if known:
        found = declare(found, known, baseline.name, candidate.name)
    request = build_request(found, seed, workers, clients, jobs, profile, worker_command)
    usual = 0 if words or suite != DEFAULT_SUITE or worker_command else EXPLORED[profile]
    generated = choose_runs(
        usual if explore is None else explore,
        candidate,
        request,
        baseline=baseline,
        first=Found().of(candidate.name) if usual else (),
    )
    return Prepared(
        scenarios=found,
        baseline=baseline,
        candidate=candidate,
        request=request,
        generated=generated,
        total=len(all_scenarios(suite)) if any(not scenario.file for scenario in found) else None,
    )
