"""The phases of a run on an open pool: warm-up, clients and faults, recovery, probes, close.

After the last fault all faults are lifted. Then plain calls probe the pool, and it is brought to its full size.
"""

from __future__ import annotations

import threading
import time

from poolproof.bridge import Capability, Pool, PoolConfig, PoolError
from poolproof.bridge.clock import now_ns
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.faults.faulty_worker import lift
from poolproof.harness.faults.nemesis import Nemesis
from poolproof.harness.faults.stage import Stage
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.face import Way
from poolproof.harness.model.fault import CLIENT_FAULTS, CLOSING, START_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step
from poolproof.harness.run.client import Client
from poolproof.harness.run.pool.probes import Probing
from poolproof.harness.run.recording.recording import Recording
from poolproof.harness.run.request import Subject

CLOSE_GRACE_S = 5.0
PROBE_LABEL = "probe"
PROBES_PER_WORKER = 2
HEAL_PATIENCE_S = 5.0
HEAL_RETRY_S = 0.1


class Phases:
    """The phases of one run. Keeps no reference to the pool, so that nothing but the pool itself can keep it alive.

    `plan` has the steps of each client, `probe` is the command that probes the pool ("" for none), `starts` is the file
    of the faults of starting workers. The ids of further processes that must be gone at the end are added to `pids`.
    """

    def __init__(
        self,
        scenario: Scenario,
        subject: Subject,
        info: RunInfo,
        config: PoolConfig,
        plan: Plan,
        recording: Recording,
        *,
        probe: str,
        starts: str,
        models: LoopbackModels | None,
    ) -> None:
        self._scenario = scenario
        self._subject = subject
        self._info = info
        self._config = config
        self._face = subject.face(info.face)
        self._plan = plan
        self._recording = recording
        self._recorder = recording.recorder
        self._probe = probe
        self._starts = starts
        self._models = models
        self._stop = threading.Event()
        self.pids: set[int] = set()

    def act(self, way: Way) -> None:
        """Carry out the workload and the faults on this open pool, then lift the faults and probe the pool.

        If the clients do not end within the scenario's budget, the pool is closed and nothing is probed.
        """
        recorder, scenario, pool = self._recorder, self._scenario, way.pool
        if scenario.warm and Capability.WARM_UP in self._subject.capabilities:
            try:
                pool.warm_up()
            except PoolError as error:
                recorder.mark("trouble", f"the pool did not warm up: {error}")
        for name in {step.after for steps in self._plan for step in steps} | {fault.when for fault in scenario.faults}:
            if name:
                recorder.moment(name)
        if self._follows_journals():
            self._recording.journals.look()
            self._recording.journals.start()
        in_sessions = any(step.session is not None for steps in self._plan for step in steps)
        probing = Probing(way, recorder, scenario, self._info, in_sessions=in_sessions, remembers=self._face.remembers)
        probing.start()
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
            roll=self._recording.tracker,
            config=self._config,
            make=self._subject.make,
            subject=self._subject.name,
            main_client=here,
            pids=self.pids,
            models=self._models,
            close=way.close,
            look=self._recording.journals.look,
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
            first = self._heal(way, first, begin_ns)
            probing.fill(lambda number, steps, index: self._prober(number, steps, way, index, begin_ns), first)
            probing.stop()
            self._count(pool)
            probing.measure_growth()
        else:
            probing.stop()
            self.close(way)
            deadline = time.monotonic() + CLOSE_GRACE_S
            for client in clients:
                if client is not here:
                    _join(client, deadline)

    def _follows_journals(self) -> bool:
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
            together=self._info.together,
            recorder=self._recorder,
            first_index=first,
            begin_ns=begin_ns,
            seed=self._info.seed,
            stop=self._stop,
            pids=self.pids,
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

    def _prober(self, number: int, steps: tuple[Step, ...], way: Way, first_index: int, begin_ns: int) -> Client:
        self._stop.clear()  # which has ended the clients of the plan
        return self._client(len(self._plan) + number, steps, way, first_index, begin_ns)

    def _heal(self, way: Way, first_index: int, begin_ns: int) -> int:
        # Lifts the faults, then makes plain calls and waits for the full size. The recovery is measured from this.
        # Returns the index of the next operation.
        kinds = {fault.kind for fault in self._scenario.faults}
        injured = kinds or any(step.fault for steps in self._plan for step in steps)
        if kinds & START_FAULTS:
            lift(self._starts)
        if not injured or kinds & CLOSING or not self._probe:
            return first_index
        self._recorder.mark("healed")
        steps = (Step(command=self._probe, label=PROBE_LABEL),) * (PROBES_PER_WORKER * self._info.workers)
        prober = self._prober(0, steps, way, first_index, begin_ns)
        prober.start()
        prober.join()  # each of the prober's calls has a limit
        self._recorder.mark("probed")
        if Capability.WARM_UP in self._subject.capabilities:
            deadline = time.monotonic() + HEAL_PATIENCE_S
            while not _warm(way.pool) and time.monotonic() < deadline:
                self._stop.wait(HEAL_RETRY_S)
        self._stop.set()
        return first_index + len(steps)

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

    def close(self, way: Way) -> None:
        """Close the pool, with a grace period for its calls, and record when that began and ended."""
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
