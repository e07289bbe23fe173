"""What a bench returns: figures, tests with verdicts, budgets and the validity of it all; bench.json is this.

Pure data, frozen. Knows neither how a figure was taken nor how it is shown. Durations are seconds, sizes bytes,
ratios candidate / baseline.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.histogram import Histogram
from poolproof.harness.bench.statistics.slopes import Slope
from poolproof.harness.model.load import Load
from poolproof.harness.model.verdict import Verdict

SCHEMA_VERSION = "1.0"


class Estimate(msgspec.Struct, frozen=True):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one pool. `estimate` is None where nothing, or too little, was recorded; `why` says so.

    `unit` is one of "s", "1/s", "B", "B/s", "1" (a count or a share), "1/min"... of the metric's table in metrics.py.
    """

    metric: str
    unit: str
    estimate: Estimate | None
    samples: int
    why: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of the candidate beside the baseline's.

    `ratio` is candidate / baseline, `control` one pool of the baseline beside the other; `better` is "lower" or
    "higher". `margin` is the one that was used: the asked one, or the control's noise if that is more.
    `p_worse`, `p_no_worse` and `p_better` are one-sided, before Holm's correction. `settle` says what would decide it.
    """

    metric: str
    better: str
    ratio: Estimate | None
    control: Estimate | None
    margin: float
    claim: Claim
    p_worse: float = 1.0
    p_no_worse: float = 1.0
    p_better: float = 1.0
    settle: str = ""


class BlockFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One block: `arm` is "baseline", "control" (the second pool of the baseline) or "candidate".

    `at_s` is its begin from the bench's. `lag_s` is the generator's 99th percentile in an open loop.
    """

    round: int
    arm: str
    at_s: float
    seconds: float
    calls: int
    throughput: float
    p50_s: float | None
    errors: int = 0
    dropped: int = 0
    lag_s: float = 0.0


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool used at one moment: its workers summed, or this process.

    Processor seconds and context switches are counted from the process's begin. PSS is None where it cannot be read.
    """

    cpu_s: float
    rss_bytes: int
    pss_bytes: int | None
    fds: int
    threads: int
    switches: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Resources after a block of this pool; `at_s` from the bench's begin, `process` is the one that calls."""

    at_s: float
    workers: Resources
    process: Resources


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured on one pool. `errors` counts failed calls by their class.

    `failure` tells of the first failed call, which may be one of the warm-up.
    """

    role: str
    pool: str
    calls: int
    errors: dict[str, int]
    dropped: int
    late: int
    figures: dict[str, Figure]
    response: Histogram
    service: Histogram
    samples: tuple[Sample, ...] = ()
    slopes: dict[str, Slope] = {}
    failure: str = ""


class BudgetResult(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and what came of it. `left` and `right` are the two sides' values; `share` is how surely it holds."""

    text: str
    verdict: Verdict
    left: float | None = None
    right: float | None = None
    share: float | None = None
    why: str = ""


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """Whether figures may be quoted. `problems` make them invalid; `warnings` carry advice."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """No problem was found."""
        return not self.problems


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """What else the machine did. Shares are of all its processors' time; `gate`: the measuring lock was held.

    `others` was used by processes that are not the bench's own; the host took `steal`.
    """

    gate: bool
    others: float
    steal: float
    load_before: float
    load_after: float
    clock_ns: int


class MachineKey(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same for two figures to be compared."""

    processor: str
    cpus: int
    memory_gib: int
    kernel: str
    interpreter: str
    governor: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Stated before the first block. `until_width` > 0 ends the bench once every interval of a ratio is so narrow.

    That rule looks at widths, never at verdicts, after every fifth round from `least_rounds` on. `limit_s` > 0 ends the
    bench with the round after which so many seconds have passed since its begin, but not before the fifth round.
    """

    profile: str
    rounds: int
    block_s: float
    warm_s: float
    margin: float
    least_rounds: int = 10
    until_width: float = 0.0
    limit_s: float = 0.0


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One work, measured on two pools. `claim` is INCONCLUSIVE where the figures are not valid.

    `file` defines the work if the catalogue does not; `call` is the one call that it makes if it is no scenario.
    `wrong` has a sentence for each wrong answer, which makes the bench invalid. Service times and waits were taken in
    `observed_rounds` of their own, on pools with an observer; everything else on pools without one.
    """

    work: str
    file: str
    call: str
    load: Load
    baseline: str
    candidate: str
    seed: int
    workers: int
    clients: int
    schedule: Schedule
    rounds: int
    stopped: str
    claim: Claim
    tests: tuple[Trial, ...]
    pools: tuple[PoolFigures, ...]
    budgets: tuple[BudgetResult, ...]
    blocks: tuple[BlockFigures, ...]
    validity: Validity
    quiet: Quiet
    duration_s: float
    wrong: tuple[str, ...] = ()
    observed_rounds: int = 0


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All benches of one command. `claim` is the worst of theirs; Holm's correction goes over all their tests."""

    claim: Claim
    budgets: Verdict | None
    benches: tuple[Bench, ...]
    machine: MachineKey
    commit: str
    created_at: str
    command: str
    tool_version: str
    schema_version: str = SCHEMA_VERSION


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One pool at one size: means of its blocks. None where the calls do not suffice."""

    pool: str
    workers: int
    clients: int
    calls: int
    throughput: float
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    errors: int = 0
    why: str = ""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One pool along one axis ("workers" or "clients"): its fit of the scalability law and its measured knee."""

    pool: str
    axis: str
    rate: float | None = None
    contention: float | None = None
    coherency: float | None = None
    r_squared: float | None = None
    peak: float | None = None
    knee: float | None = None
    growth: float | None = None
    text: str = ""


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput and latency of each pool against workers and against clients. sweep.json is this."""

    call: str
    points: tuple[SweepPoint, ...]
    curves: tuple[Curve, ...]
    machine: MachineKey
    validity: Validity
    quiet: Quiet
    seed: int
    created_at: str
    command: str
    tool_version: str
    duration_s: float
    wrong: tuple[str, ...] = ()
    schema_version: str = SCHEMA_VERSION
