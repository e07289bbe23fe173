"""Gates that open at an answer: opened once or more, by hand or by a descriptor, for one ticket after another."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge import CallTimeout, CheckoutTimeout, PoolClosed, Sent, WorkerCrashed
from bridge.channel import Channel
from bridge.clock import now_ns
from pool_v2 import PoolV2
from pool_v2.engine import WATCHED_NS
from pool_v2.gates import LONGEST_WAIT_S, MOST_GATES, AnswerGate, Bell, Gates
from pool_v2.ticket import Gate, Ticket

HARD_LIMIT_S = 15.0


@pytest.fixture
def gate() -> AnswerGate:
    return AnswerGate(Bell())


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass  # the test has closed it


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# One gate.


def test_a_new_gate_is_shut(gate: AnswerGate) -> None:
    assert not gate.wait(0.0)
    assert not gate.wait(-1.0)
    assert not gate.wait(0.01)


def test_what_opened_it_before_the_wait_is_not_lost_and_counts_once(gate: AnswerGate) -> None:
    gate.open()
    gate.open()

    assert gate.wait(0.0)
    assert not gate.wait(0.0)


def test_it_opens_for_one_who_waits(gate: AnswerGate, client: Callable[..., Any]) -> None:
    waiter = client(gate.wait, HARD_LIMIT_S)
    gate.open()

    assert waiter.result() is True


def test_it_opens_again(gate: AnswerGate) -> None:
    for _ in range(3):
        gate.open()
        assert gate.wait(HARD_LIMIT_S)


def test_it_opens_when_there_is_something_to_read(
    gate: AnswerGate, pipe: tuple[int, int], client: Callable[..., Any]
) -> None:
    reader, writer = pipe
    gate.open_at(reader)
    assert not gate.wait(0.01)
    waiter = client(gate.wait, HARD_LIMIT_S)
    os.write(writer, b"x")

    assert waiter.result() is True
    assert not gate.wait(0.01), "once, whatever is still to be read"
    gate.open_at(reader)
    assert gate.wait(0.0), "what is there already counts"


def test_it_opens_when_the_other_end_is_closed(gate: AnswerGate, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    gate.open_at(reader)
    os.close(writer)

    assert gate.wait(HARD_LIMIT_S)


def test_it_opens_at_once_for_a_descriptor_that_cannot_be_watched(gate: AnswerGate, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    os.close(reader)
    gate.open_at(reader)

    assert gate.wait(0.0)


def test_a_descriptor_with_the_number_of_one_that_was_closed_is_watched_too(gate: AnswerGate) -> None:
    for _ in range(3):
        reader, writer = os.pipe()
        gate.open_at(reader)
        os.write(writer, b"x")
        assert gate.wait(HARD_LIMIT_S)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("timeout_s", [LONGEST_WAIT_S * 2, 1e300])
def test_a_wait_may_be_longer_than_the_kernel_can_count(
    gate: AnswerGate, client: Callable[..., Any], timeout_s: float
) -> None:
    waiter = client(gate.wait, timeout_s)
    gate.open()

    assert waiter.result() is True


@pytest.mark.parametrize("kind", [Gate, lambda: AnswerGate(Bell())])
def test_a_wait_may_have_no_end_of_its_own(kind: Callable[[], Gate], client: Callable[..., Any]) -> None:
    shut = kind()
    waiter = client(shut.wait, None)
    waiter.thread.join(0.05)
    assert waiter.thread.is_alive()
    shut.open()

    assert waiter.result() is True


def test_a_forgotten_gate_leaves_no_descriptor() -> None:
    before = descriptors()
    first = AnswerGate(Bell())
    assert len(descriptors()) == len(before) + 2
    del first

    assert descriptors() == before


# Those of a pool.


def taken(gates: Gates) -> Gate:
    ticket = Ticket(1, gates=gates.free)
    ticket.arm()
    assert ticket.gate is not None
    return ticket.gate


def test_there_is_none_until_somebody_waited_and_then_it_is_used_again() -> None:
    gates = Gates()
    first = taken(gates)
    assert type(first) is Gate
    gates.put(first)
    second = taken(gates)
    assert type(second) is AnswerGate
    gates.put(second)

    assert taken(gates) is second
    assert type(taken(gates)) is Gate, "each has one waiting client"


def test_there_are_as_many_as_waited_and_never_more_than_the_most() -> None:
    gates = Gates(most=3)
    for _ in range(10):
        gates.put(Gate())
    made = [taken(gates) for _ in range(5)]
    assert [type(each) for each in made] == [AnswerGate] * 3 + [Gate] * 2
    for each in made:
        gates.put(each)
    assert [type(taken(gates)) for _ in range(4)] == [AnswerGate] * 3 + [Gate]


def test_one_that_was_lost_is_replaced() -> None:
    gates = Gates(most=1)
    gates.put(Gate())
    assert type(taken(gates)) is AnswerGate  # and nobody puts it back
    gc.collect()
    gates.put(Gate())

    assert type(taken(gates)) is AnswerGate


def test_a_close_leaves_no_descriptor_and_what_is_put_back_later_is_dropped() -> None:
    before = descriptors()
    gates = Gates()
    gates.put(Gate())
    gates.put(Gate())
    used = taken(gates)
    gates.close()
    gates.close()
    assert len(descriptors()) == len(before) + 2, "one gate and the bell that it needs"
    used.open()
    assert used.wait(0.0)
    gates.put(used)
    gates.put(Gate())
    del used

    assert descriptors() == before
    assert type(taken(gates)) is Gate


def test_without_descriptors_there_are_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    for module, name in ((os, "eventfd"), (select, "epoll")):
        gates = Gates()
        with monkeypatch.context() as patched:
            patched.setattr(module, name, none_left)
            gates.put(Gate())
        assert type(taken(gates)) is Gate
        gates.put(Gate())
        assert type(taken(gates)) is AnswerGate, "later there may be some"


# In a pool of one worker, which is stopped while somebody has it and others come.


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the gates are opened, in order."""
    how: list[str] = []

    def told(name: str) -> None:
        real = getattr(AnswerGate, name)

        def tell(gate: AnswerGate, *args: int) -> None:
            how.append(name)
            real(gate, *args)

        monkeypatch.setattr(AnswerGate, name, tell)

    told("open")
    told("open_at")
    return how


@pytest.fixture
def line(make_pool: Any, pid_of: Any, client: Any, until: Any) -> Callable[..., tuple[PoolV2, int, Any, Any]]:
    """A pool whose one worker is stopped in the midst of a call while a second call waits behind a gate."""

    def make(*args: Any, **options: Any) -> tuple[PoolV2, int, Any, Any]:
        pool = make_pool()
        pool._engine.gates.put(Gate())
        pid = pid_of(pool)
        os.kill(pid, signal.SIGSTOP)
        holder = client(pool.execute, "echo", {"value": "first"})
        until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        second = client(pool.execute, *(args or ("echo", {"value": "second"})), **options)
        until(lambda: pool.status().waiting == 1, "a call waits")
        return pool, pid, holder, second

    return make


def test_a_client_sleeps_until_its_answer(line: Any, opened: list[str]) -> None:
    pool, pid, holder, second = line()
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "second")
    assert opened == ["open_at"]
    assert len(pool._engine.gates.free) == 1


def test_whose_request_does_not_fit_is_woken_to_write_the_rest(line: Any, opened: list[str]) -> None:
    large = "x" * 3_000_000
    _, pid, holder, second = line("echo", {"value": large})
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", large)
    assert opened[0] == "open"


def test_a_worker_that_dies_ends_the_wait_for_its_answer(
    line: Any, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    write = Channel.write_ahead

    def then_stop(channel: Channel, left: Any) -> int:
        os.kill(channel.pid, signal.SIGSTOP)
        return write(channel, left)

    monkeypatch.setattr(Channel, "write_ahead", then_stop)
    pool, pid, holder, second = line()
    os.kill(pid, signal.SIGCONT)
    assert holder.result() == "first"
    assert second.thread.is_alive()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed) as caught:
        second.result()

    assert caught.value.sent is Sent.YES
    assert "open_at" in opened
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_its_deadline_ends_the_wait_for_its_answer(line: Any, opened: list[str]) -> None:
    pool, pid, holder, second = line("sleep", {"seconds": 60}, timeout_s=3.0, checkout_timeout_s=30.0)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(CallTimeout) as caught:
        second.result()

    assert (holder.result(), caught.value.sent) == ("first", Sent.YES)
    assert "open_at" in opened
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_patience_that_ends_while_the_worker_works_is_no_error(line: Any) -> None:
    _, pid, holder, second = line("sleep", {"seconds": 1.5}, checkout_timeout_s=1.0)
    os.kill(pid, signal.SIGCONT)

    assert holder.result() == "first"
    second.result()


def test_patience_that_ends_before_a_worker_comes_is(line: Any) -> None:
    pool, pid, holder, second = line(checkout_timeout_s=0.3)
    with pytest.raises(CheckoutTimeout) as caught:
        second.result()
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), caught.value.sent) == ("first", Sent.NO)
    assert pool.execute("echo", {"value": "third"}) == "third"
    assert pool.status().statistics.outcomes == {"result": 2, "CheckoutTimeout": 1}


@pytest.mark.parametrize("patience_s", [WATCHED_NS / 1e9 + 0.3, WATCHED_NS / 1e9 - 0.3])
@pytest.mark.parametrize("gated", [True, False])
def test_the_supervisor_ends_a_long_wait_and_the_client_a_short_one(
    make_pool: Any,
    pid_of: Any,
    client: Any,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
    patience_s: float,
    gated: bool,
) -> None:
    limits: list[float | None] = []
    kind = AnswerGate if gated else Gate
    wait = kind.wait

    def told(gate: Any, timeout_s: float | None) -> bool:
        limits.append(timeout_s)
        return wait(gate, timeout_s)

    monkeypatch.setattr(kind, "wait", told)
    pool = make_pool(workers=1)
    pid = pid_of(pool)
    if gated:
        pool._engine.gates.put(Gate())
    os.kill(pid, signal.SIGSTOP)
    holder = client(pool.execute, "ping")
    until(lambda: pool.status().workers[0].state == "leased", "the worker is taken")
    begun = now_ns()
    with pytest.raises(CheckoutTimeout):
        client(pool.execute, "ping", checkout_timeout_s=patience_s).result()
    waited_s = (now_ns() - begun) / 1e9
    os.kill(pid, signal.SIGCONT)
    holder.result()

    assert (limits[0] is None) == (patience_s * 1e9 > WATCHED_NS)
    assert waited_s >= patience_s


def test_a_gate_that_opens_for_nothing_keeps_its_client_in_line(
    line: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    wait = AnswerGate.wait

    def told(gate: AnswerGate, timeout_s: float) -> bool:
        ended.append(wait(gate, timeout_s))
        return ended[-1]

    monkeypatch.setattr(AnswerGate, "wait", told)
    pool, pid, holder, second = line(checkout_timeout_s=30.0)
    [waiting] = pool._engine.coordinator._queue.values()
    for turn in range(5):
        waiting.gate.open()
        until(lambda turn=turn: len(ended) > turn, "its client has seen it")
    assert (ended, pool.status().waiting) == ([True] * 5, 1)
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "second")


def test_a_close_ends_the_wait(line: Any, client: Any) -> None:
    pool, _, holder, second = line()
    closing = client(pool.close, 0.0)
    with pytest.raises(PoolClosed):
        second.result()
    with pytest.raises(PoolClosed):
        holder.result()
    closing.result()


def test_a_pool_that_is_closed_leaves_no_descriptor(make_pool: Any, client: Any) -> None:
    before = descriptors()
    pool = make_pool(workers=1)
    for each in [client(pool.execute, "sleep", {"seconds": 0.05}) for _ in range(6)]:
        each.result()
    assert len(pool._engine.gates.free) > 1
    pool.close()

    assert descriptors() == before


def test_many_clients_wait_where_no_descriptor_is_left(make_pool: Any, client: Any, until: Any) -> None:
    pool = make_pool(workers=1)
    pool.execute("ping")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        spare = []
        while True:
            try:
                spare.append(os.dup(0))
            except OSError:
                break
        callers = [client(pool.execute, "echo", {"value": number}) for number in range(2 * MOST_GATES)]
        assert [each.result() for each in callers] == list(range(2 * MOST_GATES))
    finally:
        for fd in spare:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_clients_than_gates_are_all_served(make_pool: Any, client: Any) -> None:
    pool = make_pool(workers=2)
    go = threading.Barrier(3 * MOST_GATES)

    def call_often(number: int) -> list[Any]:
        go.wait(HARD_LIMIT_S)
        return [pool.execute("echo", {"value": [number, turn]}) for turn in range(20)]

    callers = [client(call_often, number) for number in range(3 * MOST_GATES)]
    for number, caller in enumerate(callers):
        assert caller.result() == [[number, turn] for turn in range(20)]
    assert 0 < len(pool._engine.gates.free) <= MOST_GATES
    assert pool.status().statistics.outcomes == {"result": 60 * MOST_GATES}


def test_a_ticket_gets_its_gate_from_the_pool() -> None:
    gates = Gates()
    gates.put(Gate())
    ticket = Ticket(1, gates=gates.free)
    ticket.arm()
    ticket.wake()

    assert type(ticket.gate) is AnswerGate
    assert ticket.wait(0.0)


def test_a_call_whose_deadline_passes_before_it_is_looked_at_costs_no_worker(
    make_pool: Any, client: Any, pid_of: Any
) -> None:
    pool = make_pool(workers=1)
    pid = pid_of(pool)
    with pool._engine.lock:
        late = client(pool.execute, "ping", timeout_s=0.05)
        late.thread.join(0.3)
    with pytest.raises(CheckoutTimeout) as caught:
        late.result()

    assert caught.value.sent is Sent.NO
    assert pid_of(pool) == pid


def test_an_error_that_is_kept_keeps_no_gate(line: Any, make_pool: Any) -> None:
    make_pool().close()  # whatever is opened once in a process
    before = descriptors()
    pool, _, holder, second = line()
    pool.close(0.0)
    kept = []
    for each in (holder, second):
        with pytest.raises(PoolClosed) as caught:
            each.result()
        kept.append(caught.value)

    assert descriptors() == before
    assert kept


def test_calls_that_take_no_gate_make_none(make_pool: Any, log: Any, pid_of: Any, client: Any, until: Any) -> None:
    pool = make_pool(log, workers=1)
    pid = pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    holder = client(pool.execute, "ping")
    until(lambda: pool.status().workers[0].state == "leased", "the worker is taken")
    for _ in range(3):
        with pytest.raises(CheckoutTimeout):
            pool.execute("ping", checkout_timeout_s=0.01)
    os.kill(pid, signal.SIGCONT)
    holder.result()

    assert not pool._engine.gates._living


def test_a_forked_child_keeps_no_gate() -> None:
    gates = Gates()
    before = descriptors()
    gates.put(Gate())
    gates.put(Gate())
    child = os.fork()
    if child == 0:
        os._exit(0 if descriptors() == before and type(taken(gates)) is Gate else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert type(taken(gates)) is AnswerGate
