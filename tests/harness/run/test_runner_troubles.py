"""Runs that go wrong on pools that are no pools: each is told as trouble, and none is a pass."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import Capability, PoolClosed, PoolError, PoolNameConflict
from poolproof.harness.checkers import CloseBounded, Conserved, NothingLeft, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import steady
from poolproof.harness.run.runner import Request, run

Subjects = Callable[..., Any]


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.harness.run.recording.recording.LEFTOVER_PATIENCE_S", 0.05)


def only(result: Any) -> Verdict:
    (found,) = result.findings
    return found.verdict


def test_a_fake_pool_that_keeps_its_word_passes(
    tiny: Callable[..., Any], fake_subject: Subjects, tmp_path: Path
) -> None:
    result = run(tiny(checkers=(OneOutcome(), Conserved(), NothingLeft())), fake_subject(), Request(), tmp_path)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")


def test_a_pool_that_cannot_be_made_is_a_trouble(
    tiny: Callable[..., Any], fake_subject: Subjects, tmp_path: Path
) -> None:
    def make(config: Any, observer: Any) -> Any:
        raise PoolNameConflict("the name is taken")

    result = run(tiny(), fake_subject(make=make), Request(), tmp_path)
    assert "the pool could not be made: the name is taken" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_pool_whose_making_breaks_is_a_trouble(
    tiny: Callable[..., Any], fake_subject: Subjects, tmp_path: Path
) -> None:
    def make(config: Any, observer: Any) -> Any:
        raise ZeroDivisionError("in the constructor")

    result = run(tiny(), fake_subject(make=make), Request(), tmp_path)
    assert "ZeroDivisionError: in the constructor" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_label_of_the_harness_s_own_calls_is_a_trouble(
    tiny: Callable[..., Any], fake_subject: Subjects, tmp_path: Path
) -> None:
    result = run(tiny(workload=steady("echo", calls=1, label="~full0")), fake_subject(), Request(), tmp_path)
    assert "label '~full0': labels that begin with '~' are those of the harness's own calls" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_workload_that_breaks_is_a_trouble_and_no_pool_is_made(
    tiny: Callable[..., Any], fake_subject: Subjects, tmp_path: Path
) -> None:
    made: list[Any] = []

    def workload(choice: Any, size: Any) -> Any:
        raise KeyError("a user's mistake")

    subject = fake_subject(make=lambda config, observer: made.append(config))
    result = run(tiny(workload=workload), subject, Request(), tmp_path)
    assert "KeyError" in result.trouble
    assert result.verdict is Verdict.UNKNOWN
    assert made == []


@pytest.mark.parametrize("leak", ["thread", "descriptor"])
def test_what_a_pool_leaves_behind_is_found(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path, leak: str
) -> None:
    leave = threading.Event()
    opened: list[int] = []

    def make(config: Any, observer: Any) -> Any:
        if leak == "thread":
            threading.Thread(target=leave.wait, name="left-behind", daemon=True).start()
        else:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        return fake_pool(observer)

    try:
        result = run(tiny(checkers=(NothingLeft(),)), fake_subject(make=make), Request(), tmp_path)
    finally:
        leave.set()
        for fd in opened:
            os.close(fd)
    assert only(result) is Verdict.FAIL
    assert leak in result.findings[0].examples[0]


class Stuck:
    """Makes fake pools whose calls last until the pool is closed."""

    def __init__(self, pool: type) -> None:
        self._pool = pool
        self.closed = threading.Event()

    def __call__(self, config: Any, observer: Any) -> Any:
        def answer(command: str, args: dict[str, Any]) -> Any:
            assert self.closed.wait(30)
            raise PoolClosed("closed during the call")

        pool = self._pool(observer, answer=answer)
        close = pool.close

        def close_and_release(grace_s: float | None = None) -> None:
            close(grace_s)
            self.closed.set()

        pool.close = close_and_release
        return pool


def test_a_run_over_its_budget_is_ended_and_is_a_trouble(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path
) -> None:
    scenario = tiny(budget_s=0.2, checkers=(OneOutcome(), Conserved(), NothingLeft()))
    result = run(scenario, fake_subject(make=Stuck(fake_pool)), Request(), tmp_path)
    assert "the budget of 0.2 s was over before client-0, client-1" in result.trouble
    assert result.verdict is Verdict.FAIL
    found = {finding.checker: finding.verdict for finding in result.findings}
    assert found == {"one_outcome": Verdict.FAIL, "conserved": Verdict.UNKNOWN, "nothing_left": Verdict.PASS}


def test_a_close_during_the_run_is_a_fault_like_any_other(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path
) -> None:
    scenario = tiny(
        faults=(Fault(kind=FaultKind.CLOSE, after_s=0.02, for_s=1.0),),
        checkers=(OneOutcome(allowed=frozenset({"PoolClosed"})), CloseBounded(within_s=5.0)),
    )
    result = run(scenario, fake_subject(make=Stuck(fake_pool)), Request(), tmp_path)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")


def test_statistics_that_cannot_be_had_are_unknown(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path
) -> None:
    class Silent(fake_pool):  # type: ignore[misc]
        def status(self) -> Any:
            raise PoolError("no statistics")

    subject = fake_subject(make=lambda config, observer: Silent(observer))
    result = run(tiny(checkers=(Conserved(),)), subject, Request(), tmp_path)
    assert only(result) is Verdict.UNKNOWN
    assert result.trouble == ""


@pytest.mark.parametrize("method", ["close", "status"])
def test_a_pool_that_breaks_at_the_end_is_a_trouble(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path, method: str
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(f"{method} is broken")

    subject = fake_subject(
        make=lambda config, observer: type("Broken", (fake_pool,), {method: broken})(observer),
    )
    result = run(tiny(), subject, Request(), tmp_path)
    assert f"RuntimeError: {method} is broken" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_pool_that_does_not_warm_up_is_a_trouble_though_its_calls_succeed(
    tiny: Callable[..., Any], fake_subject: Subjects, fake_pool: type, tmp_path: Path
) -> None:
    class Cold(fake_pool):  # type: ignore[misc]
        def warm_up(self, n: int | None = None) -> int:
            raise PoolError("too cold")

    subject = fake_subject(make=lambda config, observer: Cold(observer), capabilities=frozenset({Capability.WARM_UP}))
    result = run(tiny(), subject, Request(), tmp_path)
    assert (result.verdict, result.trouble) == (Verdict.UNKNOWN, "the pool did not warm up: too cold")
    assert run(tiny(warm=False), subject, Request(), tmp_path).verdict is Verdict.PASS


def test_a_fault_that_lasts_beyond_the_run_is_a_trouble(
    tiny: Callable[..., Any],
    fake_subject: Subjects,
    fake_pool: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poolproof.harness.run.phases.CLOSE_GRACE_S", 0.05)
    release = threading.Event()
    closes: list[float | None] = []

    class Slow(fake_pool):  # type: ignore[misc]
        def close(self, grace_s: float | None = None) -> None:
            closes.append(grace_s)
            if len(closes) == 1:
                assert release.wait(30)

    scenario = tiny(faults=(Fault(kind=FaultKind.CLOSE),), budget_s=0.1)
    try:
        result = run(scenario, fake_subject(make=lambda config, observer: Slow(observer)), Request(), tmp_path)
    finally:
        release.set()
    if not closes:
        pytest.fail("the pool was never closed")
    assert "a fault was still being inflicted when the run was over" in result.trouble
    assert result.verdict is not Verdict.PASS
