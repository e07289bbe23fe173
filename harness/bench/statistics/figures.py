"""The results of a bench: figures, tests with verdicts, budgets, validity. This is the format of bench.json.

Pure data, frozen. Independent of how a figure is measured and shown. Durations are seconds, sizes bytes, ratios
candidate / baseline.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.histogram import Histogram
from poolproof.harness.history.growth import Slope
from poolproof.harness.model.timing.load import Load
from poolproof.harness.model.verdict import Verdict

SCHEMA_VERSION = "1.0"


class Estimate(msgspec.Struct, frozen=True):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one pool. `estimate` is None if too little or nothing was recorded; `why` gives the reason.

    `unit` is one of `UNIT_NAMES` in metrics.py: "s", "1/s", "B", "B/s", or "1" (a count or a share).
    """

    metric: str
    unit: str
    estimate: Estimate | None
    samples: int
    why: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The test of one metric of the candidate against the baseline.

    `ratio` is candidate / baseline, `control` the ratio of the baseline's two pools; `better` is "lower" or "higher".
    `margin` is the one that was used: the requested margin, or the control's noise if that is larger. `p_worse`,
    `p_no_worse` and `p_better` are one-sided, before Holm's correction. `settle` says how an undecided test can be
    decided.
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

    `at_s` is the block's begin, in seconds from the bench's begin. `lag_s` is the 99th percentile of the generator's
    lag in an open loop.
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
    """Resources of a pool at one moment: its workers summed, or this process.

    Processor seconds and context switches count from the process's start. PSS is None if it cannot be read.
    """

    cpu_s: float
    rss_bytes: int
    pss_bytes: int | None
    fds: int
    threads: int
    switches: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Resources after a block of this pool, `at_s` seconds after the bench's begin; `process` made the calls."""

    at_s: float
    workers: Resources
    process: Resources


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one pool. `errors` counts failed calls by error class.

    `failure` describes the first failed call, which may be a warm-up call.
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
    """A budget and its verdict. `left` and `right` are the values of its two sides; `share` is the share of resampled
    values for which it holds.
    """

    text: str
    verdict: Verdict
    left: float | None = None
    right: float | None = None
    share: float | None = None
    why: str = ""


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """Whether figures may be quoted. `problems` make them invalid; `warnings` are advice."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """True if no problem was found."""
        return not self.problems


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's other activity during a bench. Shares are of the time of all processors.

    `gate`: the quiet gate was held. `others` is the share of processes outside the bench, `steal` that of the host.
    """

    gate: bool
    others: float
    steal: float
    load_before: float
    load_after: float
    clock_ns: int


class MachineKey(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of the machine that must be equal if two figures are compared."""

    processor: str
    cpus: int
    memory_gib: int
    kernel: str
    interpreter: str
    governor: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule of a bench, fixed before the first block.

    `until_width` > 0 ends the bench as soon as every ratio's interval has at most this half width. The rule looks at
    widths and never at verdicts, after every fifth round from `least_rounds` on. `limit_s` > 0 ends the bench after the
    first round that ends at least this many seconds after the begin, but not before the fifth round.
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
    """One work, measured on two pools. `claim` is INCONCLUSIVE if the figures are not valid.

    `file` defines the work if it is not in the catalogue; `call` is the repeated call if the work is no scenario.
    `wrong` has a sentence for each wrong answer; any wrong answer makes the bench invalid. Service times and waits were
    measured in `observed_rounds` separate rounds, on pools with an observer; all other figures on pools without one.
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
    """All benches of one command. `claim` is the worst of their claims; Holm's correction covers all their tests."""

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
    """One pool at one size: figures over all of its blocks. A quantile is None if there are too few calls for it."""

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
    """One pool along one axis ("workers" or "clients"): its fit of the scalability law and its measured knee.

    `intervals` are the 95 % intervals of `rate`, `contention` and `coherency`.
    """

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
    intervals: dict[str, Estimate] = {}


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput and latency of each pool by workers and by clients. This is the format of sweep.json."""

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
