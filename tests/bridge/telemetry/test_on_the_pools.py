"""The observers on real pools of both kinds, with crashes and timeouts: each call is seen once, and the sums agree."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from poolproof.bridge import Event, EventKind, Pool, PoolError
from poolproof.bridge.telemetry import LoggingObserver, fan_out
from poolproof.bridge.telemetry.opentelemetry import OpenTelemetryObserver
from poolproof.bridge.telemetry.prometheus import PrometheusObserver
from tests.waiting import stop

CLIENTS = 4
CALLS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("echo", {"value": 1}, 20.0),
    ("sleep", {"seconds": 0.2}, 0.05),
    ("fail", {"message": "as asked"}, 20.0),
    ("exit", {"code": 3}, 20.0),
    ("echo", {"value": object()}, 20.0),
    ("echo", {"value": 2}, 20.0),
)
Make = Callable[..., Pool]
Until = Callable[[Callable[[], Any], str], None]


class Instruments:
    """All observers at once, and what each has seen."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: list[logging.LogRecord] = []
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        logger = logging.Logger("test", logging.DEBUG)
        logger.addFilter(lambda record: bool(self.records.append(record)))
        self.metrics = PrometheusObserver("p", registry=CollectorRegistry())
        self.spans = OpenTelemetryObserver("p", tracer_provider=provider)
        self.observer = fan_out(self.events.append, LoggingObserver("p", logger=logger), self.metrics, self.spans)

    def of(self, kind: EventKind) -> list[Event]:
        """The events of this kind."""
        return [event for event in self.events if event.kind is kind]

    def spans_of_calls(self) -> list[ReadableSpan]:
        """The spans of calls that have ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == "poolproof.call"]


@pytest.fixture
def instruments() -> Instruments:
    """Fresh ones."""
    return Instruments()


def run(pool: Pool, seen: Counter[str], first: int) -> None:
    for place in range(len(CALLS)):
        command, args, timeout_s = CALLS[(first + place) % len(CALLS)]
        try:
            pool.execute(command, args, timeout_s=timeout_s)
        except PoolError as error:
            seen[type(error).__name__] += 1
        else:
            seen["result"] += 1


def nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {word: count for word, count in counts.items() if count}


def workers_of(pool: Pool) -> dict[str, int]:
    return dict(Counter(worker.state for worker in pool.status().workers))


def test_every_call_is_seen_once_and_all_sums_agree(
    make_pool: Make, instruments: Instruments, client: Callable[..., Any], until: Until
) -> None:
    pool = make_pool(instruments.observer, workers=2)
    seen: list[Counter[str]] = [Counter() for _ in range(CLIENTS)]
    for one in [client(run, pool, seen[n], n) for n in range(CLIENTS)]:
        one.result()
    outcomes = nonzero(dict(sum(seen, Counter())))
    submitted = CLIENTS * len(CALLS)
    assert sum(outcomes.values()) == submitted
    assert {"result", "CommandError", "WorkerCrashed", "InvalidRequest"} <= set(outcomes)

    def settled() -> bool:
        return nonzero(instruments.metrics.snapshot().workers) == workers_of(pool)

    until(settled, "the gauges equal the pool's status")
    pool.close()
    calls = [event.call for event in instruments.of(EventKind.ENQUEUE)]
    assert len(calls) == len(set(calls)) == submitted
    assert Counter(calls) == Counter(event.call for event in instruments.of(EventKind.DONE))
    assert outcomes == dict(Counter(event.detail for event in instruments.of(EventKind.DONE)))
    sums = instruments.metrics.snapshot()
    statistics = pool.status().statistics
    assert outcomes == nonzero(sums.outcomes) == statistics.outcomes
    assert (sums.submitted, sums.in_flight, sums.waiting) == (submitted, 0, 0) == (statistics.submitted, 0, 0)
    assert sums.response.count == sums.queue_wait.count == submitted
    assert outcomes["result"] + outcomes["CommandError"] <= sums.service.count <= submitted
    assert nonzero(sums.workers) == {}
    assert sums.started == sum(sums.ended.values()) == len(instruments.of(EventKind.SPAWN)) >= 3
    spans = instruments.exporter.get_finished_spans()
    assert sorted(span.attributes["poolproof.call"] for span in spans if span.attributes) == sorted(calls)  # type: ignore[type-var]
    assert outcomes == dict(Counter(span.attributes["poolproof.outcome"] for span in spans if span.attributes))
    assert instruments.spans.open_spans == 0
    recorded = Counter((record.__dict__["event"], record.__dict__["call"]) for record in instruments.records)
    assert recorded == Counter((event.kind.value, event.call) for event in instruments.events)


def test_a_call_that_waits_is_seen_to_wait(
    make_pool: Make, instruments: Instruments, client: Callable[..., Any], until: Until
) -> None:
    pool = make_pool(instruments.observer, workers=1)
    pool.warm_up()
    (worker,) = pool.status().workers
    stop(worker.pid)
    clients = [client(pool.execute, "echo", {"value": 0})]
    until(lambda: instruments.of(EventKind.SEND), "the first call has the worker")
    clients += [client(pool.execute, "echo", {"value": n}) for n in range(1, 4)]
    until(lambda: instruments.metrics.snapshot().in_flight == 4, "four calls are in flight")
    sums = instruments.metrics.snapshot()
    assert (sums.waiting, nonzero(sums.workers)) == (3, {"leased": 1})
    if pool.version == "v2":  # the other's status waits for the manager, and so for the worker
        until(lambda: pool.status().waiting == 3, "the pool says the same")
        assert workers_of(pool) == nonzero(sums.workers)
        assert pool.status().statistics.in_flight == sums.in_flight
    os.kill(worker.pid, signal.SIGCONT)
    assert sorted(one.result() for one in clients) == [0, 1, 2, 3]
    until(lambda: instruments.metrics.snapshot().in_flight == 0, "all is told")
    until(lambda: nonzero(instruments.metrics.snapshot().workers) == {"idle": 1}, "the worker is given back")
    sums = instruments.metrics.snapshot()
    assert (sums.waiting, sums.in_flight) == (0, 0)
    assert (sums.queue_wait.count, sums.service.count) == (4, 4)


def test_a_timeout_is_an_outcome_and_its_worker_is_accounted_for(
    make_pool: Make, instruments: Instruments, until: Until
) -> None:
    pool = make_pool(instruments.observer, workers=1)
    pool.warm_up()
    with pytest.raises(TimeoutError) as caught:  # V1's manager may not even have begun by then
        pool.execute("sleep", {"seconds": 1.5}, timeout_s=0.05)
    until(lambda: sum(instruments.metrics.snapshot().outcomes.values()) == 1, "the outcome is told")
    sums = instruments.metrics.snapshot()
    assert (sums.in_flight, nonzero(sums.outcomes)) == (0, {type(caught.value).__name__: 1})
    assert pool.execute("echo", {"value": 5}) == 5
    until(lambda: nonzero(instruments.metrics.snapshot().workers) == {"idle": 1}, "one worker is idle")
    until(lambda: sum(instruments.metrics.snapshot().outcomes.values()) == 2, "the second outcome is told")
    sums = instruments.metrics.snapshot()
    # V2 ends the worker that is late; V1's manager waits for it, and its late answer counts for no call.
    assert (sums.started, sum(sums.ended.values())) == ((2, 1) if pool.version == "v2" else (1, 0))
    assert sums.service.count == 1
    until(lambda: len(instruments.spans_of_calls()) == 2, "the observer that comes last is told, too")


def test_a_warning_is_logged_for_a_worker_that_died_and_none_for_a_quiet_life(
    make_pool: Make, instruments: Instruments, until: Until
) -> None:
    pool = make_pool(instruments.observer, workers=1)
    assert pool.execute("echo", {"value": 1}) == 1
    assert {record.levelname for record in instruments.records} == {"INFO", "DEBUG"}
    (worker,) = pool.status().workers
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: _answers(pool), "the pool serves again")

    def warned_of() -> set[int]:
        return {record.__dict__["worker"] for record in instruments.records if record.levelname == "WARNING"}

    until(warned_of, "somebody is warned")
    assert warned_of() == {worker.worker_id}


def test_a_broken_observer_harms_neither_the_pool_nor_the_other_observers(
    make_pool: Make, instruments: Instruments, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("no disk")

    pool = make_pool(fan_out(broken, instruments.observer), workers=1)
    assert pool.execute("echo", {"value": 1}) == 1
    pool.close()
    sums = instruments.metrics.snapshot()
    assert (sums.in_flight, nonzero(sums.outcomes), sums.closed) == (0, {"result": 1}, True)
    assert len([r for r in caplog.records if r.name == "poolproof.bridge.telemetry.composite"]) == len(
        instruments.events
    )


def test_what_is_remembered_is_bounded_by_what_is_in_flight(
    make_pool: Make, instruments: Instruments, until: Until
) -> None:
    pool = make_pool(instruments.observer, workers=1)
    for value in range(50):
        assert pool.execute("echo", {"value": value}) == value
    until(lambda: len(instruments.spans_of_calls()) == 50, "all is told, to the observer that comes last, too")
    assert (instruments.metrics.snapshot().in_flight, instruments.spans.open_spans) == (0, 0)
    assert sum(instruments.metrics.snapshot().outcomes.values()) == instruments.metrics.snapshot().submitted == 50


def _answers(pool: Pool) -> bool:
    try:
        return bool(pool.execute("echo", {"value": True}) is True)
    except PoolError:
        return False
