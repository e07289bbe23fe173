"""The subject whose workers run on agents: it meets faults as v2 does, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.nodes import end_agents
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import CATALOGUE


@pytest.fixture(autouse=True)
def no_agent_is_left() -> Iterator[None]:
    """End the agents, which outlive every pool of a process."""
    yield
    end_agents()


@pytest.mark.parametrize("name", ["worker_crash", "session_handover", "two_timeouts"])
def test_a_scenario_passes_on_two_agents(name: str, tmp_path: Path) -> None:
    result = run(CATALOGUE[name], find_pool("nodes"), Request(), tmp_path)
    assert result.verdict is Verdict.PASS, result
