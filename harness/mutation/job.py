"""One run of a mutant in its own process: `python -m poolproof.harness.mutation.job`. Entry point.

The bug is planted in this process only. Two troubles are reported: planted code that fails by itself, and a bug that no
call of the run has executed. So a mutant that cannot run counts neither as detected nor as survived.
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge.processes.interpreter import adopt
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict, worst
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import Bench, LifecycleTest
from poolproof.harness.mutation.mutant import Mutant
from poolproof.harness.mutation.planting import entered
from poolproof.harness.mutation.registry import all_stages, find_mutants
from poolproof.harness.mutation.worker import command
from poolproof.harness.run.job import JobOrder, serve
from poolproof.harness.run.runner import Subject, run
from poolproof.harness.subjects.pools import find_pool

BROKEN = "the mutant broke: "
"""How the message (`trouble`) of a run begins in which the planted code itself failed."""
NEVER = "the bug was never executed"
HERE = str(Path(__file__).parent)
OWN_ERRORS = ("AttributeError", "NameError", "UnboundLocalError", "TypeError", "ImportError")
"""Errors of code that does not fit the product; no planted bug raises them on purpose."""


class MutantOrder(JobOrder, frozen=True, kw_only=True):
    """The run to make, and the seconds that its scenario may take."""

    budget_s: float


class Watch(logging.Handler):
    """Notices exceptions that planted code raises in threads of the pool."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Check the exception of a log record."""
        if record.exc_info and record.exc_info[1] is not None:
            self.look(record.exc_info[1])

    def look(self, error: BaseException) -> None:
        """Keep the error if a line of this package raised it and its class is one of OWN_ERRORS."""
        frames = traceback.extract_tb(error.__traceback__)
        if frames and frames[-1].filename.startswith(HERE) and type(error).__name__ in OWN_ERRORS:
            self.found = self.found or f"{type(error).__name__}: {error} in {frames[-1].name}"

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        self._hook = threading.excepthook
        threading.excepthook = self._in_thread
        return self

    def _in_thread(self, args: Any) -> None:  # noqa: ANN401 - threading's own structure
        if args.exc_value is not None:
            self.look(args.exc_value)
        self._hook(args)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threading.excepthook = self._hook
        logging.getLogger().removeHandler(self)


def carry_out(order: MutantOrder) -> RunResult:
    """Plant the bug, and run the scenario or lifecycle test of the order."""
    stage = all_stages()[order.scenario]
    request, words = order.request, None
    mutant: Mutant | None = None
    with Watch() as watch:
        if "." in order.pool:
            (mutant,) = find_mutants([order.pool])
            subject = msgspec.structs.replace(find_pool(mutant.pool), name=mutant.key)
            if mutant.worker:
                words = command(mutant.worker)
                request = msgspec.structs.replace(request, worker_command=shlex.join(words))
            mutant.plant()
        else:
            subject = find_pool(order.pool)
        if isinstance(stage, LifecycleTest):
            result = carry_out_drill(stage, subject, order, words)
        else:
            stage = msgspec.structs.replace(stage, budget_s=order.budget_s)
            baseline = find_pool(request.baseline) if subject.face(request.face).two_pools else None
            result = run(stage, subject, request, Path(order.out), baseline)
    own = [name for name in result.metrics.outcomes if name.removeprefix("foreign ") in OWN_ERRORS]
    broken = watch.found or (f"calls raised {', '.join(own)}" if own else "")
    if mutant is not None and not mutant.worker and not result.skipped and not entered():
        broken = broken or NEVER
    return msgspec.structs.replace(result, trouble=BROKEN + broken) if broken else result


def carry_out_drill(
    lifecycle_test: LifecycleTest, subject: Subject, order: JobOrder, words: tuple[str, ...] | None
) -> RunResult:
    """Run the lifecycle test. An unexpected exception is trouble: the verdict is UNKNOWN."""
    out = Path(order.out) / f"{lifecycle_test.name}-{subject.name}-{order.request.seed}"
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    findings: tuple[Finding, ...] = ()
    trouble = ""
    try:
        findings = tuple(lifecycle_test.act(Bench(subject, lifecycle_test.name, out, words)))
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
    return RunResult(
        scenario=lifecycle_test.name,
        pool=subject.name,
        seed=order.request.seed,
        observed=False,
        verdict=worst(found.verdict for found in findings) if not trouble else Verdict.UNKNOWN,
        findings=findings,
        folder=str(out),
        duration_s=time.monotonic() - began,
        trouble=trouble,
    )


if __name__ == "__main__":
    adopt()
    sys.exit(serve(carry_out, MutantOrder))
