"""A key that is given to configure_lm is in no history, no report, no stored plan, no log and no list of processes."""

from __future__ import annotations

import gzip
import os
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, DSPY_PRELOAD
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.fakes.models.service import BASE_VARIABLE, ModelService
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.run.plan import StoredPlan, write_plan
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import find_pool
from poolproof.harness.subjects.programs import create, execute

KEY = "sk-planted-9876543210"
WRONG = "sk-also-planted-9876543210"
SECRETS = ("9876543210",)


def _plan(dspy: bool) -> Plan:
    # The key goes in, comes back in a snapshot, and the provider tells the wrong one again in its error.
    where = {"api_base_env": BASE_VARIABLE} if dspy else {}
    steps = [
        Step(command="configure_lm", args={"model": "openai/m", "api_key": KEY, **where}, session="s"),
        create("s"),
        execute("s", {"question": "why?"}),
        Step(command="snapshot_session", session="s", verbatim=True),
        Step(command="echo", args={"value": f"it is {KEY}"}),
        Step(
            command="configure_lm", args={"model": "openai/m", "api_key": WRONG, "num_retries": 0, **where}, session="s"
        ),
        execute("s", {"question": "why?"}),
        Step(command="configure_lm", args={"model": "", "api_key": WRONG}, session="s"),
    ]
    return (tuple(steps),)


def read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")


def _scenario(dspy: bool) -> Scenario:
    options = {"env": DSPY_ENVIRONMENT, "preload": DSPY_PRELOAD} if dspy else {}
    return Scenario(
        name="given_key",
        summary="a key is planted",
        workload=lambda _, __: _plan(dspy),
        checkers=(OneOutcome(allowed=frozenset({"result", "CommandError"})), *CORE),
        models=ModelService(key=KEY) if dspy else None,
        config={"start_timeout_s": 60.0, "call_timeout_s": 60.0, "checkout_timeout_s": 60.0, **options},
        fixed_size=Size(workers=1, clients=1),
        budget_s=90.0,
    )


@pytest.mark.parametrize("dspy", [False, pytest.param(True, marks=pytest.mark.skipif(
    not find_spec("dspy"), reason="dspy is not installed: pip install 'poolproof[dspy]'"))])  # fmt: skip
def test_a_planted_key_is_in_no_file_of_a_run(dspy: bool, tmp_path: Path) -> None:
    result = run(_scenario(dspy), find_pool("v2"), Request(), tmp_path)
    assert result.trouble == ""
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    told = {path.name: read(path) for path in files}
    assert "configure_lm" in told["history.jsonl.gz"]
    assert told["history.jsonl.gz"].count("[redacted]") >= (5 if dspy else 3)
    for name, text in told.items():
        assert not [secret for secret in SECRETS if secret in text], name
    assert not [secret for secret in SECRETS if secret in repr(result)]


def test_a_planted_key_is_in_no_stored_plan(tmp_path: Path) -> None:
    plan = StoredPlan(scenario="any", pool="v2", seed=1, workers=1, plan=_plan(True))
    write_plan(tmp_path / "plan.json", plan)
    text = (tmp_path / "plan.json").read_text()
    assert '"[redacted]"' in text
    assert KEY not in text.replace(f"it is {KEY}", "")  # what a step says of its own accord is its own business


def test_a_planted_key_is_in_no_command_line_and_no_environment() -> None:
    from poolproof.bridge import PoolConfig
    from poolproof.pool_v2 import PoolV2

    with PoolV2(PoolConfig(workers=2)) as pool:
        pool.execute("configure_lm", {"model": "m", "api_key": KEY}, session="s")
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            words = " ".join(process.cmdline())
            environment = Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
            assert KEY not in words + environment
        engine = pool._engine
        session = engine.coordinator.sessions.get("s")
        assert session is not None
        assert session.log
        assert KEY not in repr(session.log)
    assert os.environ.get("OPENAI_API_KEY") != KEY
