"""Runs one scenario on one pool with one seed, and judges the run.

Knows nothing of comparisons, pytest or the command line. The checkers read the history from disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge.clock import now_ns
from poolproof.bridge.redaction import redact, redact_command
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.history.history import History, RunInfo
from poolproof.harness.model.face import Face, Setting
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.analysis import analyze
from poolproof.harness.run.client import LONG_TOGETHER, MOST_TOGETHER
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.pool.configuration import configure, serving_models
from poolproof.harness.run.request import (
    PoolFactory,
    Request,
    Subject,
    hidden_evidence,
    plan_of,
    size_of,
    why_blind,
    why_skipped,
)
from poolproof.harness.run.scenario_run import ScenarioRun
from poolproof.harness.run.store import RunFolder


def run(
    scenario: Scenario, subject: Subject, request: Request, out: Path, baseline: Subject | None = None
) -> RunResult:
    """Run the scenario and judge it; everything is kept in a new folder under `out`.

    `baseline` is the other pool of a face that needs two pools. Raises UsageError if `out` cannot be written or an
    option is wrong. If the run itself fails, the result's `trouble` says why.
    """
    began = time.monotonic()
    face = subject.face(request.face)
    reason = why_skipped(scenario, subject, request, baseline)
    if reason:
        return RunResult(
            scenario=scenario.name,
            pool=subject.name,
            seed=request.seed,
            face=face.name,
            observed=request.observed,
            verdict=Verdict.UNKNOWN,
            skipped=reason,
            blind=bool(why_blind(scenario, subject, request)),
            lacks=tuple(sorted(scenario.needs - subject.capabilities)),
        )
    size = size_of(scenario, request)
    options = scenario.options_for(subject.name)
    info = RunInfo(
        scenario=scenario.name,
        file=scenario.file,
        pool=subject.name,
        pool_name=pool_name(scenario.name, subject.name),
        seed=request.seed,
        workers=size.workers,
        clients=size.clients,
        profile=request.profile,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        started_ns=now_ns(),
        call_timeout_s=float(options.get("call_timeout_s") or subject.call_timeout_s),
        checkout_timeout_s=float(options.get("checkout_timeout_s") or subject.checkout_timeout_s),
        worker_command=redact_command(request.worker_command or ""),
        face=face.name,
        observed=request.observed,
        baseline="" if baseline is None or not face.two_pools else baseline.name,
        void=face.void(scenario, plan_of(scenario, request)),
        uncounted=tuple(sorted(face.uncounted)),
        limits_service=face.limits_service,
        options=redact({name: value for name, value in options.items() if name != "env"}),
        capabilities=tuple(sorted(subject.capabilities)),
        cannot_show=tuple(sorted(hidden_evidence(subject, request))),
        together=_together(face, options),
    )
    folder = RunFolder.create(out, info)
    known = request.known_commands
    probe = next(
        (
            command
            for command in ("echo", "ping")
            if all(words is None or command in words for words in (known, subject.commands))
        ),
        "",
    )
    with serving_models(scenario) as models:
        config = configure(scenario, request, info, info.pool, folder, models)
        setting = Setting(config=config, folder=folder.path)
        if face.two_pools and baseline is not None:
            other = configure(scenario, request, info, baseline.name, folder, models)
            setting = replace(setting, baseline=baseline.make, baseline_config=other)
        setting = replace(setting, config=face.configure(config, setting))
        face.prepare()
        ScenarioRun(scenario, subject, info, setting, size, folder, probe, models).carry_out()
    result = analyze(scenario, folder)
    result = msgspec.structs.replace(result, duration_s=time.monotonic() - began)
    folder.write_result(result)
    return result


def _together(face: Face, options: Mapping[str, Any]) -> int:
    # A long batch goes to one worker as a whole, so it would hide how many requests a worker may serve.
    if not face.batches:
        return 1
    return MOST_TOGETHER if "max_requests" in options else LONG_TOGETHER


__all__ = ["History", "PoolFactory", "Request", "Subject", "analyze", "plan_of", "run", "why_skipped"]
