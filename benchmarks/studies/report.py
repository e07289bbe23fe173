"""How long the reports of a large comparison take: 40 scenarios on both pools with 200,000 operations in all.

The histories are synthetic; figures, chart data, page, Markdown, JUnit and JSON are made as `poolproof compare` does.
Usage: python -m benchmarks.studies.report [OPS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from poolproof.bridge import ServiceInterval
from poolproof.harness.compare.comparison import Comparison, Machine, RunResult, ScenarioComparison, Speed
from poolproof.harness.history.chart_data import draw
from poolproof.harness.history.history import History, Op, OpType, RunInfo, Sample
from poolproof.harness.history.metrics import measure
from poolproof.harness.history.tables import Ops, Services
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports import write_reports

SCENARIOS = 40
OPS = 200_000
BEGIN_NS = 10**12


def make_history(pool: str, ops: int, *, workers: int, draws: random.Random) -> History:
    """A run in which `workers` workers (one at a time on v1) answer `ops` calls of about 2 ms."""
    info = RunInfo(
        scenario="made_up",
        pool=pool,
        pool_name="made-up",
        seed=1,
        workers=workers,
        clients=8,
        profile="full",
        started_at="",
        started_ns=BEGIN_NS,
        call_timeout_s=5,
        checkout_timeout_s=5,
    )
    free = [BEGIN_NS] * (1 if pool == "v1" else workers)
    made, services = [], []
    for index in range(ops):
        lane = index % len(free)
        start = free[lane] + draws.randrange(10_000)
        free[lane] = end = start + draws.randrange(1_000_000, 3_000_000)
        worker = index % workers
        fails = draws.random() < 0.01
        made.append(
            Op(
                index=index,
                client=index % 8,
                command="echo",
                args={},
                nonce=str(index),
                intended_ns=start - draws.randrange(1_000_000),
                invoked_ns=start,
                checked_out_ns=start,
                sent_ns=start,
                received_ns=end,
                completed_ns=end,
                type=OpType.FAIL if fails else OpType.OK,
                outcome="CommandError" if fails else "result",
                worker=worker,
                pid=100 + worker,
            )
        )
        services.append(
            ServiceInterval(
                worker_id=worker,
                pid=100 + worker,
                request_id=index,
                command="echo",
                nonce=None,
                start_ns=start,
                end_ns=end,
                ok=not fails,
            )
        )
    last = max(free)
    samples = tuple(Sample(at, 30_000_000 + draws.randrange(10**6), 20, 9, 4) for at in range(BEGIN_NS, last, 10**8))
    fault = FaultRecord(kind=FaultKind.KILL, at_ns=(BEGIN_NS + last) // 2, landed=True, worker=1)
    return History(
        info=info,
        ops=Ops.of(made),
        services=Services.of(services),
        faults=(fault,),
        samples=samples,
        begun_ns=BEGIN_NS,
        finished=True,
    )


def make_result(name: str, history: History) -> RunResult:
    """The result of a synthetic run, with its figures and its chart data."""
    found = (Finding(checker="one_outcome", verdict=Verdict.PASS, claim="each call had one outcome"),)
    return RunResult(
        scenario=name,
        pool=history.info.pool,
        seed=1,
        verdict=Verdict.PASS,
        findings=found,
        metrics=measure(history),
        picture=draw(history, found),
    )


def main(ops: int = OPS) -> int:
    """Measure, and print the results."""
    draws = random.Random(1)
    each = ops // (2 * SCENARIOS)
    histories = [[make_history(pool, each, workers=4, draws=draws) for pool in ("v1", "v2")] for _ in range(SCENARIOS)]
    began, began_cpu = time.monotonic(), time.process_time()
    rows = []
    for number, (one, other) in enumerate(histories):
        name = f"made_up_{number}"
        baseline, candidate = make_result(name, one), make_result(name, other)
        rows.append(
            ScenarioComparison(
                name=name, summary="made up", failures=(), guarantees=(), baseline=baseline, candidate=candidate
            )
        )
    pictured = time.monotonic() - began
    speed = Speed(
        scenario="made_up_0", metric="throughput", baseline=1, candidate=4, ratio=4, low=3.9, high=4.1, blocks=24
    )
    comparison = Comparison(
        decision=Decision.SAFE,
        reasons=("made up",),
        baseline="v1",
        candidate="v2",
        seed=1,
        workers=4,
        clients=8,
        profile="full",
        scenarios=tuple(rows),
        speeds=(speed,),
        machine=Machine(system="Linux", python=sys.version.split()[0], cpus=1, load_before=0, load_after=0),
        created_at="2026-01-01T00:00:00+00:00",
        duration_s=1.0,
        tool_version="0",
    )
    with tempfile.TemporaryDirectory() as folder:
        written = write_reports(comparison, Path(folder))
        sizes = {name: path.stat().st_size for name, path in written.items()}
    whole, processor = time.monotonic() - began, time.process_time() - began_cpu
    print(f"{2 * SCENARIOS * each} operations: figures and pictures {pictured:.1f} s, with all reports {whole:.1f} s")
    print(f"processor time {processor:.1f} s; sizes in MB: { {name: round(n / 1e6, 2) for name, n in sizes.items()} }")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
