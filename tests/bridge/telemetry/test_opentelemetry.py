"""A pool's calls as OpenTelemetry spans."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from poolproof.bridge import Event, EventKind
from poolproof.bridge.clock import now_ns
from poolproof.bridge.telemetry.opentelemetry import OpenTelemetryObserver

Step = Callable[..., Event]


class Telescope:
    """An application's provider and what it exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OpenTelemetryObserver("orders", tracer_provider=self.provider)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest.fixture
def telescope() -> Telescope:
    """A fresh one."""
    return Telescope()


def test_a_call_is_one_span_with_its_steps(telescope: Telescope, served: list[Event]) -> None:
    for event in served:
        telescope.observer(event)
    [span] = telescope.spans()
    assert (span.name, span.kind, span.parent) == ("poolproof.call", trace.SpanKind.CLIENT, None)
    assert span.attributes == {
        "poolproof.pool": "orders",
        "poolproof.call": 1,
        "poolproof.worker": 1,
        "poolproof.worker_pid": 901,
        "poolproof.queue_wait_s": 0.02,
        "poolproof.service_s": 0.005,
        "poolproof.outcome": "result",
    }
    assert span.start_time is not None
    assert span.end_time == span.start_time + 30_000_000
    steps = [(event.name, (event.timestamp - span.start_time) / 1e6) for event in span.events]
    assert steps == [("offer", 19), ("accept", 20), ("send", 21), ("receive", 26), ("checkin", 27)]
    assert span.status.status_code is trace.StatusCode.UNSET
    assert telescope.observer.open_spans == 0


def test_any_other_outcome_is_an_error(telescope: Telescope, step: Step) -> None:
    telescope.observer(step(0, "enqueue", 1))
    telescope.observer(step(7, "done", 1, detail="CheckoutTimeout"))
    [span] = telescope.spans()
    assert span.attributes is not None
    assert span.attributes["poolproof.outcome"] == span.attributes["error.type"] == "CheckoutTimeout"
    assert span.attributes["poolproof.queue_wait_s"] == 0.007
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "CheckoutTimeout")


def test_the_times_are_those_of_the_wall(telescope: Telescope) -> None:
    early_ns = time.time_ns()
    telescope.observer(Event(EventKind.ENQUEUE, now_ns(), 1))
    assert telescope.observer.open_spans == 1
    telescope.observer(Event(EventKind.DONE, now_ns(), 1, detail="result"))
    [span] = telescope.spans()
    assert span.start_time is not None
    assert abs(span.start_time - early_ns) < 60_000_000_000, "the monotonic clock would be decades away"


def test_the_parent_is_what_is_current_in_the_calling_thread(telescope: Telescope, step: Step) -> None:
    tracer = telescope.provider.get_tracer("application")
    with tracer.start_as_current_span("order") as order:
        telescope.observer(step(0, "enqueue", 1))
    telescope.observer(step(1, "done", 1, detail="result"))
    call = telescope.spans()[-1]
    assert call.name == "poolproof.call"
    assert call.parent is not None
    assert call.parent.span_id == order.get_span_context().span_id


def test_a_span_ends_once_and_late_steps_are_dropped(telescope: Telescope, step: Step) -> None:
    for event in [step(0, "enqueue", 1), step(1, "done", 1, detail="CallTimeout"), step(2, "receive", 1, 1)]:
        telescope.observer(event)
    telescope.observer(step(3, "done", 1, detail="result"))
    [span] = telescope.spans()
    assert span.attributes is not None
    assert span.attributes["poolproof.outcome"] == "CallTimeout"
    assert span.events == ()


def test_a_span_that_was_not_sampled_is_not_kept(step: Step) -> None:
    observer = OpenTelemetryObserver("p", tracer_provider=TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))
    observer(step(0, "enqueue", 1))
    assert observer.open_spans == 0
    observer(step(1, "send", 1, 1))
    observer(step(2, "done", 1, detail="result"))
    assert observer.open_spans == 0


def test_without_a_provider_nothing_is_kept(step: Step) -> None:
    observer = OpenTelemetryObserver("p")
    observer(step(0, "enqueue", 1))
    assert observer.open_spans == 0


def test_a_processor_that_raises_leaves_no_span_open(step: Step) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no network")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    observer = OpenTelemetryObserver("p", tracer_provider=provider)
    observer(step(0, "enqueue", 1))
    with pytest.raises(RuntimeError, match="no network"):
        observer(step(1, "done", 1, detail="result"))
    assert observer.open_spans == 0


def test_threads_end_each_span_once_whoever_tells_of_the_call(
    telescope: Telescope, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    ended: Counter[int] = Counter()
    begun = threading.Semaphore(0)

    class Count(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            context = span.get_span_context()
            assert context is not None
            ended[context.span_id] += 1

    telescope.provider.add_span_processor(Count())

    def call_on(first: int) -> None:
        for call in range(first, first + 25):
            telescope.observer(step(0, "enqueue", call))
            begun.release()
            telescope.observer(step(3, "done", call, detail="result"))

    def manage() -> None:
        for _ in range(100):
            assert begun.acquire(timeout=10)
            for call in range(100):
                telescope.observer(step(1, "send", call, 1))

    clients = [threading.Thread(target=call_on, args=(n * 25,), daemon=True) for n in range(4)]
    manager = threading.Thread(target=manage, daemon=True)
    for thread in (manager, *clients):
        thread.start()
    for thread in (manager, *clients):
        thread.join(20)
        assert not thread.is_alive()
    assert len(telescope.spans()) == len(ended) == 100
    assert set(ended.values()) == {1}
    assert telescope.observer.open_spans == 0
    assert caplog.records == [], "the library logs what is done to a span that has ended"
