"""What the laboratory's tests share: benches made of seeded numbers, and a store of their own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.bench.block import ARMS, Block, Round
from poolproof.harness.bench.schedules import QUICK
from poolproof.harness.bench.statistics.analysis import Analysis
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Bench, MachineKey, PoolFigures, Quiet, Schedule, Validity
from poolproof.harness.bench.statistics.histogram import histogram, tally
from poolproof.harness.model.timing.load import CLOSED

QUIET = Quiet(gate=True, others=0.01, steal=0.0, load_before=0.1, load_after=0.2, clock_ns=1)


def make_block(arm: str, times_s: list[float], **fields: Any) -> Block:
    """A block of one client whose calls took these times."""
    ordered = sorted(times_s)
    usual: dict[str, Any] = {
        "seconds": sum(times_s) or 1.0,
        "calls": len(times_s),
        "response": tally(round(each * 1e9) for each in times_s),
        "p10_s": ordered[len(ordered) // 10] if ordered else None,
        "p50_s": ordered[len(ordered) // 2] if ordered else None,
    }
    return Block(arm=arm, **{**usual, **fields})


def make_rounds(
    rounds: int, *, slower: float = 1.0, drift: float = 0.08, noise: float = 0.02, calls: int = 60, seed: int = 1
) -> list[Round]:
    """Rounds whose machine drifts (autocorrelation 0.8), in which the candidate takes `slower` times as long."""
    draw, level = random.Random(f"rounds/{seed}"), 0.0
    found: list[Round] = []
    for _ in range(rounds):
        level = 0.8 * level + 0.6 * draw.gauss(0, drift)
        around = {}
        for arm in ARMS:
            scale = 0.003 * (1 + level) * draw.gauss(1, noise) * (slower if arm == "candidate" else 1.0)
            around[arm] = make_block(arm, [scale * (1 + 0.1 * draw.random()) for _ in range(calls)])
        found.append(around)
    return found


def make_bench(rounds: list[Round], *, schedule: Schedule = QUICK, seed: int = 1, **fields: Any) -> Bench:
    """A bench of these rounds, not yet decided."""
    analysis = Analysis(rounds, seed=seed, resamples=400)
    pools = tuple(
        PoolFigures(
            role=role,
            pool=name,
            calls=1,
            errors={},
            dropped=0,
            late=0,
            figures={metric: analysis.figure(role, metric) for metric in ("throughput", "p10", "p50", "p90", "p99")},
            response=histogram({}),
            service=histogram({}),
        )
        for role, name in (("baseline", "v1"), ("candidate", "v2"))
    )
    usual: dict[str, Any] = {
        "work": "short_calls",
        "file": "",
        "call": "",
        "load": CLOSED,
        "baseline": "v1",
        "candidate": "v2",
        "seed": seed,
        "workers": 4,
        "clients": 4,
        "schedule": schedule,
        "rounds": len(rounds),
        "stopped": "",
        "claim": Claim.INCONCLUSIVE,
        "tests": analysis.tests(schedule, open_load=False),
        "pools": pools,
        "budgets": (),
        "blocks": (),
        "validity": Validity(),
        "quiet": QUIET,
        "duration_s": 1.0,
    }
    return Bench(**{**usual, **fields})


class Make:
    """Makes benches and their parts."""

    block = staticmethod(make_block)
    rounds = staticmethod(make_rounds)
    bench = staticmethod(make_bench)
    quiet = QUIET
    machine = MachineKey(
        processor="a processor", cpus=2, memory_gib=8, kernel="6.1", interpreter="CPython 3.11.7", governor=""
    )

    @staticmethod
    def changed(record: Any, **fields: Any) -> Any:
        """The record with other fields."""
        return msgspec.structs.replace(record, **fields)


@pytest.fixture
def make() -> Make:
    """Benches made of seeded numbers."""
    return Make()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of baselines and benches that no other test has."""
    folder = tmp_path / "store"
    monkeypatch.setenv("POOLPROOF_STORE", str(folder))
    return folder
