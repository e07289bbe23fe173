"""A survey of two real runs, and a hunt of one mutant with it."""

from __future__ import annotations

from pathlib import Path

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated.hunt import hunt
from poolproof.harness.mutation.generated.hunted import Outcome
from poolproof.harness.mutation.generated.killers import Related, Whole
from poolproof.harness.mutation.generated.survey import make_survey, plan_runs, read_sources, read_survey
from poolproof.harness.run.runner import Request


class Silent:
    def planned(self, total: int) -> None: ...

    def began(self, what: str) -> None: ...

    def ended(self, what: str, outcome: str) -> None: ...


def test_a_survey_tells_what_each_run_and_its_workers_execute(tmp_path: Path) -> None:
    request = Request()
    planned = plan_runs(request, find_scenarios(["any_json"]))
    keys = ("any_json/v1/execute/shipped", "any_json/v2/execute/shipped")
    runs = {key: planned[key] for key in keys}
    survey = make_survey(runs, request, tmp_path, jobs=2, progress=Silent())
    assert read_survey(tmp_path, request) == survey
    one, other = survey.runs
    assert (one.key, other.key) == keys
    assert one.result.verdict is other.result.verdict is Verdict.PASS
    for run, own, others in ((one, "pool_v1/manager.py", other), (other, "pool_v2/calls/transfer.py", one)):
        assert run.lines[own] > others.lines[own]  # which has only imported it
    assert survey.executed_lines("bridge/worker/program.py")  # executed by the workers alone
    sources = read_sources()
    found = hunt(
        sources,
        survey,
        runs,
        [Related(), Whole()],
        tmp_path / "runs",
        count=1,
        seed=1,
        packages=("pool_v1",),
        jobs=2,
        progress=Silent(),
    )
    (mutant,) = found.planted
    assert (mutant.package, mutant.executed_by) == ("pool_v1", 1)
    assert mutant.outcome in set(Outcome)
    assert mutant.diff.count("\n-") == 1
    assert {place.package for place in found.places} == {"pool_v1"}
