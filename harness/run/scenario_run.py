"""One run of a scenario: makes and records the pool, carries out the phases of the run, and counts what is left."""

from __future__ import annotations

from poolproof.bridge import PoolError
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.face import Setting
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.run.phases import Phases
from poolproof.harness.run.pool.warm_up import learn
from poolproof.harness.run.recording.internal_errors import InternalErrors
from poolproof.harness.run.recording.recording import Recording
from poolproof.harness.run.request import Subject, choices
from poolproof.harness.run.store import RunFolder

NOISY_FAULTS = frozenset({FaultKind.FD_EXHAUSTION, FaultKind.HOOK_JUNK, FaultKind.FORK})
"""Faults after which a pool may log errors: it has no descriptors, or its hooks fail."""


class ScenarioRun:
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
        self._face = subject.face(info.face)
        self._size = size
        self._probe = probe
        self._models = models
        self._folder = folder
        if subject.learns:
            learn(scenario, subject, info, setting.config, size)
        self._recording = Recording(folder, setting.config.env)
        self._recorder = self._recording.recorder

    def carry_out(self) -> None:
        """Do all steps of the run; whatever happens, the pool is closed and the history is complete."""
        with InternalErrors() as internal:
            self._carry_out()
            if not NOISY_FAULTS & {fault.kind for fault in self._scenario.faults}:
                for text in internal.found:
                    self._recorder.mark("complaint", text)
        self._recorder.close()
        self._recorder.redact_files(self._folder.stderr)

    def _carry_out(self) -> None:
        recorder = self._recorder
        try:
            phases = Phases(
                self._scenario,
                self._subject,
                self._info,
                self._setting.config,
                _checked(self._scenario.workload(choices(self._info.scenario, self._info.seed), self._size)),
                self._recording,
                probe=self._probe,
                starts=str(self._folder.starts),
                models=self._models,
            )
            try:
                pool = self._subject.make(
                    self._setting.config, self._recording.observe if self._info.observed else None
                )
                way = self._face.over(pool, self._setting)
                del pool
            except PoolError as error:
                recorder.mark("trouble", f"the pool could not be made: {error}")
                return
            try:
                phases.act(way)
            finally:
                try:
                    phases.close(way)
                finally:
                    way.release()
                for complaint in way.complaints():
                    recorder.mark("complaint", complaint)
                del way
                self._recording.record_leftovers(phases.pids)
            recorder.mark("finished")
        except Exception as error:
            recorder.mark("trouble", f"{type(error).__name__}: {error}")


def _checked(plan: Plan) -> Plan:
    # Steps with labels of the harness's own would be taken for its probes.
    for label in {step.label for steps in plan for step in steps}:
        if label.startswith(RESERVED):
            raise UsageError(
                f"label {label!r}: labels that begin with {RESERVED!r} are those of the harness's own calls"
            )
    return plan
