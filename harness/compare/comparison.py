"""A comparison: what two pools did in the same scenarios, and whether the candidate may replace the baseline.

Pure data. Reports show it and exporters write it; it is not changed afterwards.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.history.chart_data import ChartData
from poolproof.harness.history.recovery import Recovery
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict

SCHEMA_VERSION = "1.6"


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of `count` durations in milliseconds."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch in which one worker was at work, in milliseconds since the begin of the run's first stretch."""

    worker: int
    start_ms: float
    end_ms: float
    command: str
    ok: bool | None = None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one run. A figure is None or empty if nothing was recorded from which it could be computed.

    `response` counts from the intended begin, `service` from send to receive. `overlap_max` is the largest number of
    workers at work at the same time. `timeline` holds at most a few hundred stretches. `recoveries` has one entry for
    each fault that landed, in order of time.
    """

    ops: int = 0
    outcomes: dict[str, int] = {}
    wall_s: float | None = None
    throughput_per_s: float | None = None
    overlap_max: int | None = None
    overlap_mean: float | None = None
    response: Quantiles | None = None
    service: Quantiles | None = None
    timeline: tuple[Busy, ...] = ()
    recoveries: tuple[Recovery, ...] = ()


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one scenario on one pool with one seed.

    `skipped` is why it was not run, `trouble` why the run failed. `replay` is the command that repeats the run. `face`
    is the way in which the pool was called, `observed` whether it had an observer. `unasked` are checkers that such a
    run cannot decide, so that another run must. `not_asked` are checkers that the pool was not asked, since it declares
    that it cannot show the evidence, each with the evidence: ("lives", "events"). `blind`: the whole scenario was
    skipped for that reason. `lacks` are the capabilities for whose lack it was skipped.
    """

    scenario: str
    pool: str
    seed: int
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    metrics: Metrics = Metrics()
    picture: ChartData = ChartData()
    folder: str = ""
    duration_s: float = 0.0
    skipped: str = ""
    trouble: str = ""
    replay: str = ""
    face: str = "execute"
    observed: bool = True
    unasked: tuple[str, ...] = ()
    not_asked: tuple[tuple[str, str], ...] = ()
    blind: bool = False
    lacks: tuple[str, ...] = ()

    @property
    def made_in(self) -> str:
        """Pool, face and observer: "v2, face asyncio, not observed"."""
        return f"{self.pool}, face {self.face}, {'observed' if self.observed else 'not observed'}"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between the pools. `reason` is why it is intended; empty if it was not declared.

    `kind` is "finding" or "answers"; `pool` is the pool with the worse side, and `checker` the checker of the finding.
    `ran_out` describes a declaration that has expired, so that it is no longer a reason. `examples` are operations.
    `made_in` names the run: "v2, face asyncio, not observed".
    """

    kind: str
    pool: str
    checker: str
    text: str
    reason: str = ""
    ran_out: str = ""
    examples: tuple[str, ...] = ()
    made_in: str = ""


class ScenarioComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario on both pools: the main run of each, and its further runs, observed and through other faces.

    `answers_compared` counts the operations whose answers were compared. `answers_ignored` counts those that the
    scenario's own hook left out, and `undecided` describes errors of such a hook.

    `not_seen` has a sentence for each declared difference that did not occur. `file` defines the scenario if it is not
    in the catalogue. `workload` and `configuration` describe the commands, and how the pool differed from a usual pool.
    """

    name: str
    file: str = ""
    summary: str
    failures: tuple[str, ...]
    guarantees: tuple[str, ...]
    baseline: RunResult
    candidate: RunResult
    differences: tuple[Difference, ...] = ()
    answers_compared: int = 0
    answers_ignored: int = 0
    undecided: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()
    workload: str = ""
    configuration: str = ""
    baseline_more: tuple[RunResult, ...] = ()
    candidate_more: tuple[RunResult, ...] = ()

    @property
    def asked_of_candidate_alone(self) -> bool:
        """Whether only the candidate was run, because the baseline lacks a capability that the scenario needs."""
        return bool(self.baseline.lacks) and not self.candidate.skipped

    @property
    def runs(self) -> tuple[tuple[RunResult, tuple[RunResult, ...]], tuple[RunResult, tuple[RunResult, ...]]]:
        """Return the main run and the other runs, of the baseline and then of the candidate."""
        return (self.baseline, self.baseline_more), (self.candidate, self.candidate_more)

    @property
    def all_runs(self) -> tuple[RunResult, ...]:
        """Return every run, both main runs first."""
        return (self.baseline, self.candidate, *self.baseline_more, *self.candidate_more)


class FileCover(msgspec.Struct, frozen=True, kw_only=True):
    """The coverage of one file by all scenarios together; `missing` and `untaken` were executed by no scenario.

    `missing` has lines such as "12-14, 20", `untaken` branches such as "12->15" (a negative end leaves the function).
    """

    path: str
    statements: int
    executed: int
    branches: int = 0
    taken: int = 0
    missing: str = ""
    untaken: str = ""


class ScenarioCover(msgspec.Struct, frozen=True, kw_only=True):
    """The coverage of one scenario on the candidate; `alone` counts lines that no other executed, `files` all lines."""

    scenario: str
    lines: int
    branches: int
    alone: int
    files: dict[str, str] = {}


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """The lines and branches of the candidate that ran, by file and by scenario. `sources` are its packages."""

    sources: tuple[str, ...]
    files: tuple[FileCover, ...]
    scenarios: tuple[ScenarioCover, ...]

    @property
    def percent(self) -> float:
        """Return the executed share of all statements, in percent."""
        statements = sum(file.statements for file in self.files)
        return 100 * sum(file.executed for file in self.files) / statements if statements else 0.0


class Minimum(msgspec.Struct, frozen=True, kw_only=True):
    """The minimum for SAFE: `cells` that the candidate passed, and `lines` percent of its statements executed."""

    cells: int = 1
    lines: float = 0.0


MARGIN = 0.05
"""The share of throughput that the candidate may lose and still count as no worse."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate's figure divided by the baseline's, with a 95 % interval over paired blocks.

    `metric` is "throughput" (higher is better). `margin` is the share that the candidate may lose before it is too
    slow: `allowed`, or the control's noise if that is more. `notes` say what limits the measurement. `wrong` has a
    sentence for each wrong answer of a timed call, which makes the figures worthless.
    """

    scenario: str
    metric: str
    baseline: float
    candidate: float
    ratio: float
    low: float
    high: float
    blocks: int
    margin: float = MARGIN
    allowed: float = MARGIN
    notes: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def too_slow(self) -> bool:
        """Whether the whole interval lies below the margin."""
        return self.high < 1 - self.margin

    @property
    def fast_enough(self) -> bool:
        """Whether the whole interval lies above 1 - `allowed`, so the candidate is no slower than allowed."""
        return self.low >= 1 - self.allowed


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine of the measurement."""

    system: str
    python: str
    cpus: int
    load_before: float
    load_after: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison. `reasons` are sentences, the most important first; `warnings` do not change the decision.

    `not_asked` has a sentence for each kind of evidence that a pool declares it cannot show, with the checkers that
    were therefore not asked.
    `worker_command` is empty for the shipped worker. `explored` are the generated runs, on the candidate alone.
    `total` is how many scenarios the suite has, if the comparison ran a part of them.
    `troubles` are measurements that failed. `not_met` are pairs "FACE: KIND" of a face and a kind of fault or workload
    that no run of this profile covers.
    """

    decision: Decision
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    not_asked: tuple[str, ...] = ()
    baseline: str
    candidate: str
    seed: int
    workers: int
    clients: int
    profile: str
    worker_command: str = ""
    scenarios: tuple[ScenarioComparison, ...]
    total: int | None = None
    explored: tuple[RunResult, ...] = ()
    not_met: tuple[str, ...] = ()
    speeds: tuple[Speed, ...] = ()
    troubles: tuple[str, ...] = ()
    minimum: Minimum = Minimum()
    coverage: Cover | None = None
    machine: Machine
    created_at: str
    duration_s: float
    command: str = ""
    tool_version: str
    schema_version: str = SCHEMA_VERSION
