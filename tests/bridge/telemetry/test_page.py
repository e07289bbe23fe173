"""What the page on observability shows is what works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from poolproof.bridge.telemetry.prometheus import PrometheusObserver

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "observability.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_there_is_a_program_for_each_observer() -> None:
    for name in ("LoggingObserver", "PrometheusObserver", "OpenTelemetryObserver", "fan_out"):
        assert any(name in program for program in PROGRAMS), name


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_every_program_of_the_page_runs(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr
    if "basicConfig" in program:
        assert re.search(r"INFO:poolproof.events:pool orders: worker \d \(pid \d+\) is ready", done.stderr)
        assert "INFO:poolproof.events:pool orders: closed" in done.stderr


def test_the_page_has_every_metric_and_no_other() -> None:
    registry = CollectorRegistry()
    PrometheusObserver("orders", registry=registry)
    named = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in registry.collect()
    }
    shown = re.findall(r"^\| `(poolproof_\w+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(shown) == sorted(named)


def test_the_pool_and_its_observers_need_no_extra() -> None:
    code = (
        "import sys, poolproof.pool_v2, poolproof.bridge.telemetry;"
        "print({name.partition('.')[0] for name in sys.modules} & {'prometheus_client', 'opentelemetry'})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")
