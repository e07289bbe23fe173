"""A pool's events as Prometheus metrics."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from poolproof.bridge import OUTCOMES, Event
from poolproof.bridge.telemetry.prometheus import PrometheusObserver

Step = Callable[..., Event]


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of its own."""
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"poolproof_{name}", {"pool": "orders", **labels})


def test_a_life_in_figures(registry: CollectorRegistry, served: list[Event]) -> None:
    observer = PrometheusObserver("orders", registry=registry)
    for event in served[:5]:
        observer(event)
    assert value(registry, "calls_submitted_total") == 1
    assert value(registry, "calls_in_flight") == 1
    assert value(registry, "calls_waiting") == 0
    assert value(registry, "workers", state="leased") == 1
    assert value(registry, "workers", state="idle") == 0
    assert value(registry, "response_seconds_count") == 0
    for event in served[5:]:
        observer(event)
    assert value(registry, "calls_submitted_total") == 1
    assert value(registry, "calls_in_flight") == 0
    assert {o: value(registry, "calls_total", outcome=o) for o in OUTCOMES} == dict.fromkeys(OUTCOMES, 0) | {
        "result": 1
    }
    states = ("starting", "idle", "leased", "dying")
    assert [value(registry, "workers", state=state) for state in states] == [0, 0, 0, 0]
    assert value(registry, "workers_started_total") == 1
    assert value(registry, "workers_ended_total", reason="retired") == 1


def test_the_buckets_are_cumulative(registry: CollectorRegistry, served: list[Event]) -> None:
    observer = PrometheusObserver("orders", registry=registry, bounds_s=(0.01, 0.02, 1.0))
    for event in served:
        observer(event)
    bounds = ("0.01", "0.02", "1.0", "+Inf")
    for name, counts, total in (
        ("queue_wait", [0, 1, 1, 1], 0.02),
        ("service", [1, 1, 1, 1], 0.005),
        ("response", [0, 0, 1, 1], 0.03),
    ):
        assert [value(registry, f"{name}_seconds_bucket", le=le) for le in bounds] == counts
        assert value(registry, f"{name}_seconds_count") == 1
        assert value(registry, f"{name}_seconds_sum") == total


def test_pools_share_a_registry_and_each_metric_is_announced_once(
    registry: CollectorRegistry, served: list[Event]
) -> None:
    one, other = PrometheusObserver("orders", registry=registry), PrometheusObserver("mail", registry=registry)
    for event in served:
        one(event)
    text = generate_latest(registry).decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == 10
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = {sample.labels["pool"]: sample.value for sample in families["poolproof_calls_submitted"].samples}
    assert counted == {"orders": 1, "mail": 0}
    assert other.snapshot().submitted == 0


def test_an_open_pools_label_is_taken_and_a_closed_ones_is_free(registry: CollectorRegistry, step: Step) -> None:
    first = PrometheusObserver("orders", registry=registry)
    first(step(0, "done", 1, detail="result"))
    with pytest.raises(ValueError, match="'orders' is observed in this registry already"):
        PrometheusObserver("orders", registry=registry)
    PrometheusObserver("orders", registry=CollectorRegistry())
    first(step(1, "close"))
    second = PrometheusObserver("orders", registry=registry)
    assert value(registry, "calls_submitted_total") == 0
    first.unregister()  # it has lost its place, and takes nobody's away
    second(step(2, "done", 1, detail="result"))
    assert value(registry, "calls_submitted_total") == 1


def test_an_unregistered_pool_is_no_longer_told_of(registry: CollectorRegistry, step: Step) -> None:
    observer = PrometheusObserver("orders", registry=registry)
    observer.unregister()
    observer.unregister()
    observer(step(0, "done", 1, detail="result"))
    assert value(registry, "calls_submitted_total") is None
    PrometheusObserver("orders", registry=registry)


def test_the_registry_is_the_librarys_own_unless_another_is_given(step: Step) -> None:
    label = f"default-{id(step)}"
    observer = PrometheusObserver(label)
    try:
        observer(step(0, "done", 1, detail="result"))
        assert REGISTRY.get_sample_value("poolproof_calls_total", {"pool": label, "outcome": "result"}) == 1
    finally:
        observer.unregister()


def test_a_registry_that_nobody_has_is_forgotten(step: Step) -> None:
    registry = CollectorRegistry()
    PrometheusObserver("orders", registry=registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_threads_lose_no_event_and_every_scrape_is_conserved(registry: CollectorRegistry, step: Step) -> None:
    observer = PrometheusObserver("orders", registry=registry)
    threads, calls = 8, 300
    left = threading.Barrier(threads + 1)

    def call_on(first: int) -> None:
        left.wait(10)
        for call in range(first, first + calls):
            observer(step(0, "enqueue", call))
            observer(step(1, "accept", call))
            observer(step(2, "done", call, detail="result" if call % 3 else "CallTimeout"))

    clients = [threading.Thread(target=call_on, args=(n * calls,), daemon=True) for n in range(threads)]
    for client in clients:
        client.start()
    left.wait(10)
    scrapes: list[dict[str, Any]] = []
    while not scrapes or any(client.is_alive() for client in clients):
        families = {family.name: family for family in registry.collect()}
        scrapes.append(
            {
                name: sum(sample.value for sample in families[f"poolproof_{name}"].samples)
                for name in ("calls_submitted", "calls", "calls_in_flight")
            }
        )
    for client in clients:
        client.join(10)
    assert all(scrape["calls_submitted"] == scrape["calls"] + scrape["calls_in_flight"] for scrape in scrapes)
    assert [s["calls_submitted"] for s in scrapes] == sorted(s["calls_submitted"] for s in scrapes)
    sums = observer.snapshot()
    assert (sums.submitted, sums.in_flight, sums.waiting) == (threads * calls, 0, 0)
    assert (sums.outcomes["result"], sums.outcomes["CallTimeout"]) == (threads * calls * 2 // 3, threads * calls // 3)


@pytest.mark.parametrize(
    ("module", "missing", "named"),
    [
        ("prometheus", "prometheus_client", "PrometheusObserver needs prometheus-client"),
        ("opentelemetry", "opentelemetry", "OpenTelemetryObserver needs opentelemetry-api"),
    ],
)
def test_a_missing_library_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, module: str, missing: str, named: str
) -> None:
    monkeypatch.delitem(sys.modules, f"poolproof.bridge.telemetry.{module}", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=named) as caught:
        importlib.import_module(f"poolproof.bridge.telemetry.{module}")
    assert "pip install 'poolproof[telemetry]'" in str(caught.value)
    assert caught.value.name == missing
