"""Reply pipes in a pool: an answer is received once and whole, whatever comes with it, and leaves no descriptor."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    InvalidRequest,
    PoolClosed,
    PoolError,
    Sent,
    WorkerCrashed,
)
from poolproof.bridge.config import DEFAULT_WORKER_COMMAND
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import encode_request
from poolproof.bridge.wire.replies import LARGEST_REPLY_BYTES, ReplyPipe
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls.replies import MOST_PIPES, Replies
from tests.waiting import stop

HARD_LIMIT_S = 15.0


@pytest.fixture
def replies(tmp_path: Path) -> Replies:
    return Replies(str(tmp_path))


def descriptors(folder: Path | None = None) -> set[str]:
    """The descriptors of this process; with a folder, those of files below it, which no other thread opens."""
    kept = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            kept[fd] = os.readlink(f"/proc/self/fd/{fd}")
    if folder is not None:
        return {fd for fd, target in kept.items() if target.startswith(f"{folder}/")}
    # Without what a thread of a pool may just read of the kernel.
    return {fd for fd, target in kept.items() if not target.startswith(("/proc/", "/sys/"))}


def test_a_forgotten_pipe_leaves_neither_descriptor_nor_name(tmp_path: Path) -> None:
    first = ReplyPipe(str(tmp_path), 1)
    assert len(descriptors(tmp_path)) == 1
    assert (tmp_path / "reply-1").is_fifo()
    del first

    assert not descriptors(tmp_path)
    assert not list(tmp_path.iterdir())


# Those of a pool.


def test_there_is_none_until_somebody_waited_and_then_it_is_used_again(replies: Replies) -> None:
    assert replies.take() is None
    replies.lacking()
    made = replies.take()
    assert made is not None
    assert replies.take() is None, "each has one call"
    replies.free.append(made)

    assert replies.take() is made


def test_there_are_as_many_as_waited_and_never_more_than_the_most(tmp_path: Path) -> None:
    replies = Replies(str(tmp_path), most=3)
    for _ in range(10):
        replies.lacking()
    made = [replies.take() for _ in range(5)]
    assert [each is None for each in made] == [False] * 3 + [True] * 2
    assert len({each.number for each in made if each is not None}) == 3


def test_one_that_was_lost_is_replaced_under_another_number(tmp_path: Path) -> None:
    replies = Replies(str(tmp_path), most=1)
    replies.lacking()
    lost = replies.take()
    assert lost is not None
    number = lost.number
    del lost
    gc.collect()
    replies.lacking()
    made = replies.take()

    assert made is not None
    assert made.number != number


def test_a_close_leaves_no_descriptor_and_what_is_put_back_later_is_dropped(replies: Replies, tmp_path: Path) -> None:
    replies.lacking()
    replies.lacking()
    used = replies.take()
    assert used is not None
    replies.close()
    replies.close()
    assert len(descriptors(tmp_path)) == 1
    used.poke()
    assert used.ready(0.0)
    replies.free.append(used)
    replies.lacking()
    del used

    assert not descriptors(tmp_path)
    assert replies.take() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["mkfifo", "open"])
def test_without_descriptors_there_are_none(
    replies: Replies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, none_left)
        replies.lacking()
    assert replies.take() is None
    assert not list(tmp_path.iterdir())
    replies.lacking()
    assert replies.take() is not None, "later there may be some"


def test_workers_that_know_no_reply_pipes_are_sent_none() -> None:
    replies = Replies("")
    replies.lacking()

    assert replies.take() is None


# In a pool of one worker, which is stopped while somebody has it and others come.


@pytest.fixture
def pokes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pipes that clients have poked, by number, in order; the supervisor may poke at any time."""
    poked: list[int] = []
    poke = ReplyPipe.poke

    def told(pipe: ReplyPipe) -> None:
        if not threading.current_thread().name.endswith("-supervisor"):
            poked.append(pipe.number)
        poke(pipe)

    monkeypatch.setattr(ReplyPipe, "poke", told)
    return poked


@pytest.fixture
def line(make_pool: Any, pid_of: Any, client: Any, until: Any) -> Callable[..., tuple[PoolV2, int, Any, Any]]:
    """A pool whose one worker is stopped in the midst of a call while a second call waits; each has a pipe."""

    def make(*args: Any, zygote: bool = False, **options: Any) -> tuple[PoolV2, int, Any, Any]:
        pool = make_pool(zygote=zygote)
        pool._engine.replies.lacking()
        pool._engine.replies.lacking()
        pid = pid_of(pool)
        stop(pid)
        holder = client(pool.execute, "echo", {"value": "first"})
        until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        second = client(pool.execute, *(args or ("echo", {"value": "second"})), **options)
        until(lambda: pool.status().waiting == 1, "a call waits")
        return pool, pid, holder, second

    return make


@pytest.mark.parametrize("zygote", [False, True])
def test_a_client_sleeps_until_its_answer(line: Any, pokes: list[int], zygote: bool) -> None:
    pool, pid, holder, second = line(zygote=zygote)
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "second")
    assert not pokes, "only its answer wakes it"
    assert len(pool._engine.replies.free) == 2


@pytest.mark.parametrize("size", [LARGEST_REPLY_BYTES - 200, LARGEST_REPLY_BYTES, 60_000, 300_000])
def test_an_answer_may_have_any_size(line: Any, pokes: list[int], size: int) -> None:
    pool, pid, holder, second = line("echo", {"value": "x" * size})
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "x" * size)
    assert len(pool._engine.replies.free) == 2
    assert size >= 60_000 or not pokes


def test_whose_request_does_not_fit_is_woken_to_write_the_rest(line: Any, pokes: list[int]) -> None:
    large = "x" * 3_000_000
    _, pid, holder, second = line("echo", {"value": large})
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", large)
    assert pokes


def test_a_request_that_is_too_large_with_its_pipe_s_number_is_sent_without(make_pool: Any, client: Any) -> None:
    def call(size: int) -> Any:
        return client(pool.execute, "echo", {"value": "x" * size}).result()

    limit = 2000
    pool = make_pool(max_frame_bytes=limit)
    pool._engine.replies.lacking()
    largest = next(size for size in range(limit, 0, -1) if len(_frame(size)) <= limit)
    with pytest.raises(InvalidRequest, match=f"has {limit + 1} bytes"):
        call(largest + 1)

    assert len(call(largest - 20)) == largest - 20, (
        "which leaves no room for the number, but for the answer's own words"
    )
    assert len(pool._engine.replies.free) == 1


def _frame(size: int) -> bytes:
    return bytes(encode_request(1, "echo", {"value": "x" * size}, limit_bytes=10**6)[HEADER_BYTES:])


@pytest.mark.parametrize("zygote", [False, True])
def test_a_worker_that_dies_ends_the_wait_for_its_answer(line: Any, pokes: list[int], zygote: bool, until: Any) -> None:
    pool, pid, holder, second = line("sleep", {"seconds": 60}, zygote=zygote)
    os.kill(pid, signal.SIGCONT)
    assert holder.result() == "first"
    until(lambda: not pool.status().waiting, "its request was written")
    assert second.thread.is_alive()
    assert not pokes
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed) as caught:
        second.result()

    assert caught.value.sent is Sent.YES
    assert len(pool._engine.replies.free) == 1, "an answer might still come through its pipe"
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_an_answer_that_was_sent_before_its_worker_died_is_received(line: Any, until: Any, gone: Any) -> None:
    pool, pid, holder, second = line("shutdown")
    os.kill(pid, signal.SIGCONT)

    assert holder.result() == "first"
    assert second.result() is not None
    until(lambda: gone(pid), "it has left, as asked")
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_a_worker_that_cannot_open_the_pipe_answers_all_the_same_and_leaves(
    line: Any, until: Any, gone: Any, client: Any
) -> None:
    pool, pid, holder, second = line()
    for pipe in pool._engine.replies._living:
        os.unlink(pipe._path)
    os.kill(pid, signal.SIGCONT)

    assert holder.result() == "first"
    assert second.result() == "second"
    until(lambda: gone(pid), "it is replaced")
    assert not pool._engine.replies.free, "each has cost a worker"
    assert client(pool.execute, "echo", {"value": "third"}).result() == "third"


def test_pipes_that_no_worker_can_open_are_given_up(
    make_pool: Any, client: Any, pid_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolproof.pool_v2.calls.replies.MOST_LOST", 3)
    pool = make_pool(workers=1, zygote=True)
    replies = pool._engine.replies
    for turn in range(3):
        replies.lacking()
        os.unlink(replies.free[0]._path)
        assert client(pool.execute, "echo", {"value": turn}).result() == turn
    replies.lacking()
    assert replies.take() is None
    pid = pid_of(pool)
    assert client(pool.execute, "pid").result()["pid"] == pid


def test_an_old_pipe_takes_no_name_away_from_the_next(tmp_path: Path) -> None:
    path = str(tmp_path / "reply-1")
    old = ReplyPipe(str(tmp_path), 1)
    os.unlink(path)
    new = ReplyPipe(str(tmp_path), 1)
    del old
    assert os.path.exists(path)
    del new
    assert not os.path.exists(path)


def test_a_client_whose_worker_outlives_the_pool_keeps_its_own_limit(
    make_pool: Any, client: Any, until: Any, pid_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(workers=1)
    pool._engine.replies.lacking()
    pid = pid_of(pool)
    caller = client(pool.execute, "sleep", {"seconds": 60}, timeout_s=3.0)
    until(lambda: pool.status().workers[0].state == "leased", "it is busy")
    with monkeypatch.context() as patched:
        patched.setattr("poolproof.pool_v2.running.lifetime.END_TIMEOUT_S", 0.1)
        patched.setattr(Channel, "kill", lambda _: None)
        for module in ("processes.strays", "machine.tree"):
            patched.setattr(f"poolproof.bridge.{module}.kill_groups", lambda *_, **__: ())
        patched.setattr("poolproof.bridge.machine.groups._kill", lambda *_: [])
        pool.close(0.0)
        with pytest.raises((PoolClosed, CallTimeout)) as caught:
            caller.result()
    os.kill(pid, signal.SIGKILL)

    assert caught.value.sent is Sent.YES
    for worker in pool._engine.coordinator.workers.values():
        until(worker.transport.reap, "it is reaped")
        worker.transport.close()


def test_an_interrupt_in_a_close_leaves_nobody_waiting(line: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, pid, holder, second = line(checkout_timeout_s=60.0, timeout_s=60.0)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pool._engine.supervisor, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.close(1.0)
    with pytest.raises(PoolClosed):
        second.result()
    os.kill(pid, signal.SIGCONT)
    assert holder.result() == "first"
    pool.close()


def test_a_stranger_who_holds_the_dead_worker_s_stdout_keeps_nobody_waiting(make_pool: Any, client: Any) -> None:
    pool = make_pool(workers=1)
    pool._engine.replies.lacking()
    child = client(pool.execute, "spawn_child", {"seconds": 60, "pipes": True}).result()["pid"]
    try:
        with pytest.raises(WorkerCrashed):
            client(pool.execute, "exit").result()
        assert pool.execute("echo", {"value": "next"}) == "next"
    finally:
        with contextlib.suppress(ProcessLookupError):  # the pool ends what its dead worker has left
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["garbage", "oversize", "not_json", "wrong_id", "truncated"])
def test_what_is_no_answer_costs_the_call_and_its_worker(make_pool: Any, client: Any, pid_of: Any, kind: str) -> None:
    pool = make_pool(workers=1)
    pool._engine.replies.lacking()
    pid = pid_of(pool)
    with pytest.raises(WorkerCrashed) as caught:
        client(pool.execute, "bad_frame", {"kind": kind}).result()

    assert caught.value.sent is Sent.YES
    assert pid_of(pool) != pid
    assert not pool._engine.replies.free


def test_a_request_that_its_worker_cannot_read_is_answered_too(make_pool: Any, client: Any) -> None:
    pool = make_pool(workers=1)
    pool._engine.replies.lacking()
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    try:
        found = client(pool.execute, "echo", {"value": deep}, timeout_s=20.0).result()
    except (CommandError, InvalidRequest) as error:
        found = error  # one of the two gives up at this depth, which is told at once
    assert not isinstance(found, PoolError) or "recursion" in str(found).lower() or "deep" in str(found).lower()
    assert len(pool._engine.replies.free) == 1


def test_its_deadline_ends_the_wait_for_its_answer(line: Any, pokes: list[int]) -> None:
    pool, pid, holder, second = line("sleep", {"seconds": 60}, timeout_s=3.0, checkout_timeout_s=30.0)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(CallTimeout) as caught:
        second.result()

    assert (holder.result(), caught.value.sent) == ("first", Sent.YES)
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


def test_a_close_ends_the_wait(line: Any, client: Any) -> None:
    pool, _, holder, second = line()
    closing = client(pool.close, 0.0)
    with pytest.raises(PoolClosed):
        second.result()
    with pytest.raises(PoolClosed):
        holder.result()
    closing.result()


def test_a_pool_that_is_closed_leaves_no_descriptor(make_pool: Any, client: Any, pid_of: Any, until: Any) -> None:
    before = descriptors()
    pool = make_pool(workers=1)
    pid = pid_of(pool)
    stop(pid)
    callers = [client(pool.execute, "ping") for _ in range(6)]
    until(lambda: pool.status().waiting == 5, "one has the worker, and the others wait")
    os.kill(pid, signal.SIGCONT)
    for each in callers:
        each.result()
    assert len(pool._engine.replies.free) > 1
    pool.close()

    assert descriptors() <= before


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
        callers = [client(pool.execute, "echo", {"value": number}) for number in range(2 * MOST_PIPES)]
        assert [each.result() for each in callers] == list(range(2 * MOST_PIPES))
    finally:
        for fd in spare:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_clients_than_pipes_are_all_served(make_pool: Any, client: Any) -> None:
    pool = make_pool(workers=2)
    go = threading.Barrier(3 * MOST_PIPES)

    def call_often(number: int) -> list[Any]:
        go.wait(HARD_LIMIT_S)
        return [pool.execute("echo", {"value": [number, turn]}) for turn in range(20)]

    callers = [client(call_often, number) for number in range(3 * MOST_PIPES)]
    for number, caller in enumerate(callers):
        assert caller.result() == [[number, turn] for turn in range(20)]
    assert 0 < len(pool._engine.replies.free) <= MOST_PIPES
    assert pool.status().statistics.outcomes == {"result": 60 * MOST_PIPES}


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


def test_an_error_that_is_kept_keeps_no_pipe(line: Any, make_pool: Any) -> None:
    make_pool().close()  # whatever is opened once in a process
    before = descriptors()
    pool, _, holder, second = line()
    pool.close(0.0)
    kept = []
    for each in (holder, second):
        with pytest.raises(PoolClosed) as caught:
            each.result()
        kept.append(caught.value)

    assert descriptors() <= before
    assert kept


def test_a_command_s_error_that_is_kept_keeps_no_pipe(line: Any, make_pool: Any, client: Any) -> None:
    make_pool().close()
    before = descriptors()
    pool, pid, holder, waited = line("fail")
    os.kill(pid, signal.SIGCONT)
    holder.result()
    kept = []
    for each in (waited, client(pool.execute, "fail")):
        with pytest.raises(CommandError) as caught:
            each.result()
        kept.append(caught.value)
    assert len(pool._engine.replies.free) == 2
    pool.close()

    assert descriptors() <= before
    assert all(error.__traceback__ is not None for error in kept)


@pytest.mark.parametrize("ends", ["exit", "late"])
def test_an_error_of_a_worker_s_end_that_is_kept_keeps_no_pipe(line: Any, make_pool: Any, ends: str) -> None:
    make_pool().close()
    before = descriptors()
    pool, pid, holder, waited = line("exit") if ends == "exit" else line("sleep", {"seconds": 60}, timeout_s=1.0)
    os.kill(pid, signal.SIGCONT)
    holder.result()
    with pytest.raises((WorkerCrashed, CallTimeout)) as caught:
        waited.result()
    assert len(pool._engine.replies.free) == 1
    pool.close()

    assert descriptors() <= before
    assert caught.value.__traceback__ is not None


def test_calls_that_take_no_pipe_make_none(make_pool: Any, log: Any, pid_of: Any, client: Any, until: Any) -> None:
    pool = make_pool(log, workers=1)
    pid = pid_of(pool)
    stop(pid)
    holder = client(pool.execute, "ping")
    until(lambda: pool.status().workers[0].state == "leased", "the worker is taken")
    for _ in range(3):
        with pytest.raises(CheckoutTimeout):
            pool.execute("ping", checkout_timeout_s=0.01)
    os.kill(pid, signal.SIGCONT)
    holder.result()

    assert not pool._engine.replies._living


def test_a_forked_child_keeps_no_pipe_and_leaves_its_parent_s(replies: Replies, tmp_path: Path) -> None:
    for _ in range(3):
        replies.lacking()
    used = replies.take()
    assert descriptors(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0 if not descriptors(tmp_path) and replies.take() is None else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(tmp_path.iterdir())) == 3
    assert used is not None
    used.poke()
    assert used.ready(0.0)


def test_workers_of_another_command_are_asked_as_always(make_pool: Any, client: Any) -> None:
    command = " ".join(DEFAULT_WORKER_COMMAND).replace("{worker_id}", "7")
    pool = make_pool(workers=1, worker_command=f"env {command}")
    for each in [client(pool.execute, "echo", {"value": number}) for number in range(4)]:
        each.result()

    assert not pool._engine.replies._living
    assert pool.status().statistics.outcomes == {"result": 4}
