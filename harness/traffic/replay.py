"""Replays recorded calls on one pool, at the recorded times (open loop): a slow pool delays no other call.

The calls of a session run one after another, in their order, each not before its time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from poolproof.bridge import Pool, PoolError, Sent
from poolproof.bridge.recording import Call
from poolproof.harness.traffic.outcome import Answer

THREADS = 256
"""How many calls may run at the same time. Any further calls wait, and so are late."""
SPIN_S = 0.0005
"""The last part of the wait for a call's time, in which the thread does not sleep."""


def replay(pool: Pool, calls: Sequence[Call], *, speed: float = 1.0) -> list[Answer]:
    """Replay the calls, which are in the order of their begin. `speed` above 1 is faster. Returns one answer for each
    call.
    """
    found: list[Answer | None] = [None] * len(calls)
    waiting: dict[str, deque[int]] = {}
    lock = threading.Lock()
    first_ns = calls[0].at_ns if calls else 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="replay") as threads:
        begun_s = time.monotonic() + 0.05

        def due_s(number: int) -> float:
            return begun_s + (calls[number].at_ns - first_ns) / 1e9 / speed

        def run(number: int, ready_s: float) -> None:
            found[number] = _carry_out(pool, calls[number], max(ready_s, due_s(number)))

        def run_session(session: str) -> None:
            ready_s = 0.0
            while True:
                with lock:
                    queue = waiting[session]
                    if not queue:
                        del waiting[session]
                        return
                    number = queue.popleft()
                run(number, ready_s)
                ready_s = time.monotonic()

        for number, call in enumerate(calls):
            _wait_until(due_s(number))
            if call.session is None:
                threads.submit(run, number, 0.0)
                continue
            with lock:
                queue = waiting.get(call.session)
                if queue is not None:
                    queue.append(number)
                    continue
                waiting[call.session] = deque([number])
            threads.submit(run_session, call.session)
    return [one for one in found if one is not None]


def _carry_out(pool: Pool, call: Call, due_s: float) -> Answer:
    start_s = time.monotonic()
    value, error, outcome, sent = None, "", "result", "yes"
    try:
        value = pool.execute(call.command, call.args, session=call.session)
    except Exception as raised:
        outcome, error = type(raised).__name__, str(raised)
        sent = raised.sent.value if isinstance(raised, PoolError) else Sent.MAYBE.value
    return Answer(outcome, value, error, sent, start_s - due_s, time.monotonic() - start_s)


def _wait_until(due_s: float) -> None:
    while (rest_s := due_s - time.monotonic()) > SPIN_S:
        time.sleep(rest_s - SPIN_S)
    while time.monotonic() < due_s:
        pass
