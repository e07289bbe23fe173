"""Runs one scenario on one pool with one seed: clients and nemesis act, the recorder writes, checkers judge.

After the last fault all faults are lifted. Then plain calls probe the pool, and it is brought to its full size.

Knows nothing of comparisons, pytest or the command line. The checkers read the history from disk, so a later analysis
of the folder gives the same findings.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import Capability, ConfigError, Pool, PoolConfig, PoolError
from poolproof.bridge.clock import now_ns
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.faults.faulty_worker import lift, wrap
from poolproof.harness.faults.injuries import Stage
from poolproof.harness.faults.nemesis import Nemesis
from poolproof.harness.history.chart_data import draw
from poolproof.harness.history.history import History, RunInfo
from poolproof.harness.history.metrics import measure
from poolproof.harness.history.replay import replay_command
from poolproof.harness.model.checker import MAX_EXAMPLES, Finding, asked_in, run_checker
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.face import Setting, Way
from poolproof.harness.model.fault import CLIENT_FAULTS, START_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict, worst
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.run.client import Client
from poolproof.harness.run.journal_reader import JournalReader
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.recorder import Recorder
from poolproof.harness.run.request import PoolFactory, Request, Subject, choices, plan_of, size_of, why_skipped
from poolproof.harness.run.resource_snapshot import leftovers_since, take_census
from poolproof.harness.run.store import RunFolder
from poolproof.harness.run.worker_tracker import WorkerTracker

FACE_CHECKER = "face"
"""The checker's name in findings of the face itself."""
LEFTOVER_PATIENCE_S = 2.0
START_PATIENCE_S = 30.0
"""How many seconds a worker may take to start on a busy machine, in scenarios that do not test starts."""
CLOSE_GRACE_S = 5.0
PROBE_LABEL = "probe"
PROBES_PER_WORKER = 2
HEAL_PATIENCE_S = 5.0
HEAL_RETRY_S = 0.1


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
        worker_command=request.worker_command or "",
        face=face.name,
        observed=request.observed,
        baseline="" if baseline is None or not face.two_pools else baseline.name,
        void=face.void(scenario, plan_of(scenario, request)),
        uncounted=tuple(sorted(face.uncounted)),
    )
    folder = RunFolder.create(out, info)
    known = request.known_commands
    probe = next((command for command in ("echo", "ping") if known is None or command in known), "")
    with serving_models(scenario) as models:
        config = _configure(scenario, request, info, info.pool, folder, models)
        setting = Setting(config=config, folder=folder.path)
        if face.two_pools and baseline is not None:
            other = _configure(scenario, request, info, baseline.name, folder, models)
            setting = replace(setting, baseline=baseline.make, baseline_config=other)
        setting = replace(setting, config=face.configure(config, setting))
        face.prepare()
        _Run(scenario, subject, info, setting, size, folder, probe, models).carry_out()
    result = analyze(scenario, folder)
    result = msgspec.structs.replace(result, duration_s=time.monotonic() - began)
    folder.write_result(result)
    return result


def analyze(scenario: Scenario, folder: RunFolder) -> RunResult:
    """Judge a run from its folder alone. Raises RecordError if the folder is not a run folder."""
    history = folder.read_history()
    info = history.info
    asked = [
        checker
        for checker in scenario.checkers
        if asked_in(checker, observed=info.observed) and checker.name not in info.void
    ]
    findings = tuple(run_checker(checker, history) for checker in asked) + _complain(history)
    trouble = history.trouble
    if not history.finished:
        trouble = "; ".join(part for part in (trouble, "the run was cut off") if part)
    verdict = worst(finding.verdict for finding in findings)
    if trouble and verdict is Verdict.PASS:
        verdict = Verdict.UNKNOWN
    return RunResult(
        scenario=info.scenario,
        pool=info.pool,
        seed=info.seed,
        verdict=verdict,
        findings=findings,
        metrics=measure(history),
        picture=draw(history, findings),
        folder=str(folder.path),
        trouble=trouble,
        replay=replay_command(info),
        face=info.face,
        observed=info.observed,
        unasked=tuple(checker.name for checker in scenario.checkers if checker not in asked),
    )


def _complain(history: History) -> tuple[Finding, ...]:
    if not history.complaints:
        return ()
    claim = f"the face {history.info.face} reported: {history.complaints[0]}"
    return (
        Finding(checker=FACE_CHECKER, verdict=Verdict.FAIL, claim=claim, examples=history.complaints[1:MAX_EXAMPLES]),
    )


@contextlib.contextmanager
def serving_models(scenario: Scenario) -> Iterator[LoopbackModels | None]:
    """Run the scenario's model server, if it has one, during the block."""
    if scenario.models is None:
        yield None
        return
    with LoopbackModels(scenario.models) as models:
        yield models


def _configure(
    scenario: Scenario, request: Request, info: RunInfo, pool: str, folder: RunFolder, models: LoopbackModels | None
) -> PoolConfig:
    options: dict[str, Any] = {
        "start_timeout_s": START_PATIENCE_S,
        **scenario.options_for(pool),
        "name": info.pool_name if pool == info.pool else f"{info.pool_name}-baseline",
        "workers": info.workers,
    }
    if request.worker_command is not None:
        options["worker_command"] = request.worker_command
    options["log_dir"] = str(folder.stderr)
    served = {} if models is None else models.environment()
    options["env"] = {**served, **options.get("env", {}), JOURNAL_VARIABLE: str(folder.journal)}
    try:
        config = PoolConfig.from_options(options)
    except ConfigError as error:
        raise UsageError(f"scenario {scenario.name!r} on {pool}: {error}") from error
    starts = tuple(fault for fault in scenario.faults if fault.kind in START_FAULTS)
    if starts:
        command = wrap(config.command_words(), starts, str(folder.starts))
        config = msgspec.structs.replace(config, worker_command=command)
    return config


class _Run:
    """One run in progress. Order matters: recorder, snapshot, pool, clients, nemesis, statistics, close, snapshot."""

    def __init__(
        self,
        scenario: Scenario,
        subject: Subject,
        info: RunInfo,
        setting: Setting,
        size: Size,
        folder: RunFolder,
        probe: str,
        models: LoopbackModels | None = None,
    ) -> None:
        self._scenario = scenario
        self._subject = subject
        self._info = info
        self._setting = setting
        self._config = setting.config
        self._face = subject.face(info.face)
        self._size = size
        self._probe = probe
        self._models = models
        self._starts = str(folder.starts)
        self._plan: Plan = ()
        self._roll = WorkerTracker()
        self._recorder = Recorder(folder.history, self._roll)
        self._before = take_census()  # includes the recorder's thread and file, which outlive the pool
        self._follower = JournalReader(folder.journal, self._roll, self._recorder)
        self._pids: set[int] = set()
        self._stop = threading.Event()

    def carry_out(self) -> None:
        """Do all steps of the run; whatever happens, the pool is closed and the history is complete."""
        recorder = self._recorder
        try:
            self._plan = self._scenario.workload(choices(self._info.scenario, self._info.seed), self._size)
            try:
                pool = self._subject.make(self._config, self._observe if self._info.observed else None)
                way = self._face.over(pool, self._setting)
                del pool
            except PoolError as error:
                recorder.mark("trouble", f"the pool could not be made: {error}")
                return
            try:
                self._act(way)
            finally:
                self._close(way)
                for complaint in way.complaints():
                    recorder.mark("complaint", complaint)
                del way
                self._follower.stop()
                pids = frozenset(self._roll.seen | self._pids)
                left = leftovers_since(self._before, patience_s=LEFTOVER_PATIENCE_S, extra_pids=pids)
                recorder.leftovers(left)
            recorder.mark("finished")
        except Exception as error:
            recorder.mark("trouble", f"{type(error).__name__}: {error}")
        finally:
            recorder.close()

    def _observe(self, event: Any) -> None:  # noqa: ANN401 - poolproof.bridge.Event
        self._roll.observe(event)
        self._recorder.observe(event)

    def _act(self, way: Way) -> None:
        recorder, scenario, pool = self._recorder, self._scenario, way.pool
        if scenario.warm and Capability.WARM_UP in self._subject.capabilities:
            try:
                pool.warm_up()
            except PoolError as error:
                recorder.mark("trouble", f"the pool did not warm up: {error}")
        for name in {step.after for steps in self._plan for step in steps} | {fault.when for fault in scenario.faults}:
            if name:
                recorder.moment(name)
        if self._needs_follower():
            self._follower.look()
            self._follower.start()
        recorder.mark("begun")
        begin_ns = now_ns()
        deadline = time.monotonic() + scenario.budget_s
        clients, first = [], 0
        for number, steps in enumerate(self._plan):
            clients.append(self._client(number, steps, way, first, begin_ns))
            first += len(steps)
        here = self._client_here(clients)
        stage = Stage(
            pool=pool,
            recorder=recorder,
            stop=self._stop,
            roll=self._roll,
            config=self._config,
            make=self._subject.make,
            subject=self._subject.name,
            main_client=here,
            pids=self._pids,
            models=self._models,
            close=way.close,
            look=self._follower.look,
        )
        nemesis = Nemesis(scenario.faults, stage, begin_ns=begin_ns)
        try:
            nemesis.start()
            for client in clients:
                if client is not here:
                    client.start()
            if here is not None:
                here.run_here()
            late = [client.name for client in clients if client is not here and not _join(client, deadline)]
            if late:
                recorder.mark("trouble", f"the budget of {scenario.budget_s} s was over before {', '.join(late)}")
        finally:
            self._stop.set()
            recorder.mark("ended")
            if not nemesis.join(max(CLOSE_GRACE_S, deadline - time.monotonic())):
                recorder.mark("trouble", "a fault was still being inflicted when the run was over")
        if not late:
            self._heal(way, first, begin_ns)
            self._count(pool)
        else:
            self._close(way)
            deadline = time.monotonic() + CLOSE_GRACE_S
            for client in clients:
                if client is not here:
                    _join(client, deadline)

    def _needs_follower(self) -> bool:
        # True if a step or a fault waits for a call to be sent, or a fault needs a busy worker.
        moments = [step.after for steps in self._plan for step in steps]
        moments += [fault.when for fault in self._scenario.faults]
        kinds = {fault.kind for fault in self._scenario.faults}
        return any(name.endswith(":sent") for name in moments) or bool(kinds & {FaultKind.KILL, FaultKind.STOP})

    def _client(self, number: int, steps: tuple[Step, ...], way: Way, first: int, begin_ns: int) -> Client:
        return Client(
            number,
            steps,
            pool=way,
            batches=self._face.batches,
            recorder=self._recorder,
            first_index=first,
            begin_ns=begin_ns,
            seed=self._info.seed,
            stop=self._stop,
            pids=self._pids,
        )

    def _client_here(self, clients: list[Client]) -> Client | None:
        # The client that runs in the main thread; None if there is none. It is the first victim of a client's fault,
        # since nothing can interrupt a client in another thread, or the first client if the face is about the main
        # thread.
        labels = {fault.when.partition(":")[0] for fault in self._scenario.faults if fault.kind in CLIENT_FAULTS}
        if threading.current_thread() is threading.main_thread():
            for client, steps in zip(clients, self._plan, strict=True):
                if any(step.label in labels for step in steps):
                    return client
            if self._face.main_thread and clients:
                return clients[0]
        return None

    def _heal(self, way: Way, first_index: int, begin_ns: int) -> None:
        # Lifts the faults, then makes plain calls and waits for the full size. The recovery is measured from this.
        kinds = {fault.kind for fault in self._scenario.faults}
        injured = kinds or any(step.fault for steps in self._plan for step in steps)
        if kinds & START_FAULTS:
            lift(self._starts)
        if not injured or FaultKind.CLOSE in kinds or not self._probe:
            return
        self._recorder.mark("healed")
        self._stop.clear()
        steps = (Step(command=self._probe, label=PROBE_LABEL),) * (PROBES_PER_WORKER * self._info.workers)
        prober = self._client(len(self._plan), steps, way, first_index, begin_ns)
        prober.start()
        prober.join()  # each of the prober's calls has a limit
        self._recorder.mark("probed")
        if Capability.WARM_UP in self._subject.capabilities:
            deadline = time.monotonic() + HEAL_PATIENCE_S
            while not _warm(way.pool) and time.monotonic() < deadline:
                self._stop.wait(HEAL_RETRY_S)
        self._stop.set()

    def _count(self, pool: Pool) -> None:
        try:
            self._recorder.statistics(pool.status().statistics)
        except PoolError as error:
            self._recorder.mark("no_statistics", str(error))
        if Capability.SESSIONS in self._subject.capabilities:
            try:
                self._recorder.sessions(pool.sessions())
            except PoolError as error:
                self._recorder.mark("no_sessions", str(error))

    def _close(self, way: Way) -> None:
        self._recorder.mark("close_began")
        way.close(CLOSE_GRACE_S)
        self._recorder.mark("close_ended")


def _warm(pool: Pool) -> bool:
    try:
        pool.warm_up()
    except PoolError:
        return False
    return True


def _join(client: Client, deadline: float) -> bool:
    client.join(max(0.0, deadline - time.monotonic()))
    return not client.is_alive()


__all__ = ["History", "PoolFactory", "Request", "Subject", "analyze", "plan_of", "run", "why_skipped"]
