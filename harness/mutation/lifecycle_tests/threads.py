"""Lifecycle tests: forks, interrupts, abandoned leases, killed parents, and concurrent closes.

Each test knows only the common interface, and checks one guarantee.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from poolproof.bridge import Pool, PoolClosed, PoolError, WorkerCrashed
from poolproof.harness.model.checker import Finding
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import (
    Bench,
    LifecycleTest,
    claim,
    lifecycle_test,
    lives,
    wait_until,
)
from poolproof.harness.mutation.mutant import BOTH, V2

THREADS = 4
CALLS = 10
GONE_WITHIN_S = 5.0
RECLAIM_WITHIN_S = 10.0
BUSY_S = 60.0
PATIENT_S = 15.0


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _together(work: Callable[[int], object], times: int) -> list[BaseException]:
    # Runs `work` in this many threads at once, and returns the raised errors.
    errors: list[BaseException] = []
    barrier = threading.Barrier(times)

    def one(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def session_counters(bench: Bench) -> list[Finding]:
    """Several threads call in two sessions; each session's counter must count its calls."""
    pool = bench.make(workers=2, checkout_timeout_s=PATIENT_S)
    try:
        errors = _together(
            lambda number: [
                pool.execute("put", {"key": f"k{number}", "value": call}, session=f"s{number % 2}", timeout_s=PATIENT_S)
                for call in range(CALLS)
            ],
            THREADS,
        )
        told = {status.session_id: status.operations for status in pool.sessions()}
    finally:
        pool.close()
    wanted = {f"s{number}": THREADS * CALLS // 2 for number in range(2)}
    holds = None if errors else told == wanted
    return [
        claim(
            "session_counters", ("G19",), holds, f"the sessions' counters are {told}; the sessions made {wanted} calls"
        )
    ]


def left_grandchild(bench: Bench) -> list[Finding]:
    """A worker has started a child process; neither may outlive the pool."""
    pool = bench.make(workers=1)
    try:
        pid = int(pool.execute("spawn_child", {"seconds": BUSY_S})["pid"])
        there = lives(pid)
    finally:
        pool.close()
    gone = wait_until(lambda: not lives(pid), GONE_WITHIN_S)
    if not gone:
        _end(pid)
    told = f"a worker's own child was {'gone' if gone else 'still there'} after the close"
    return [claim("no_grandchild", ("G12", "G20"), gone if there else None, told)]


def killed_parent(bench: Bench) -> list[Finding]:
    """A program with a busy pool is killed by SIGKILL; its workers must end too."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            pool = bench.make(workers=1)
            pid = int(pool.execute("pid", timeout_s=10.0)["pid"])
            threading.Thread(target=_busy, args=(pool,), daemon=True).start()
            wait_until(lambda: bench.served("sleep") > 0, 5.0)
            os.write(write, pid.to_bytes(8, "big"))
            threading.Event().wait(BUSY_S)
        finally:
            os._exit(1)
    os.close(write)
    told = os.read(read, 8)
    os.close(read)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if len(told) < 8:
        return [claim("no_orphan", ("G20",), None, "the program did not open a pool")]
    pid = int.from_bytes(told, "big")
    gone = wait_until(lambda: not lives(pid), GONE_WITHIN_S)
    if not gone:
        _end(pid)
    text = f"the busy worker of a killed program {'left' if gone else 'was still there'} within {GONE_WITHIN_S:g} s"
    return [claim("no_orphan", ("G20",), gone, text)]


def _busy(pool: Pool) -> None:
    with contextlib.suppress(PoolError):
        pool.execute("sleep", {"seconds": BUSY_S}, timeout_s=2 * BUSY_S)


def close_twice(bench: Bench) -> list[Finding]:
    """Several threads close a pool at once; then it is closed once more."""
    pool = bench.make(workers=2)
    pool.execute("ping", timeout_s=10.0)
    began = time.monotonic()
    errors = _together(lambda _: pool.close(), THREADS)
    errors += _together(lambda _: pool.close(), 1)
    took_s = time.monotonic() - began
    try:
        pool.execute("ping")
        refused = False
    except PoolClosed:
        refused = True
    told = f"closing {THREADS + 1} times took {took_s:.2f} s and raised {errors!r:.100}"
    return [
        claim("close_idempotent", ("G22",), not errors, told),
        claim("closed_refuses", ("G22",), refused, f"a call after the close was {'' if refused else 'not '}refused"),
    ]


def forked_client(bench: Bench) -> list[Finding]:
    """A forked child must be refused, and its end must not harm its parent's pool."""
    pool = bench.make(workers=1)
    before = pool.execute("pid", timeout_s=10.0)["pid"]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(5)
            pool.execute("echo", {"value": "child"}, timeout_s=1.0)
        except PoolClosed:
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    refused = os.waitstatus_to_exitcode(status) == 0
    try:
        right = all(pool.execute("echo", {"value": n}, timeout_s=5.0) == n for n in range(5))
        same = pool.execute("pid", timeout_s=5.0)["pid"] == before
    except PoolError:
        right = same = False
    pool.close()
    return [
        claim("fork_refused", ("G23",), refused, f"the child's use of the pool {'raised' if refused else 'did not'}"),
        claim(
            "fork_harmless", ("G23",), right and same, f"the parent's calls were right: {right}, worker kept: {same}"
        ),
    ]


def ctrl_c_in_terminal(bench: Bench) -> list[Finding]:
    """SIGINT reaches a busy worker, as from a terminal; its call must succeed."""
    pool = bench.make(workers=1)
    pid = int(pool.execute("pid", timeout_s=10.0)["pid"])
    got: list[Any] = []

    def call() -> None:
        try:
            got.append(pool.execute("sleep", {"seconds": 0.4}, timeout_s=10.0))
        except PoolError as error:
            got.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    sent = wait_until(lambda: bench.served("sleep") > 0, 5.0)
    time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    thread.join()
    pool.close()
    well = isinstance(got[0], dict)
    return [claim("sigint_ignored", ("G24",), well if sent else None, f"the call's end was {got[0]!r:.100}")]


def interrupted_client(bench: Bench) -> list[Finding]:
    """Ctrl-C comes in the middle of a call; the calls that follow must be right."""
    pool = bench.make(workers=1)
    pool.execute("ping", timeout_s=10.0)
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    interrupted = False
    try:
        timer.start()
        pool.execute("sleep", {"seconds": 0.6}, timeout_s=10.0)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    told = "the calls after an interrupt were right"
    try:
        right = all(
            pool.execute("echo", {"value": n}, timeout_s=PATIENT_S, checkout_timeout_s=PATIENT_S) == n for n in range(5)
        )
    except PoolError as error:
        right, told = False, f"a call after an interrupt raised {error!r:.100}"
    pool.close()
    return [claim("interrupt_harmless", ("G24",), right if interrupted else None, told)]


def last_words(bench: Bench) -> list[Finding]:
    """A worker prints and exits in a call; the error must contain what it printed."""
    pool = bench.make(workers=1)
    told = ""
    try:
        pool.execute("exit", {"code": 3}, timeout_s=10.0)
    except WorkerCrashed as error:
        told = str(error)
    pool.close()
    holds = "leaving in the middle" in told
    return [claim("last_words", ("G25",), holds, f"the error of a crash {'has' if holds else 'lacks'} the last lines")]


def abandoned_lease(bench: Bench) -> list[Finding]:
    """A thread ends while it holds the only worker; the pool must reclaim it, and a warning must name its holder."""
    pool: Any = bench.make(workers=1)
    kept: list[Any] = []

    def forgetful_client() -> None:
        kept.append(pool.checkout(checkout_timeout_s=10.0))

    warnings = _Warnings()
    logging.getLogger().addHandler(warnings)
    try:
        thread = threading.Thread(target=forgetful_client)
        thread.start()
        thread.join()
        began = time.monotonic()
        try:
            pool.execute("ping", timeout_s=RECLAIM_WITHIN_S, checkout_timeout_s=RECLAIM_WITHIN_S)
            back = True
        except PoolError:
            back = False
        took_s = time.monotonic() - began
        pool.close(0.2)
    finally:
        logging.getLogger().removeHandler(warnings)
    named = any(forgetful_client.__name__ in text for text in warnings.told)
    told = f"an abandoned lease {'came back' if back else 'did not come back'} within {took_s:.2f} s"
    place = f"{len(warnings.told)} warnings {'name' if named else 'do not name'} the function that had checked it out"
    return [
        claim("lease_reclaimed", ("G26",), back if kept else None, told),
        claim("checkout_told", ("G26",), named if kept and back else None, place),
    ]


class _Warnings(logging.Handler):
    """Keeps the texts of all warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


DRILLS: tuple[LifecycleTest, ...] = (
    lifecycle_test(session_counters, ("G19",), BOTH),
    lifecycle_test(left_grandchild, ("G12", "G20"), BOTH),
    lifecycle_test(killed_parent, ("G20",), BOTH),
    lifecycle_test(close_twice, ("G22",), BOTH),
    lifecycle_test(forked_client, ("G23",), BOTH),
    lifecycle_test(ctrl_c_in_terminal, ("G24",), BOTH),
    lifecycle_test(interrupted_client, ("G24",), BOTH),
    lifecycle_test(last_words, ("G25",), BOTH),
    lifecycle_test(abandoned_lease, ("G26",), (V2,)),
)
