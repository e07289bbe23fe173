"""Runs benches one after another behind the quiet gate. The command line and pytest both come through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poolproof.harness.bench.bench import BenchPlan, measure
from poolproof.harness.bench.report import assemble
from poolproof.harness.bench.statistics.figures import Bench, BenchReport
from poolproof.harness.model.load import Load
from poolproof.harness.run.lock import quiet_gate

GATE_PATIENCE_S = 900.0
OPEN_CLIENTS = 8
"""So many clients a worker stand ready for arrivals."""


class Progress(Protocol):
    """Hears how the benches go on."""

    def planned(self, total: int) -> None:
        """So many steps are to come."""
        ...

    def began(self, what: str) -> None:
        """A step began."""
        ...

    def ended(self, what: str, outcome: str) -> None:
        """A step ended."""
        ...


def default_clients(load: Load, workers: int) -> int:
    """As many clients as workers in a closed loop; enough that an arrival finds one free in an open loop."""
    return min(workers * OPEN_CLIENTS if load.open else workers, 1024)


def run_bench(plan: BenchPlan, *, patience_s: float = GATE_PATIENCE_S) -> Bench:
    """One bench, alone on the machine; without the gate after `patience_s` seconds, and then it says so."""
    with quiet_gate(patience_s) as held:
        return measure(plan, gate=held)


def run_benches(plans: Sequence[BenchPlan], *, progress: Progress, command: str = "") -> BenchReport:
    """All benches, and their report. Raises RunError, UsageError."""
    progress.planned(len(plans))
    benches = []
    for plan in plans:
        what = f"{plan.scenario.name}: {plan.candidate.name} beside {plan.baseline.name}"
        progress.began(what)
        bench = run_bench(plan)
        benches.append(bench)
        progress.ended(what, f"{bench.rounds} rounds in {bench.duration_s:.0f} s")
    return assemble(benches, command=command)
