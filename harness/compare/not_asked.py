"""Lists the checkers that were not run on a pool, because the pool declares that it cannot show the evidence they need.

Pure. Such a checker counts neither as passed nor as undecided: the decision says nothing about it.

A scenario that needs a capability which the baseline lacks is run on the candidate alone, and its result counts. It is
listed here too.
"""

from __future__ import annotations

from poolproof.harness.compare.comparison import ScenarioComparison
from poolproof.harness.model.evidence import TO_HAVE_IT

PAGE = "docs/reference/capabilities.md"


class NotAsked:
    """The checkers that were not asked, and the scenarios that were not run, by pool and by the evidence needed."""

    def __init__(self) -> None:
        self._checkers: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._scenarios: dict[str, dict[str, dict[str, None]]] = {}

    def add(self, row: ScenarioComparison) -> None:
        """Add the checkers that were not run in this scenario, on either pool."""
        for run in (row.baseline, row.candidate):
            if run.skipped and run.blind:
                self._scenarios.setdefault(run.pool, {}).setdefault(run.skipped, {})[row.name] = None
            elif run is row.baseline and row.asked_of_candidate_alone:
                reason = f"asked of {row.candidate.pool} alone, since {run.skipped}"
                self._scenarios.setdefault(run.pool, {}).setdefault(reason, {})[row.name] = None
            for checker, evidence in run.not_asked:
                self._checkers.setdefault((run.pool, evidence), {}).setdefault(checker, set()).add(row.name)

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each kind of evidence: the pools that lack it, and how its checkers can be run."""
        told = []
        pools: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (pool, evidence), found in sorted(self._checkers.items()):
            names = tuple(
                f"{name} (in {len(where)} scenarios)" if len(where) > 1 else name
                for name, where in sorted(found.items())
            )
            pools.setdefault((evidence, names), []).append(pool)
        for (evidence, names), which in pools.items():
            declares = "declares" if len(which) == 1 else "declare"
            ways = " or ".join(text for kind, text in TO_HAVE_IT.items() if kind.value in evidence.split())
            told.append(
                f"{' and '.join(which)} {declares} no {evidence}, which these checkers need: {', '.join(names)}. "
                f"To ask them: {ways}; {PAGE}"
            )
        for _, reasons in sorted(self._scenarios.items()):
            told += [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
        return tuple(told)

    def summary(self, candidate: str) -> str:
        """Return one sentence for the reasons of SAFE; empty if all checkers were run on the candidate."""
        checkers = {name for (pool, _), found in self._checkers.items() if pool == candidate for name in found}
        scenarios = {name for names in self._scenarios.get(candidate, {}).values() for name in names}
        if not checkers and not scenarios:
            return ""
        what = [f"{len(checkers)} checkers ({', '.join(sorted(checkers))})"] if checkers else []
        what += [f"{len(scenarios)} scenarios ({', '.join(sorted(scenarios))})"] if scenarios else []
        return (
            f"not asked of {candidate}, so this decision says nothing about them: {' and '.join(what)}; "
            "the list of what was not asked says how to ask them"
        )
