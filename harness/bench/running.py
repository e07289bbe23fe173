"""Runs benches one after another behind the quiet gate, for both the command line and the pytest plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poolproof.harness.bench.bench import measure
from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.report import assemble
from poolproof.harness.bench.statistics.figures import Bench, BenchReport
from poolproof.harness.model.timing.load import Load
from poolproof.harness.run.lock import quiet_gate

GATE_PATIENCE_S = 900.0
OPEN_CLIENTS = 8
"""An open loop has this many clients for each worker."""


class Progress(Protocol):
    """Receives the progress of the benches."""

    def planned(self, total: int) -> None:
        """Called once, with the number of steps."""
        ...

    def began(self, what: str) -> None:
        """A step began."""
        ...

    def ended(self, what: str, outcome: str) -> None:
        """A step ended."""
        ...


def default_clients(load: Load, workers: int) -> int:
    """The default number of clients: one for each worker in a closed loop, `OPEN_CLIENTS` for each in an open loop."""
    return min(workers * OPEN_CLIENTS if load.open else workers, 1024)


def run_bench(plan: BenchPlan, *, patience_s: float = GATE_PATIENCE_S) -> Bench:
    """Run one bench behind the quiet gate; after `patience_s` seconds run without the gate, and record that."""
    with quiet_gate(patience_s) as held:
        return measure(plan, gate=held)


def run_benches(plans: Sequence[BenchPlan], *, progress: Progress, command: str = "") -> BenchReport:
    """Run all benches, and assemble their report. Raises RunError or UsageError like `measure`."""
    progress.planned(len(plans))
    benches = []
    for plan in plans:
        what = f"{plan.scenario.name}: {plan.candidate.name} against {plan.baseline.name}"
        progress.began(what)
        bench = run_bench(plan)
        benches.append(bench)
        progress.ended(what, f"{bench.rounds} rounds in {bench.duration_s:.0f} s")
    return assemble(benches, command=command)
