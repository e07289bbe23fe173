"""Runs the checklist: a comparison, a soak of each pool, an examination of the plan, and of documents if asked for.

Knows nothing of the command line and of the page's layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from poolproof.harness.compare.compare import compare
from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.jobs.jobs import Progress, StartJob
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.readiness.checklist import Checklist, build_items
from poolproof.harness.readiness.documents import GUIDE, examine_documents
from poolproof.harness.readiness.preparation import examine_plan
from poolproof.harness.readiness.soak import soak
from poolproof.harness.run.lock import measuring
from poolproof.harness.run.runner import Request, Subject
from poolproof.migration.plan import Plan


def validate(
    scenarios: Sequence[Scenario],
    baseline: Subject,
    candidate: Subject,
    request: Request,
    folder: Path,
    *,
    jobs: int,
    start_job: StartJob,
    progress: Progress,
    soak_s: float,
    docs: Path | None,
    plan: Plan,
    commands: Iterable[str],
    command: str,
) -> tuple[Checklist, Comparison]:
    """The checklist and the comparison behind it. Raises the errors of `compare` and `soak`.

    If `soak_s` is 0, no soak is run; without `docs` there is no line for the documents.
    """
    comparison = compare(
        scenarios,
        baseline,
        candidate,
        request,
        folder / "runs",
        jobs=jobs,
        start_job=start_job,
        progress=progress,
        command=command,
    )
    soaks = []
    for subject in (baseline, candidate) if soak_s else ():
        what = f"a soak of {subject.name}"
        progress.began(what)
        with measuring():
            found = soak(subject, workers=request.size.workers, clients=request.size.clients, seconds=soak_s)
        progress.ended(what, f"{found.calls} calls")
        soaks.append(found)
    documents = None if docs is None else examine_documents(docs, commands)
    checklist = Checklist(
        baseline=baseline.name,
        candidate=candidate.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        items=build_items(
            comparison,
            soaks,
            documents,
            plan=examine_plan(plan),
            why_not=None if docs is None else f"{GUIDE} is not in the folder {docs} or below it",
        ),
    )
    return checklist, comparison
