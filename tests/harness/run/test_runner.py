"""Whole runs of a small scenario on the real pools: recorded, judged, and judged the same from disk."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import Capability, EventKind
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Sessions
from poolproof.harness.history.history import Leftovers
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Plan, Size, Step, steady
from poolproof.harness.run.runner import Request, analyze, run, why_skipped
from poolproof.harness.run.store import RunFolder
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import CATALOGUE

POOLS = ("v1", "v2")
ALL_CHECKS = (OneOutcome(), *CORE)
both_pools = pytest.mark.parametrize("pool", POOLS)


def verdicts(result: Any) -> dict[str, Verdict]:
    return {found.checker: found.verdict for found in result.findings}


@both_pools
def test_a_run_is_recorded_whole_and_passes(tiny: Callable[..., Any], tmp_path: Path, pool: str) -> None:
    result = run(tiny(checkers=ALL_CHECKS), find_pool(pool), Request(seed=3), tmp_path)
    assert (result.scenario, result.pool, result.seed) == ("tiny", pool, 3)
    assert (result.trouble, result.skipped) == ("", "")
    assert set(verdicts(result).values()) == {Verdict.PASS}
    assert result.verdict is Verdict.PASS
    folder = RunFolder(Path(result.folder))
    history = folder.read_history()
    assert [(op.index, op.client) for op in history.ops] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert all(op.completions == 1 and op.call and op.pid and op.sent_ns and op.received_ns for op in history.ops)
    assert sorted(str(service.nonce) for service in history.services) == sorted(op.nonce for op in history.ops)
    assert history.leftovers == Leftovers()
    assert history.statistics is not None
    assert history.statistics.outcomes == {"result": 4}
    assert history.begun_ns is not None
    assert history.ended_ns is not None
    assert history.close_began_ns is not None
    assert history.close_ended_ns is not None
    assert history.begun_ns < history.ended_ns <= history.close_began_ns < history.close_ended_ns
    assert [len(history.events_by_kind[kind]) for kind in (EventKind.SPAWN, EventKind.READY, EventKind.REAP)] == [
        1,
        1,
        1,
    ]
    assert history.finished
    assert (history.info.workers, history.info.clients, history.info.seed) == (1, 2, 3)


@both_pools
def test_a_later_analysis_finds_what_the_run_found(tiny: Callable[..., Any], tmp_path: Path, pool: str) -> None:
    scenario = tiny(checkers=(*ALL_CHECKS, Sessions()))
    result = run(scenario, find_pool(pool), Request(), tmp_path)
    folder = RunFolder(Path(result.folder))
    again = analyze(scenario, folder)
    assert msgspec.structs.replace(again, duration_s=result.duration_s) == result
    assert folder.read_result() == result
    assert verdicts(result)["sessions"] is Verdict.UNKNOWN
    assert result.verdict is Verdict.UNKNOWN


def test_one_seed_sends_the_same_to_both_pools_and_another_seed_does_not(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    def workload(choice: random.Random, size: Size) -> Plan:
        return tuple((Step(command="echo", args={"n": choice.random()}),) for _ in range(size.clients))

    scenario = tiny(workload=workload)
    sent = []
    for pool, seed in (("v1", 1), ("v2", 1), ("v2", 2)):
        result = run(scenario, find_pool(pool), Request(seed=seed), tmp_path)
        sent.append([op.args for op in RunFolder(Path(result.folder)).read_history().ops])
    assert sent[0] == sent[1]
    assert sent[1] != sent[2]


def test_a_pool_that_fails_on_purpose_fails(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny(workload=steady("fail", {"message": "as planned"}, calls=1), checkers=ALL_CHECKS)
    result = run(scenario, find_pool("v2"), Request(), tmp_path)
    assert result.verdict is Verdict.FAIL
    assert verdicts(result)["one_outcome"] is Verdict.FAIL
    assert verdicts(result)["conserved"] is Verdict.PASS
    assert "as planned" in result.findings[0].examples[0]


@both_pools
@pytest.mark.parametrize(
    "command",
    ["/no/such/program", "false", f"{sys.executable} -c 'raise SystemExit(3)'"],
    ids=["absent", "false", "python"],
)
def test_a_worker_that_does_not_start_is_a_trouble_and_never_a_pass(
    tiny: Callable[..., Any], tmp_path: Path, pool: str, command: str
) -> None:
    allowed = frozenset({"result", "WorkerCrashed", "CircuitOpen", "CheckoutTimeout"})
    scenario = tiny(checkers=(OneOutcome(allowed=allowed),), workload=steady("echo", calls=1, checkout_timeout_s=0.2))
    result = run(scenario, find_pool(pool), Request(worker_command=command), tmp_path)
    assert "the pool did not warm up" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_failure_is_a_failure_whatever_the_trouble(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny(workload=steady("echo", calls=1, checkout_timeout_s=0.2))
    result = run(scenario, find_pool("v2"), Request(worker_command="false"), tmp_path)
    assert result.trouble
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("config", "command", "told"),
    [
        ({}, "python3 'open", "worker_command"),
        ({"wrokers": 3}, None, "unknown option 'wrokers'; did you mean 'workers'"),
        ({"call_timeout_s": -1.0}, None, "call_timeout_s"),
    ],
)
def test_an_option_that_is_wrong_is_a_usage_error(
    tiny: Callable[..., Any], tmp_path: Path, config: dict[str, Any], command: str | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        run(tiny(config=config), find_pool("v2"), Request(worker_command=command), tmp_path)


def test_an_option_that_the_pool_does_not_support_is_a_trouble(tiny: Callable[..., Any], tmp_path: Path) -> None:
    result = run(tiny(config={"max_queue": 1}), find_pool("v1"), Request(), tmp_path)
    assert "the pool could not be made: v1 does not support the option 'max_queue'" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_folder_that_cannot_be_written_is_a_usage_error(tiny: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        run(tiny(), find_pool("v2"), Request(), tmp_path / "file")


def test_a_fault_that_never_lands_makes_the_run_unknown(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny(
        faults=(Fault(kind=FaultKind.KILL, when="nobody:sent"), Fault(kind=FaultKind.KILL, after_s=3600)),
        checkers=(OneOutcome(), FaultLanded(kinds=(FaultKind.KILL,))),
    )
    result = run(scenario, find_pool("v2"), Request(), tmp_path)
    assert verdicts(result) == {"one_outcome": Verdict.PASS, "fault_landed": Verdict.UNKNOWN}
    assert result.verdict is Verdict.UNKNOWN
    assert any("never came" in example for example in result.findings[1].examples)


@both_pools
def test_faults_of_the_start_land_in_every_worker(tiny: Callable[..., Any], tmp_path: Path, pool: str) -> None:
    scenario = tiny(
        faults=(Fault(kind=FaultKind.SLOW_START, for_s=0.05),),
        checkers=(FaultLanded(kinds=(FaultKind.SLOW_START,)), *ALL_CHECKS),
        fixed_size=Size(workers=2, clients=2),
    )
    result = run(scenario, find_pool(pool), Request(), tmp_path)
    assert result.verdict is Verdict.PASS
    assert result.findings[0].figures == {"landed": 2}


def test_a_scenario_that_needs_what_the_pool_lacks_is_skipped_with_the_reason(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    scenario = tiny(needs=frozenset({Capability.CHECKOUT, Capability.SESSIONS}))
    result = run(scenario, find_pool("v1"), Request(), tmp_path)
    assert (result.skipped, result.verdict) == ("v1 lacks checkout", Verdict.UNKNOWN)
    assert result.findings == ()
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_with_a_command_that_the_worker_does_not_know_is_skipped(tiny: Callable[..., Any]) -> None:
    scenario, subject = tiny(commands=("echo", "put", "get")), find_pool("v2")
    assert why_skipped(scenario, subject, Request(known_commands=frozenset({"echo"}))).endswith("get, put")
    assert why_skipped(scenario, subject, Request(known_commands=frozenset({"echo", "put", "get"}))) == ""
    assert why_skipped(scenario, subject, Request()) == ""


def test_what_the_run_was_asked_for_comes_before_the_scenarios_options(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    scenario = tiny(config={"workers": 3, "name": "not-this", "call_timeout_s": 7.0}, checkers=ALL_CHECKS)
    result = run(scenario, find_pool("v2"), Request(), tmp_path)
    history = RunFolder(Path(result.folder)).read_history()
    assert len(history.events_by_kind[EventKind.SPAWN]) == 1
    assert history.info.pool_name != "not-this"
    assert history.info.call_timeout_s == 7.0
    assert result.verdict is Verdict.PASS


def test_the_asked_size_counts_where_the_scenario_fixes_none(tiny: Callable[..., Any], tmp_path: Path) -> None:
    request = Request(size=Size(workers=2, clients=3, scale=0.5))
    asked = run(tiny(fixed_size=None), find_pool("v2"), request, tmp_path)
    fixed = run(tiny(), find_pool("v2"), request, tmp_path)
    infos = [RunFolder(Path(result.folder)).read_info() for result in (asked, fixed)]
    assert [(info.workers, info.clients) for info in infos] == [(2, 3), (1, 2)]
    assert [result.metrics.ops for result in (asked, fixed)] == [3, 2]


@both_pools
def test_a_run_that_leaves_nothing_waits_for_nothing(
    tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    monkeypatch.setattr("poolproof.harness.run.recording.recording.LEFTOVER_PATIENCE_S", 3600.0)
    result = run(tiny(checkers=ALL_CHECKS), find_pool(pool), Request(), tmp_path)
    assert verdicts(result)["nothing_left"] is Verdict.PASS


@both_pools
def test_after_the_faults_plain_calls_are_made_and_the_pool_has_its_full_size(
    tiny: Callable[..., Any], tmp_path: Path, pool: str
) -> None:
    def workload(_: random.Random, __: Size) -> Plan:
        return ((Step(command="exit", label="leave", fault=FaultKind.EXIT),),)

    scenario = tiny(
        workload=workload,
        checkers=(OneOutcome(allowed=frozenset({"result", "WorkerCrashed"})), *CORE),
        fixed_size=Size(workers=2, clients=1),
    )
    result = run(scenario, find_pool(pool), Request(), tmp_path)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")
    history = RunFolder(Path(result.folder)).read_history()
    assert [(op.client, op.command, op.outcome) for op in history.labelled("probe")] == [(1, "echo", "result")] * 4
    (recovery,) = result.metrics.recoveries
    assert recovery.kind is FaultKind.EXIT
    assert recovery.lost == 1
    assert recovery.first_ok_s is not None
    assert recovery.full_size_s is not None


def test_faults_of_starts_are_lifted_before_the_probe(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny(
        faults=(Fault(kind=FaultKind.CRASH_START),),
        workload=steady("echo", calls=1, checkout_timeout_s=0.05),
        checkers=(OneOutcome(allowed=frozenset({"result", "CheckoutTimeout", "CircuitOpen"})),),
        fixed_size=Size(workers=1, clients=1),
        warm=False,
    )
    result = run(scenario, find_pool("v2"), Request(), tmp_path)
    assert result.verdict is Verdict.PASS
    history = RunFolder(Path(result.folder)).read_history()
    assert {op.outcome for op in history.ops if op.label != "probe"} == {"CheckoutTimeout"}
    assert {op.outcome for op in history.labelled("probe")} == {"result"}


@pytest.mark.parametrize(
    ("known", "command"), [(None, "echo"), (frozenset({"ping", "print"}), "ping"), (frozenset({"print"}), None)]
)
def test_the_probe_uses_a_command_that_the_worker_knows(
    tiny: Callable[..., Any],
    fake_subject: Callable[..., Any],
    tmp_path: Path,
    known: frozenset[str] | None,
    command: str | None,
) -> None:
    scenario = tiny(workload=steady("print", calls=1, fault=FaultKind.PRINT), commands=("print",))
    result = run(scenario, fake_subject(), Request(known_commands=known), tmp_path)
    history = RunFolder(Path(result.folder)).read_history()
    assert {op.command for op in history.labelled("probe")} == ({command} if command else set())


def test_without_faults_there_is_no_probe(tiny: Callable[..., Any], fake_subject: Any, tmp_path: Path) -> None:
    result = run(tiny(), fake_subject(), Request(), tmp_path)
    assert RunFolder(Path(result.folder)).read_history().labelled("probe") == ()
    assert result.metrics.recoveries == ()


def test_what_a_pool_of_own_workers_cannot_do_is_skipped(tiny: Callable[..., Any], fake_subject: Any) -> None:
    subject = fake_subject(commands=frozenset({"echo"}))
    assert why_skipped(tiny(), subject, Request()) == ""
    assert why_skipped(tiny(commands=("echo", "garbage")), subject, Request()) == (
        "the worker does not know the command garbage"
    )
    slow = tiny(faults=(Fault(kind=FaultKind.SLOW_START, for_s=0.1),))
    assert (
        why_skipped(slow, subject, Request())
        == "fake starts its own kind of workers, so no fault can be injected at their start"
    )
    assert why_skipped(slow, fake_subject(), Request()) == ""


def test_what_only_events_can_show_is_asked_in_the_observed_run(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, struct, sys\n"
        "while head := sys.stdin.buffer.read(4):\n"
        "    told = json.loads(sys.stdin.buffer.read(struct.unpack('>I', head)[0]))\n"
        "    answer = {'id': told['id'], 'success': True, 'result': told['args'].get('value', told['args'])}\n"
        "    data = json.dumps(answer).encode()\n"
        "    sys.stdout.buffer.write(struct.pack('>I', len(data)) + data)\n"
        "    sys.stdout.buffer.flush()\n"
    )
    known = frozenset({"echo", "ping"})
    request = Request(worker_command=f"{sys.executable} -I {worker}", known_commands=known, journals=False)
    scenario, subject = CATALOGUE["answer_sizes"], find_pool("v2")
    found = {}
    for observed in (False, True):
        asked = msgspec.structs.replace(request, observed=observed)
        found[observed] = run(scenario, subject, asked, tmp_path / "runs")
        assert (found[observed].verdict, found[observed].trouble) == (Verdict.PASS, "")
        assert [name for name, _ in found[observed].not_asked] == ["audit"]
    assert {"exclusive_lease", "at_most_once"} <= set(found[False].unasked)
    assert not found[True].unasked
    executor = msgspec.structs.replace(request, face="executor", observed=False)
    assert why_skipped(scenario, subject, executor) == "the face executor needs the shipped worker"
