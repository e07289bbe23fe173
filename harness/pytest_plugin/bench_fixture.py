"""The fixture `run_bench`, which measures two pools alone on the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from poolproof.harness.pytest_plugin.state import STATE

if TYPE_CHECKING:
    from poolproof.harness.bench.statistics.figures import Bench
    from poolproof.harness.model.scenario import Scenario


@pytest.fixture
def run_bench(request: pytest.FixtureRequest) -> Callable[..., Bench]:
    """Time two pools by `run_bench(scenario=None, baseline="v1", candidate="v2", ...)`, and return the Bench.

    Without a scenario the worker command in `call` is timed. `load`, `budgets`, `profile` ("quick" or "full"),
    `rounds`, `block_s`, `margin`, `seed`, `workers` and `clients` are as for `poolproof bench`. Under pytest-xdist no
    other test runs meanwhile. The file bench.json is kept in the session's folder, listed by `poolproof history`, and
    named by the report's property
    `poolproof_bench`.
    """
    from poolproof.harness.bench.plan import BenchPlan
    from poolproof.harness.bench.records.index import Index
    from poolproof.harness.bench.report import assemble, write_report
    from poolproof.harness.bench.running import default_clients
    from poolproof.harness.bench.running import run_bench as measure
    from poolproof.harness.bench.schedules import make_schedule
    from poolproof.harness.bench.workloads.workloads import DEFAULT_CALL, call_scenario
    from poolproof.harness.model.timing.load import parse_load
    from poolproof.harness.model.workload import Size
    from poolproof.harness.run.names import pool_name
    from poolproof.harness.subjects.pools import find_pool

    option = request.config.getoption
    out = request.config.stash[STATE].out

    def bench_it(
        scenario: Scenario | None = None,
        *,
        call: str = DEFAULT_CALL,
        baseline: str = "v1",
        candidate: str = "v2",
        load: str | None = None,
        budgets: Sequence[str] = (),
        profile: str | None = None,
        rounds: int | None = None,
        block_s: float | None = None,
        margin: float | None = None,
        seed: int | None = None,
        workers: int | None = None,
        clients: int | None = None,
    ) -> Bench:
        work = call_scenario(call) if scenario is None else scenario
        arrivals = parse_load(work.load if load is None else load)
        many = option("poolproof_workers") if workers is None else workers
        plan = BenchPlan(
            scenario=work,
            baseline=find_pool(baseline),
            candidate=find_pool(candidate),
            size=work.fixed_size or Size(workers=many, clients=clients or default_clients(arrivals, many)),
            load=arrivals,
            schedule=make_schedule(
                profile or option("poolproof_profile"), rounds=rounds, block_s=block_s, margin=margin
            ),
            seed=option("poolproof_seed") if seed is None else seed,
            budgets=tuple(budgets),
            worker_command=option("poolproof_worker_command"),
        )
        report = assemble([measure(plan)], command="pytest")
        path = write_report(report, out / "benches" / pool_name(request.node.name, "bench"))
        with Index() as index:
            index.add(report, path)
        request.node.user_properties.append(("poolproof_bench", str(path)))
        return report.benches[0]

    return bench_it
