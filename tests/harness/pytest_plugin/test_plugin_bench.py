"""The fixture `run_bench`, alone and beside other tests under pytest-xdist, which wait while it measures."""

from __future__ import annotations

import pytest

BENCHES = """
import time
from pathlib import Path

from poolproof.harness.bench import running

def test_a_bench(run_bench, monkeypatch):
    Path("spans").mkdir(exist_ok=True)
    measure = running.measure

    def noted(*args, **options):
        began = time.monotonic()
        try:
            return measure(*args, **options)
        finally:
            Path("bench").write_text(f"{began} {time.monotonic()}")

    monkeypatch.setattr(running, "measure", noted)
    bench = run_bench(rounds=5, block_s=0.05, workers=2, budgets=["v2.errors <= v1.errors"])
    assert bench.validity.valid, bench.validity
    assert bench.budgets[0].verdict == "pass"
    assert bench.seed == 5
"""
OTHERS = """
import time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(12))
def test_another(number):
    Path("spans").mkdir(exist_ok=True)
    began = time.monotonic()
    time.sleep(0.1)
    Path("spans", str(number)).write_text(f"{began} {time.monotonic()}")
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder and a gate of its own, without what an outer xdist has put into the environment."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("POOLPROOF_GATE_DIR", "POOLPROOF_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(pytester.path / "run"))
    return pytester


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bench_runs_alone_wherever_it_runs(session: pytest.Pytester, workers: str) -> None:
    session.makepyfile(test_benches=BENCHES, test_others=OTHERS)
    done = session.runpytest_subprocess(
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "--poolproof-out",
        "kept",
        "--poolproof-seed",
        "5",
        "-n",
        workers,
        timeout=120,
    )
    done.assert_outcomes(passed=13)
    assert len(list((session.path / "kept" / "benches").glob("*/bench.json"))) == 1
    assert (session.path / ".poolproof" / "index.sqlite").is_file()
    began, ended = map(float, (session.path / "bench").read_text().split())
    spans = [tuple(map(float, path.read_text().split())) for path in (session.path / "spans").iterdir()]
    assert len(spans) == 12
    assert not [span for span in spans if span[0] < ended and began < span[1]]
