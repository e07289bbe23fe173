"""How a task waits, for a worker and for its pipes: what goes wrong says what was sent, and nothing blocks the loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.errors import CallTimeout, Sent, WorkerCrashed
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.processes.stderr import StderrDrain, StderrTail
from poolproof.bridge.wire.exchange import Steps, exchange
from poolproof.bridge.wire.messages import encode_request
from poolproof.pool_v2.aio.io import AsyncTicket, TaskIo, follow
from poolproof.pool_v2.aio.pool import AsyncPool
from poolproof.pool_v2.calls.lease import OpenLeases
from poolproof.pool_v2.core.ticket import Ticket, TicketState

OnLoop = Callable[..., Any]
Connect = Callable[..., Channel]
LIMIT_BYTES = 16 * 1024 * 1024
PROLOGUE = """
import json, os, struct, sys, time
def request():
    (size,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    return json.loads(sys.stdin.buffer.read(size))
def frame(id, result):
    data = json.dumps({"id": id, "success": True, "result": result}).encode()
    return struct.pack(">I", len(data)) + data
def put(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""
REST = "\ntime.sleep(600)"


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A channel to a worker with this program, which no supervisor watches."""
    drain = StderrDrain("test")
    channels: list[Channel] = []

    def start(body: str, *, drained: bool = True) -> Channel:
        process = WorkerProcess.spawn(len(channels) + 1, (sys.executable, "-S", "-c", PROLOGUE + body), os.environ)
        tail = StderrTail(ring_bytes=1024)
        if drained:
            drain.watch(process.stderr_fd, tail)
        else:
            os.close(process.stderr_fd)
        channels.append(Channel(process, tail, limit_bytes=LIMIT_BYTES, watched=True))
        return channels[-1]

    yield start
    for channel in channels:
        channel.process.kill()
        assert channel.process.exited(20.0)
        channel.process.reap()
        channel.process.close()
    drain.close()


async def ask(channel: Channel, value: Any = None, *, timeout_s: float = 15.0, request_id: int = 1) -> Any:
    frame = encode_request(request_id, "echo", {"value": value}, limit_bytes=LIMIT_BYTES)
    io = TaskIo(OpenLeases(), pytest.fail)
    return (await follow(exchange(io, channel, request_id, frame, deadline_ns(timeout_s)))).result


def fail(on_loop: OnLoop, channel: Channel, value: Any = None, *, timeout_s: float = 15.0) -> Any:
    with pytest.raises((WorkerCrashed, CallTimeout)) as caught:
        on_loop(ask(channel, value, timeout_s=timeout_s))
    assert channel.dirty
    assert caught.value.worker_id == channel.process.worker_id
    return caught.value


def test_one_loop_after_another_and_a_thread_in_between_use_one_worker(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("while True:\n    r = request()\n    put(frame(r['id'], r['args']['value']))")
    for number in range(1, 10, 3):
        assert on_loop(ask(channel, number, request_id=number)) == number
        assert on_loop(ask(channel, "x" * 3_000_000, request_id=number + 1)) == "x" * 3_000_000
        frame = encode_request(number + 2, "echo", {"value": "thread"}, limit_bytes=LIMIT_BYTES)
        assert channel.exchange(number + 2, frame, deadline_ns=deadline_ns(15.0)).result == "thread"
        assert not channel.dirty
    assert os.get_blocking(channel.process.stdout_fd)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 40, 100_000])
def test_a_response_in_two_pieces_is_read_whole_and_the_loop_goes_on_between(
    on_loop: OnLoop, connect: Connect, cut: int
) -> None:
    channel = connect(
        f"r = request(); data = frame(r['id'], 'x' * 150_000 if {cut} > 40 else 'x'); put(data[:{cut}])\n"
        f"sys.stdin.buffer.read(1); put(data[{cut}:])" + REST
    )

    async def use() -> str:
        task = asyncio.create_task(ask(channel))
        for _ in range(100):
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # the loop is free, and the answer is not
        assert not task.done()
        os.write(channel.process.stdin_fd, b"\0")
        return str(await task)

    assert set(on_loop(use())) == {"x"}
    assert not channel.dirty


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("request()", "ended its stream before it answered"),
        ("request(); put(b'\\0\\0')", "ended its stream before it answered"),
        ("request(); put(b'\\0\\0\\1\\0xyz')", "ended its stream 253 bytes short of a frame of 256"),
        ("request(); put(b'\\xff\\xff\\xff\\xff')" + REST, "broke the protocol: a frame announces 4294967295 bytes"),
        ("r = request(); put(frame(r['id'], 1) + b'm')" + REST, "sent more bytes after its last response"),
        ("r = request(); put(frame(r['id'], 1) + b'more')" + REST, "broke the protocol: a frame announces"),
        ("r = request(); put(frame(7, 1))" + REST, "answered request 7 instead of 1"),
        ("request(); put(b'\\0\\0\\0\\2{]')" + REST, "sent what is not a response"),
        ("os.close(0); put(b''); sys.stderr.write('bye')" + REST, "does not read its requests"),
    ],
)
def test_a_broken_stream_is_a_crash_with_the_last_words(
    on_loop: OnLoop, connect: Connect, gone: Any, until: Any, body: str, what: str
) -> None:
    channel = connect("sys.stderr.write('last words\\n'); sys.stderr.flush()\n" + body)
    if "close(0)" in body:
        until(lambda: "bye" in channel.tail.text(), "it has closed its stdin")
    error = fail(on_loop, channel, "x" * 500_000 if "close(0)" in body else None)
    assert isinstance(error, WorkerCrashed)
    assert what in error.message
    assert "last words" in str(error)
    until(lambda: gone(channel.process.pid), "it is dead")


def test_a_request_that_is_not_read_ends_at_the_deadline(on_loop: OnLoop, connect: Connect) -> None:
    error = fail(on_loop, connect("time.sleep(600)"), "x" * 1_000_000, timeout_s=0.1)
    assert isinstance(error, CallTimeout)
    assert error.sent is Sent.MAYBE
    assert "did not take the whole request" in error.message


def test_a_worker_that_was_cut_off_in_a_write_is_a_call_timeout(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("time.sleep(600)")

    async def use() -> None:
        asyncio.get_running_loop().call_later(0.05, channel.cut_off)
        await ask(channel, "x" * 1_000_000)

    with pytest.raises(CallTimeout) as caught:
        on_loop(use())
    assert caught.value.sent is Sent.MAYBE


@pytest.mark.parametrize(
    ("body", "timeout_s"),
    [
        ("request(); put(b'\\0')", 0.000001),
        ("request(); put(b'\\0\\0\\1\\0x')", 0.000001),
        ("request(); put(b'\\0\\0\\1\\0x'); time.sleep(0.5); put(b'y')", 0.3),
    ],
)
def test_bytes_that_come_after_the_deadline_do_not_stretch_it(
    on_loop: OnLoop, connect: Connect, body: str, timeout_s: float
) -> None:
    error = fail(on_loop, connect(body + REST), timeout_s=timeout_s)
    assert isinstance(error, CallTimeout)
    assert error.sent is Sent.YES


def test_a_worker_that_dies_with_a_stranger_at_its_stdin_ends_the_write(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("import subprocess; subprocess.Popen(['sleep', '600'], stdin=0); time.sleep(0.1)")
    error = fail(on_loop, channel, "x" * 1_000_000)
    assert isinstance(error, WorkerCrashed)
    assert error.sent is Sent.MAYBE


def test_a_wait_for_last_words_is_bounded(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("request()", drained=False)
    assert isinstance(fail(on_loop, channel), WorkerCrashed)
    assert not channel.tail.ended


# Wherever a worker dies or sends too much, and wherever a task is cancelled.

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("body", "value", "sent"),
    [
        pytest.param("", "x" * MEGABYTE, {Sent.NO, Sent.MAYBE}, id="before the request"),
        pytest.param("sys.stdin.buffer.read(1000)", "x" * MEGABYTE, {Sent.MAYBE}, id="in the request"),
        pytest.param("request()", "x" * MEGABYTE, {Sent.YES}, id="after a large request"),
        pytest.param("r = request(); put(frame(r['id'], 1)[:-1])", 1, {Sent.YES}, id="a byte before the end"),
        pytest.param(
            "r = request(); put(frame(r['id'], 'y' * 900_000)[:800_000])", 1, {Sent.YES}, id="in a large response"
        ),
    ],
)
def test_a_worker_that_dies_anywhere_is_a_crash_that_says_what_was_sent(
    on_loop: OnLoop, connect: Connect, body: str, value: Any, sent: set[Sent]
) -> None:
    channel = connect(body + "\nos.kill(os.getpid(), 9)")
    error = fail(on_loop, channel, value)
    assert isinstance(error, WorkerCrashed)
    assert error.sent in sent


def test_a_worker_that_reads_and_writes_slowly_holds_no_loop(on_loop: OnLoop, connect: Connect) -> None:
    # It takes and sends a piece only when it is told to, on a descriptor of its own.
    go_on_fd, tell_fd = os.pipe()
    os.set_inheritable(go_on_fd, True)
    read_whole = (
        f"def turn(): os.read({go_on_fd}, 1)\n"
        "data = b''\n"
        "while len(data) < 4 or len(data) < 4 + struct.unpack('>I', data[:4])[0]:\n"
        "    turn(); data += os.read(0, 100_000)\n"
        "answer = frame(1, len(data))\n"
        "for b in answer: turn(); os.write(1, bytes([b]))\n"
    )
    channel = connect(read_whole + REST)

    async def use() -> tuple[int, int]:
        task, turns = asyncio.create_task(ask(channel, "x" * MEGABYTE)), 0
        while not task.done():
            os.write(tell_fd, b"1")
            turns += 1
            await asyncio.sleep(0.001)
        return await task, turns

    size, turns = on_loop(use())
    os.close(go_on_fd)
    os.close(tell_fd)
    assert size > MEGABYTE
    assert turns > 20, "the loop went on between the pieces"
    assert not channel.dirty


CANCELLED = {
    "in a write": ("time.sleep(600)", "x" * MEGABYTE),
    "in a read": ("request(); time.sleep(600)", 1),
    "in the header of a response": ("request(); put(b'\\0\\0'); time.sleep(600)", 1),
    "in a response": ("r = request(); put(frame(r['id'], 1)[:-1]); time.sleep(600)", 1),
}


@pytest.mark.parametrize("where", CANCELLED)
def test_a_task_that_is_cancelled_in_a_wait_leaves_its_loop_as_it_was_and_the_worker_dirty(
    on_loop: OnLoop, connect: Connect, where: str
) -> None:
    body, value = CANCELLED[where]
    channel = connect(body)

    async def use() -> None:
        task = asyncio.create_task(ask(channel, value))
        while not (where == "in a write" or channel.receiver.torn or where == "in a read"):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        loop = asyncio.get_running_loop()
        for fd in (channel.answer_fd, channel.exit_fd):
            assert not loop.remove_reader(fd), "nobody watches it any more"
        assert not loop.remove_writer(channel.request_fd)

    on_loop(use())
    assert channel.dirty


def test_a_task_that_is_cancelled_as_it_waits_for_last_words_goes_away_at_once(
    on_loop: OnLoop, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolproof.pool_v2.aio.io.TAIL_WAIT_S", 600.0)
    channel = connect("request()", drained=False)

    async def use() -> None:
        task = asyncio.create_task(ask(channel))
        while not channel.exited():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task

    on_loop(use())
    assert channel.dirty


@pytest.mark.parametrize("value", [1, "x" * MEGABYTE], ids=["in a read", "in a write"])
def test_a_coroutine_whose_loop_was_closed_in_a_wait_can_be_finalized(connect: Connect, value: Any) -> None:
    channel = connect("time.sleep(600)")
    loop = asyncio.new_event_loop()
    work = ask(channel, value)
    task = loop.create_task(work)
    loop.run_until_complete(asyncio.sleep(0.05))
    assert not task.done()
    loop.close()
    work.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]

    assert channel.dirty


def test_a_worker_that_breaks_the_protocol_costs_its_call_only(
    make_async_pool: Callable[..., AsyncPool], on_loop: OnLoop
) -> None:
    pool = make_async_pool()
    for kind in ("garbage", "truncated"):
        with pytest.raises(WorkerCrashed):
            on_loop(pool.execute("bad_frame", {"kind": kind}))
        assert on_loop(pool.execute("echo", {"value": 1})) == 1


def test_a_stopped_worker_holds_no_loop_and_its_call_ends_at_the_deadline(
    make_async_pool: Callable[..., AsyncPool], on_loop: OnLoop
) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> None:
        await pool.warm_up()
        async with pool.checkout() as stopped:
            os.kill(stopped.pid, signal.SIGSTOP)
            late = asyncio.create_task(stopped.execute("echo", {"value": "x" * 1_000_000}, timeout_s=0.3))
            while not late.done():
                assert await pool.execute("echo", {"value": 1}) == 1
            with pytest.raises(CallTimeout) as caught:
                await late
            assert caught.value.sent is Sent.MAYBE

    on_loop(use())


# Waiting for a worker.


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that the test drives, and may close."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def draw(on_dead_loop: Callable[[Ticket], Any] = pytest.fail, *, deadline: int = 2**63) -> AsyncTicket:
    """A ticket of the current task."""
    opened = OpenLeases()
    ticket = TaskIo(opened, on_dead_loop).ticket(1, None, deadline, deadline, 0, None)
    assert isinstance(ticket, AsyncTicket)
    assert opened.by_call[1].ticket is ticket, "the pool can find it if its loop is closed"
    assert opened.by_call[1].thread is ticket
    return ticket


async def pause(ticket: AsyncTicket, timeout_s: float) -> None:
    """Wait for the ticket as the steps of a call do."""

    def steps() -> Steps[None]:
        yield from TaskIo(OpenLeases(), pytest.fail).wait(ticket, deadline_ns(timeout_s))

    await follow(steps())


def test_a_ticket_is_woken_from_its_own_loop_and_from_any_thread(on_loop: OnLoop) -> None:
    async def use(wake: Callable[[Ticket], None]) -> None:
        ticket = draw()
        ticket.wake()  # nobody waits yet
        ticket.arm()
        asyncio.get_running_loop().call_soon(wake, ticket)
        await pause(ticket, 20.0)
        ticket.wake()

    on_loop(use(lambda ticket: ticket.wake()))
    on_loop(use(lambda ticket: threading.Thread(target=ticket.wake).start()))


def test_two_threads_may_wake_it_at_once(on_loop: OnLoop) -> None:
    async def use() -> None:
        ticket = draw()
        ticket.arm()
        for _ in range(2):
            thread = threading.Thread(target=ticket.wake)
            thread.start()
            thread.join()
        await pause(ticket, 20.0)

    on_loop(use())


def test_a_wait_ends_by_itself(on_loop: OnLoop) -> None:
    async def use() -> float:
        loop = asyncio.get_running_loop()
        ticket = draw()
        ticket.arm()
        begin_s = loop.time()
        await pause(ticket, 0.02)
        return loop.time() - begin_s

    assert on_loop(use()) >= 0.0199


def test_who_has_a_worker_for_a_closed_loop_is_told_so(loop: asyncio.AbstractEventLoop) -> None:
    found: list[Ticket] = []

    async def armed() -> AsyncTicket:
        ticket = draw(found.append)
        ticket.arm()
        return ticket

    ticket = loop.run_until_complete(armed())
    assert ticket.is_alive()
    loop.close()
    ticket.wake()

    assert found == [ticket]
    assert not ticket.is_alive()


def test_only_an_offer_past_its_deadline_tells_a_loop_that_stands_still(loop: asyncio.AbstractEventLoop) -> None:
    async def armed() -> AsyncTicket:
        ticket = draw(deadline=1)
        ticket.state = TicketState.OFFERED
        assert ticket.is_alive(), "the loop runs"
        return ticket

    ticket = loop.run_until_complete(armed())
    assert not ticket.is_alive()
    ticket.state = TicketState.ACCEPTED
    assert ticket.is_alive()
