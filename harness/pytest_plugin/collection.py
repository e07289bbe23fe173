"""Scenarios as pytest items: an item for each scenario and pool, which runs the scenario and reports the findings.

Knows nothing of other items. A declared failure is an expected failure (xfail) with the declared reason.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from poolproof.bridge.safe_text import one_line
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.backend import Backend, why_not
from poolproof.harness.model.intended import Excuse, find_excuse
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict, worst
from poolproof.harness.pytest_plugin.ledger import Ledger, Planned
from poolproof.harness.run.lock import sharing
from poolproof.harness.run.runner import Request, Subject, run


class ScenarioFailed(Exception):
    """The pool failed the scenario, or the run could not be decided."""


class ScenarioItem(pytest.Item):
    """`FILE::SCENARIO[POOL]`. Selected with -k by scenario, pool, failure (F1) and guarantee (G1)."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        subject: Subject,
        request: Request,
        ledger: Ledger,
        backend: Backend = Backend.REAL,
        **of_pytest: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**of_pytest)
        self.backend = backend
        self.scenario = scenario
        self.subject = subject
        self._asked = request
        self._ledger = ledger
        self.extra_keyword_matches.update((*scenario.failures, *scenario.guarantees))
        self.add_marker(pytest.mark.scenario)

    @property
    def planned(self) -> Planned:
        """The item's entry in the ledger."""
        return Planned(
            node=self.nodeid, scenario=self.scenario.name, pool=self.subject.name, file=str(self.path.resolve())
        )

    def runtest(self) -> None:
        """Run the scenario, record its result, and raise if it did not pass."""
        reason = why_not(self.scenario.backends, self.backend)
        if reason:
            self._ledger.receive(self.nodeid, self._skipped(reason))
            pytest.skip(reason)
        with sharing():
            result = run(self.scenario, self.subject, self._asked, self._ledger.runs)
        if self.backend is Backend.MOCK:
            result = without_unknown(result)
        self._ledger.receive(self.nodeid, result)
        raise_unless_passed(self.scenario, result)

    def _skipped(self, reason: str) -> RunResult:
        return RunResult(
            scenario=self.scenario.name,
            pool=self.subject.name,
            seed=self._asked.seed,
            verdict=Verdict.UNKNOWN,
            skipped=reason,
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401
        """The findings in place of a traceback."""
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """The file and the name of the item."""
        return self.path, None, self.name


def without_unknown(result: RunResult) -> RunResult:
    """Return the result of a mock without its undecided findings: a mock has no process that a checker could judge."""
    known = tuple(found for found in result.findings if found.verdict is not Verdict.UNKNOWN)
    verdict = Verdict.UNKNOWN if result.trouble or not known else worst(found.verdict for found in known)
    return msgspec.structs.replace(result, findings=known, verdict=verdict)


def raise_unless_passed(scenario: Scenario, result: RunResult) -> None:
    """Raise pytest's skip for a skipped run, its xfail for a declared failure, ScenarioFailed for any other."""
    if result.skipped:
        pytest.skip(result.skipped)
    fails = [found for found in result.findings if found.verdict is Verdict.FAIL]
    unknown = [found for found in result.findings if found.verdict is Verdict.UNKNOWN]
    excuses = [excuse_finding(scenario, result, found.checker) for found in fails]
    if fails and not unknown and not result.trouble and all(excuse.reason for excuse in excuses):
        pytest.xfail("; ".join(dict.fromkeys(excuse.reason for excuse in excuses)))
    if result.verdict is not Verdict.PASS:
        raise ScenarioFailed(describe(scenario, result))


def excuse_finding(scenario: Scenario, result: RunResult, checker: str) -> Excuse:
    """Return the declaration that allows this finding to fail today; an empty one if there is none."""
    today = datetime.now(UTC).date().isoformat()
    return find_excuse(scenario.intended_differences, {result.pool}, checker, today=today)


def describe(scenario: Scenario, result: RunResult) -> str:
    """The findings with their evidence, and the command that repeats the run."""
    imports = ["--import", scenario.file] if scenario.file.endswith(".py") else []
    lines = [f"{scenario.name} on {result.pool}, seed {result.seed}: {result.verdict.value.upper()}"]
    if result.trouble:
        lines.append(f"  trouble: {result.trouble}")
    for found in result.findings:
        if found.verdict is not Verdict.PASS:
            lines.append(f"  {found.verdict.value} {found.checker}: {found.claim}")
            lines += [f"      {example}" for example in found.examples]
            if old := excuse_finding(scenario, result, found.checker).ran_out:
                lines.append(f"      {old}")
    if result.replay:
        lines.append(f"  to run it again: {result.replay}")
    if result.folder and any(found.verdict is Verdict.FAIL for found in result.findings):
        words = [result.folder, *(["--import", result.pool] if ":" in result.pool else []), *imports]
        lines.append(f"  to reduce it: poolproof shrink {shlex.join(words)}")
    lines.append(
        f"  the records are in {result.folder}; `poolproof analyze {shlex.join([result.folder, *imports])}` runs the "
        "checkers on them again"
    )
    return "\n".join(map(one_line, lines))
