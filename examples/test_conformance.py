"""Scenarios as tests for your own pool and for another library's: `pytest examples/test_conformance.py`."""

from __future__ import annotations

from my_pool import make

from poolproof.harness.pytest_plugin.conformance import KnownFailure, conformance_tests

test_my_pool = conformance_tests(make, scenarios=["any_json", "fair_queue", "my_scenarios.py"])

test_process_pool_executor = conformance_tests(
    "poolproof.harness.subjects.peers.executor:POOL",
    scenarios=["any_json", "command_errors", "exit_in_call"],
    known=[
        KnownFailure(
            scenario="exit_in_call",
            checker="outcome:echo",
            reason="one dead worker breaks a ProcessPoolExecutor for everybody",
        )
    ],
)
