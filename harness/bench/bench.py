"""Measures one work on two pools, with a control pool: rounds of blocks in seeded order, then the figures.

A round has three blocks next to each other in time: one of the baseline, one of a second pool of the same kind (the
control), one of the candidate. The pools are as shipped, without an observer. Service times and waits need an observer,
so they are measured, if requested, in separate rounds. Knows nothing of commands and of storage.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from poolproof.bridge import PoolError
from poolproof.harness.bench.block import Block
from poolproof.harness.bench.machine import QuietWatch, describe
from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.session import Session
from poolproof.harness.bench.statistics.analysis import Analysis
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Bench, BlockFigures, BudgetResult, Validity
from poolproof.harness.bench.statistics.validity import judge_validity
from poolproof.harness.bench.workloads.workloads import CALLS, plan_of
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.timing.budget import Unmeasured, judge_budget, parse_budget
from poolproof.harness.run.pool.configuration import serving_models


def measure(plan: BenchPlan, *, gate: bool, on_round: Callable[[int, int], None] = lambda done, total: None) -> Bench:
    """Measure one bench; its tests have no claims yet (`report.assemble` decides them).

    `gate` says whether the caller holds the quiet gate. `on_round` is called after each round with the number of
    finished rounds and of all rounds. Raises RunError if a pool breaks, UsageError if the scenario cannot be timed.
    """
    began = time.monotonic()
    steps = plan_of(plan.scenario, plan.size, plan.seed)
    try:
        with serving_models(plan.scenario) as models:
            with ExitStack() as stack:
                session = Session(plan, steps, models.environment() if models is not None else {}, stack)
                quiet_watch = QuietWatch(gate=gate)
                stopped = session.carry_out(on_round)
                quiet = quiet_watch.end(session.workers_cpu_s())
                restarted = session.restarted()
            if plan.observes:
                session.observe()
    except PoolError as error:
        raise RunError(f"the bench of {plan.scenario.name!r} failed: {error}") from error
    analysis = session.analysis()
    wrong = session.wrong()
    roles = ("baseline", "candidate")
    validity = judge_validity(
        session.blocks,
        quiet,
        plan.load,
        governor=describe().governor,
        restarted=restarted,
        under="a tracer (coverage or a debugger)" if sys.gettrace() or threading.gettrace() else "",
        wrong=wrong,
    )
    return Bench(
        work=plan.scenario.name,
        file=plan.scenario.file,
        call=plan.scenario.summary if plan.scenario.name in CALLS else "",
        load=plan.load,
        baseline=plan.baseline.name,
        candidate=plan.candidate.name,
        seed=plan.seed,
        workers=plan.size.workers,
        clients=len(steps),
        schedule=plan.schedule,
        rounds=len(session.rounds),
        stopped=stopped,
        claim=Claim.INCONCLUSIVE,
        tests=analysis.tests(plan.schedule, open_load=plan.load.open),
        pools=tuple(session.figures(role, analysis) for role in roles),
        budgets=_budgets(plan, analysis, validity),
        blocks=tuple(
            _shorten(number, block) for number, around in enumerate(session.rounds) for block in around.values()
        ),
        validity=validity,
        quiet=quiet,
        duration_s=time.monotonic() - began,
        wrong=wrong,
        observed_rounds=len(session.rounds) if plan.observes else 0,
    )


def _budgets(plan: BenchPlan, analysis: Analysis, validity: Validity) -> tuple[BudgetResult, ...]:
    names = {"baseline": "baseline", "candidate": "candidate"}
    if plan.baseline.name != plan.candidate.name:
        names |= {plan.baseline.name: "baseline", plan.candidate.name: "candidate"}

    def look(pool: str, metric: str) -> tuple[float, Any]:
        if pool not in names:
            raise Unmeasured(f"there is no pool {pool!r} in this measurement; its pools are {', '.join(names)}")
        if not validity.valid:
            raise Unmeasured(f"the measurement is invalid: {validity.problems[0]}")
        return analysis.look(names[pool], metric)

    texts = dict.fromkeys((*plan.scenario.budgets, *plan.budgets))
    return tuple(judge_budget(parse_budget(text), look) for text in texts)


def _shorten(number: int, block: Block) -> BlockFigures:
    return BlockFigures(
        round=number,
        arm=block.arm,
        at_s=round(block.at_s, 6),
        seconds=block.seconds,
        calls=block.calls,
        throughput=block.throughput,
        p50_s=block.p50_s,
        errors=sum(block.errors.values()),
        dropped=block.dropped,
        lag_s=block.lag_p99_s,
    )
