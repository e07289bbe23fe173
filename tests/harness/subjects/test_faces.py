"""Faces: each carries plain calls, errors and large answers; a pool that is wrong through one is told by its name."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import Capability, CheckoutTimeout, CommandError, PoolConfig, WorkerCrashed
from poolproof.harness.checkers import LabelledOutcome, OneOutcome
from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.model.errors import RunError, UsageError
from poolproof.harness.model.face import USUAL_FACES, Face, Setting, ended_before
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size, Step
from poolproof.harness.mutation.lifecycle_tests.probes import PROBES
from poolproof.harness.run.job import start_job
from poolproof.harness.run.runner import Request, Subject, run, why_skipped
from poolproof.harness.subjects.faces import ALL_FACES, FACES
from poolproof.harness.subjects.faces.blocking import joined
from poolproof.harness.subjects.faces.executor import Submissions
from poolproof.harness.subjects.faces.migrating import ROUTE, STAY_CALLS
from poolproof.harness.subjects.faces.tasks import Tasks
from poolproof.harness.subjects.pools import as_subject, find_pool
from poolproof.pool_v2 import PoolExecutor, PoolV2
from tests.harness import candidates

REFUSED = frozenset({"result", "QueueFull", "CheckoutTimeout"})
V1, V2 = find_pool("v1"), find_pool("v2")
SMALL = Size(workers=2, clients=2)
CANDIDATES = "tests.harness.candidates"


def make_run(pool: Subject, scenario: str, out: Path, *, face: str, observed: bool = False) -> RunResult:
    request = Request(size=SMALL, face=face, observed=observed)
    chosen = all_scenarios()[scenario]
    reason = why_skipped(chosen, pool, request, V1)
    if reason:
        pytest.skip(reason)
    return start_job(chosen, pool, request, out).result(90)


@pytest.fixture(autouse=True)
def unspoiled() -> Iterator[None]:
    """Undo what a candidate's factory, which is called here to be asked what it can, has patched."""
    kept = [(kind, name, vars(kind)[name]) for kind, name in candidates.PATCHED]
    yield
    for kind, name, value in kept:
        setattr(kind, name, value)
        if "spoiled" in vars(kind):
            delattr(kind, "spoiled")


@pytest.mark.parametrize("face", [face.name for face in ALL_FACES])
def test_v2_passes_answers_of_every_size_through_each_face(face: str, tmp_path: Path) -> None:
    result = make_run(V2, "answer_sizes", tmp_path, face=face)
    assert (result.verdict, result.trouble, result.findings and result.face) == (Verdict.PASS, "", face)
    assert "--not-observed" in result.replay
    assert f"--face {face}" in result.replay


@pytest.mark.parametrize(
    ("pool", "scenario", "face", "observed"),
    [
        ("OnlyUnobserved", "answer_sizes", "execute", False),
        ("OnlyObserved", "answer_sizes", "execute", True),
        ("OnlyOffMain", "answer_sizes", "execute", False),
        ("OnlyMain", "answer_sizes", "main_thread", False),
        ("OnlySessions", "session_sizes", "execute", False),
        ("OnlyLarge", "answer_sizes", "execute", False),
        ("OnlyBatches", "answer_sizes", "many", False),
        ("only_streams", "answer_sizes", "stream", False),
        ("only_asyncio", "answer_sizes", "asyncio", False),
        ("only_executor", "answer_sizes", "executor", False),
    ],
)
def test_a_pool_that_is_wrong_one_way_fails_that_way_and_no_other(
    pool: str, scenario: str, face: str, observed: bool, tmp_path: Path
) -> None:
    wrong = find_pool(f"{CANDIDATES}:{pool}")
    result = make_run(wrong, scenario, tmp_path, face=face, observed=observed)
    assert (result.verdict, result.trouble) == (Verdict.FAIL, "")
    assert f"face {face}, {'observed' if observed else 'not observed'}" in result.made_in
    elsewhere = {"OnlyUnobserved": ("execute", True), "OnlyOffMain": ("asyncio", False)}.get(pool, ("lease", False))
    if pool == "OnlySessions":
        elsewhere = ("asyncio", False)
    other = make_run(wrong, scenario, tmp_path, face=elsewhere[0], observed=elsewhere[1])
    assert (other.verdict, other.trouble) == (Verdict.PASS, "")


def test_a_pool_has_the_faces_that_its_class_has_or_its_factory_names() -> None:
    assert V1.faces == USUAL_FACES
    assert find_pool(f"{CANDIDATES}:OnlyLarge").faces == ALL_FACES
    assert find_pool(f"{CANDIDATES}:only_asyncio").faces == ALL_FACES

    def factory(config: Any, observer: Any) -> Any:
        return V2.make(config, observer)

    factory.faces = ("lease",)  # type: ignore[attr-defined]
    assert [face.name for face in as_subject(factory, "own").faces] == ["execute", "main_thread", "lease"]
    factory.faces = {"mine": lambda pool: pool}  # type: ignore[attr-defined]
    assert [face.name for face in as_subject(factory, "own").faces] == ["execute", "main_thread", "mine"]
    factory.faces = ("nose",)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no face 'nose'"):
        as_subject(factory, "own")


def test_a_face_that_a_pool_lacks_is_named(tiny: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="v1 has no face 'asyncio'; it has execute, main_thread"):
        why_skipped(tiny(), V1, Request(face="asyncio"))


def test_what_a_face_cannot_carry_is_skipped_with_its_reason(tiny: Callable[..., Any]) -> None:
    missing = Face(name="execute", summary="a face", package="no_such_package")
    subject = msgspec.structs.replace(V2, faces=(missing,))
    assert why_skipped(tiny(), subject, Request()) == "no_such_package is not installed"
    assert "belong to no call" in why_skipped(tiny(), V2, Request(face="executor", observed=True))
    assert "needs a baseline" in why_skipped(tiny(), V2, Request(face="migrating_v2", observed=False))
    sessions = all_scenarios()["session_state"]
    assert "sessions" in why_skipped(sessions, V2, Request(face="lease"))
    foreign = Request(face="zygote", worker_command="some program")
    assert "shipped worker" in why_skipped(tiny(), V2, foreign)
    silent = msgspec.structs.replace(V2, capabilities=V2.capabilities - {Capability.SESSIONS})
    assert "lacks sessions" in why_skipped(sessions, silent, Request())


@pytest.mark.parametrize(
    ("face", "checker", "runs"),
    [
        ("executor", OneOutcome(allowed=REFUSED, at_least={"QueueFull": 1}), False),
        ("executor", LabelledOutcome(label="a", outcomes=frozenset({"CheckoutTimeout"})), False),
        ("executor", LabelledOutcome(label="a", outcomes=REFUSED), True),
        ("executor", OneOutcome(allowed=REFUSED), True),
        ("migrating_canary", LabelledOutcome(label="a", outcomes=frozenset({"CheckoutTimeout"})), False),
        ("migrating_canary", OneOutcome(allowed=REFUSED), True),
        ("migrating_moving", OneOutcome(allowed=REFUSED), True),
        ("migrating_tasks", LabelledOutcome(label="a", outcomes=frozenset({"CheckoutTimeout"})), False),
        ("migrating_v2", LabelledOutcome(label="a", outcomes=frozenset({"CheckoutTimeout"})), True),
        ("many", OneOutcome(allowed=REFUSED, at_least={"QueueFull": 1}), True),
    ],
)
def test_a_scenario_that_demands_an_outcome_is_not_run_through_a_face_that_lacks_it(
    face: str, checker: Any, runs: bool, tiny: Callable[..., Any]
) -> None:
    scenario = tiny(checkers=(checker,), config=PATIENT)
    reason = why_skipped(scenario, V2, Request(face=face, observed=False), V1)
    told = f"through the face {face} no call is sure to end as CheckoutTimeout or QueueFull"
    assert reason == ("" if runs else told)


@pytest.mark.parametrize("name", ["full_queue", "late_worker"])
def test_a_lease_that_is_refused_is_no_call_and_the_rest_is_counted(name: str, tmp_path: Path) -> None:
    request = Request(face="lease", observed=False)
    result = run({one.name: one for one in PROBES}[name], V2, request, tmp_path)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")
    assert "conserved" not in result.unasked


def test_a_stream_of_one_answer_that_has_another_number_of_parts_is_no_answer() -> None:
    assert joined("echo", ["a"]) == "a"
    assert joined("parts", []) == []
    for parts in ([], ["a", "b"]):
        with pytest.raises(AssertionError):
            joined("echo", parts)


def test_a_spoiled_answer_is_another_one() -> None:
    assert candidates.spoil({"nonce": "a"}) != {"nonce": "a"}
    assert candidates.spoil("a") != "a"


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_interrupt_of_a_client_whose_task_has_ended_knows_its_outcome(
    monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    # The task has ended, and so has been counted, before its client's thread learns of it.
    class Interrupted(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

        def cancel(self) -> bool:
            return cancelled

    def run_now(work: Coroutine[Any, Any, Any], loop: object) -> Future[Any]:
        with pytest.raises(StopIteration):
            work.send(None)
        return Interrupted()

    async def answer() -> str:
        return "an answer"

    with PoolV2(PoolConfig(workers=1)) as pool:
        way = Tasks(pool, asyncio.new_event_loop)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "run_coroutine_threadsafe", run_now)
            with pytest.raises(KeyboardInterrupt) as caught:
                way._run(answer())
        way.close(5.0)
        way.release()
    ended = ended_before(caught.value)
    assert ended is not None
    assert ended.result() == "an answer"


def test_each_failing_call_that_a_worker_runs_with_others_has_its_own_error(tmp_path: Path) -> None:
    config = PoolConfig(workers=1)
    steps = [Step(command="fail", args={"message": f"failed: {number}"}) for number in range(60)]
    with PoolV2(config) as pool:
        way = Submissions(pool, Setting(config=config, folder=tmp_path))
        found = way.execute_batch(steps, [step.args for step in steps])
        way.close(1.0)
    assert [type(one) for one in found] == [CommandError] * 60
    assert all(str(one).endswith(f"failed: {number}") for number, one in enumerate(found))


def setting_of(config: PoolConfig, folder: Path) -> Setting:
    return Setting(config=config, folder=folder)


def test_equal_calls_share_a_lease_until_one_of_them_ends_the_worker(tmp_path: Path) -> None:
    config = PoolConfig(workers=2, env=fault_environment())
    with PoolV2(config) as pool:
        way = FACES["lease"].over(pool, setting_of(config, tmp_path))
        pids = way.execute_batch([Step(command="pid")] * 3, [{}] * 3)
        assert len({found["pid"] for found in pids}) == 1
        assert len(pids) == 3
        ended = way.execute_batch([Step(command="exit")] * 2, [{}] * 2)
        assert [type(error) for error in ended] == [WorkerCrashed] * 2
        failed = way.execute_batch([Step(command="fail")] * 2, [{"message": "one"}, {"message": "two"}])
        assert [str(error) for error in failed] == ["one", "two"]


def test_a_lease_that_is_refused_refuses_each_of_its_calls(tmp_path: Path) -> None:
    config = PoolConfig(workers=1)
    with PoolV2(config) as pool, pool.checkout():
        way = FACES["lease"].over(pool, setting_of(config, tmp_path))
        step = Step(command="echo", checkout_timeout_s=0.01)
        found = way.execute_batch([step] * 2, [{}] * 2)
    assert [type(error) for error in found] == [CheckoutTimeout] * 2


@pytest.mark.parametrize("face", ["many", "asyncio_many"])
def test_a_batch_of_one_raises_the_error_of_its_call(face: str, tmp_path: Path) -> None:
    config = PoolConfig(workers=1)
    with PoolV2(config) as pool:
        way = FACES[face].over(pool, setting_of(config, tmp_path))
        try:
            with pytest.raises(CommandError) as raised:
                way.execute("fail", {"message": "its own"})
        finally:
            way.close(0.0)
            way.release()
    assert raised.value.message == "its own"


def test_an_executor_whose_map_loses_an_error_gives_too_few_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PoolConfig(workers=1)
    with PoolV2(config) as pool:
        way = FACES["executor"].over(pool, setting_of(config, tmp_path))
        monkeypatch.setattr(PoolExecutor, "map", lambda *_, **__: iter(()))
        try:
            with pytest.raises(StopIteration):
                way.execute_batch([Step(command="fail")] * 2, [{"message": "one"}, {"message": "two"}])
        finally:
            way.close(0.0)


@pytest.mark.parametrize("face", ["migrating_moving", "migrating_tasks"])
def test_a_moving_migration_takes_its_positions_in_turn(face: str, tmp_path: Path) -> None:
    config = PoolConfig(workers=1)
    setting = Setting(config=config, folder=tmp_path, baseline=V1.make, baseline_config=config)
    way: Any = FACES[face].over(V2.make(config, None), setting)
    try:
        seen = []
        for number in range(STAY_CALLS * len(ROUTE)):
            way.execute("append", {"key": "calls", "value": number}, session="s")
            seen.append(str(getattr(way, "migrating", way.pool).position))
        values = way.execute("get", {"key": "calls"}, session="s")["value"]
    finally:
        way.close(1.0)
        way.release()
    assert [position for position, _ in itertools.groupby(seen)] == ["v1", *ROUTE]
    assert values == list(range(len(seen)))
    assert way.complaints() == ()


def test_a_migration_of_tasks_needs_a_baseline_and_leaves_nothing_without(tmp_path: Path) -> None:
    config = PoolConfig(workers=1)
    with PoolV2(config) as pool, pytest.raises(RunError, match="baseline"):
        FACES["migrating_tasks"].over(pool, setting_of(config, tmp_path))


@pytest.mark.parametrize("face", ["migrating_moving", "migrating_tasks"])
def test_a_moving_migration_runs_no_scenario_with_faults(face: str, tiny: Callable[..., Any]) -> None:
    request = Request(face=face, observed=False)
    assert why_skipped(tiny(config=PATIENT), V2, request, V1) == ""
    faulty = tiny(config=PATIENT, faults=(Fault(kind=FaultKind.KILL),))
    assert "in doubt" in why_skipped(faulty, V2, request, V1)
