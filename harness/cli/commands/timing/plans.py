"""Makes the plans of benches: from options, or from a saved result that is to be repeated."""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.bridge import CommandError, PoolConfig
from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.running import default_clients
from poolproof.harness.bench.schedules import make_schedule
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.bench.workloads.workloads import BARE_CALL, DEFAULT_CALL, call_scenario, plan_of
from poolproof.harness.compare.catalogue import find_scenarios, find_stored
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.timing.budget import parse_budget
from poolproof.harness.model.timing.load import CLOSED, parse_load
from poolproof.harness.model.workload import Size
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.pool.configuration import require_startable
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool

TRY_S = 60.0
OPTIONS = {
    "rounds": "--rounds",
    "block_s": "--block-seconds",
    "margin": "--margin",
    "until_width": "--until-width",
}


def make_plans(
    scenarios: list[str] | None,
    call: str | None,
    *,
    baseline: str,
    candidate: str,
    profile: str,
    seed: int,
    workers: int,
    clients: int | None,
    load: str | None,
    budgets: list[str] | None,
    rounds: int | None = None,
    block_s: float | None = None,
    margin: float | None = None,
    until_width: float | None = None,
    worker_command: str | None = None,
    service_times: bool = False,
) -> list[BenchPlan]:
    """The benches to run. Raises UsageError that names a bad option, its value and its limits."""
    for option, value, least, most in (("--seed", seed, 0, 2**32 - 1), ("--workers", workers, 1, 1024)):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: must be a whole number from {least} to {most}")
    if clients is not None and not 1 <= clients <= 1024:
        raise UsageError(f"--clients {clients}: must be a whole number from 1 to 1024")
    if scenarios and call is not None:
        raise UsageError(f"--call {call!r} and scenarios cannot be given together")
    found = (
        find_scenarios(scenarios, profile="full", named=Named(scenarios))
        if scenarios
        else [call_scenario(DEFAULT_CALL if call is None else call)]
    )
    schedule = make_schedule(
        profile, rounds=rounds, block_s=block_s, margin=margin, until_width=until_width, labels=OPTIONS
    )
    one, other = find_pool(baseline), find_pool(candidate)
    require_startable(found, (one.name, other.name), worker_command)
    for budget in budgets or ():
        parse_budget(budget, pools=(one.name, other.name))
    plans = []
    for scenario in found:
        each = parse_load(load if load is not None else scenario.load)
        size = scenario.fixed_size or Size(workers=workers, clients=clients or default_clients(each, workers))
        plans.append(
            BenchPlan(
                scenario=scenario,
                baseline=one,
                candidate=other,
                size=size,
                load=each,
                schedule=schedule,
                seed=seed,
                budgets=tuple(budgets or ()),
                worker_command=worker_command,
                observed=service_times,
            )
        )
    return plans


def bare_plan(plan: BenchPlan) -> BenchPlan:
    """Return a plan like this one for the call that costs a worker nothing, by one client, without budgets."""
    size = Size(workers=plan.size.workers, clients=1)
    return msgspec.structs.replace(plan, scenario=call_scenario(BARE_CALL), size=size, load=CLOSED, budgets=())


def plans_of(saved: BenchReport, seed: int, named: Named) -> list[BenchPlan]:
    """Plans that repeat the baseline's benches. Raises UsageError if a scenario no longer exists."""
    plans = []
    for bench in saved.benches:
        if bench.call:
            scenario = call_scenario(bench.call)
        else:
            word = f"{bench.file}::{bench.work}" if bench.file else bench.work
            (scenario,) = find_stored(word, named)
        named.require_pool(bench.baseline)
        named.require_pool(bench.candidate)
        schedule = bench.schedule
        plans.append(
            BenchPlan(
                scenario=scenario,
                baseline=find_pool(bench.baseline),
                candidate=find_pool(bench.candidate),
                size=Size(workers=bench.workers, clients=bench.clients),
                load=bench.load,
                schedule=make_schedule(
                    schedule.profile, rounds=schedule.rounds, block_s=schedule.block_s, margin=schedule.margin
                ),
                seed=seed,
                budgets=tuple(result.text for result in bench.budgets),
            )
        )
    return plans


def try_call(plan: BenchPlan) -> None:
    """Make the plan's call once on each pool. Raises UsageError, with the worker's error, if a worker refuses it."""
    (step,) = plan_of(plan.scenario, Size(workers=1, clients=1), plan.seed)[0]
    for subject in (plan.baseline, plan.candidate):
        options: dict[str, Any] = {**plan.scenario.config, "workers": 1, "name": pool_name("try", subject.name)}
        if plan.worker_command is not None:
            options["worker_command"] = plan.worker_command
        config = PoolConfig.from_options(options)
        with subject.make(config, None) as pool:
            try:
                pool.execute(step.command, dict(step.args), timeout_s=TRY_S)
            except CommandError as error:
                raise UsageError(
                    f"--call {plan.scenario.summary!r}: {subject.name} answered with an error: {error}"
                ) from error
