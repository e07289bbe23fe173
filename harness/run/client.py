"""A client of a run: one thread that makes the calls of its plan, in order, and records each call.

Knows nothing of verdicts. Every exception of a call is recorded; none leaves the thread. One client of a run may run in
the main thread, where a signal can interrupt or end it in the middle of its call.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import msgspec

from poolproof.bridge import Cancelled, Pool, Sent
from poolproof.bridge.clock import now_ns
from poolproof.bridge.events import CORRELATION
from poolproof.harness.history.history import Op
from poolproof.harness.model.binary import pattern
from poolproof.harness.model.face import Way, ended_before
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.op import NONCE
from poolproof.harness.model.workload import Step
from poolproof.harness.run.recording.recorder import Recorder, Running

WAIT_SLICE_S = 0.05
BLOW_SIGNAL = signal.SIGUSR2
BLOW_WAIT_S = 2.0
MOST_TOGETHER = 5
LONG_TOGETHER = 200
"""The length of a long batch: more requests than may wait in a worker's stdin, and more than one read returns."""


class Client(threading.Thread):
    """Makes the calls of `steps` on `pool`. `stop` ends the client before its next call.

    The nonce of a step consists of seed, client and number, so two runs with one seed send the same nonces. With
    `together` above 1, equal steps that follow each other and wait for nothing are sent together: at most `together` of
    them by every other client, and at most `MOST_TOGETHER` by the rest.
    """

    def __init__(
        self,
        number: int,
        steps: tuple[Step, ...],
        *,
        pool: Pool | Way,
        recorder: Recorder,
        first_index: int,
        begin_ns: int,
        seed: int,
        stop: threading.Event,
        pids: set[int] | None = None,
        together: int = 1,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.number = number
        self._pids = set() if pids is None else pids
        self._in_call = False
        self._over = False
        self._blow: type[BaseException] | None = None
        self._fell = threading.Event()
        self._landed = False
        self._hit = False
        self._steps = steps
        self._way = pool if isinstance(pool, Way) else Way(pool)
        self._batches = self._way if together > 1 else None
        self._most_together = together if number % 2 else min(together, MOST_TOGETHER)
        self._recorder = recorder
        self._first_index = first_index
        self._begin_ns = begin_ns
        self._seed = seed
        self._stop_asked = stop

    def run(self) -> None:
        """Make the calls of the plan."""
        position = 0
        while position < len(self._steps):
            step = self._steps[position]
            if self._over or not self._ready(step):
                return
            count = 1 if self._batches is None else self._together(position)
            if self._batches is not None and count > 1:
                self._call_together(self._batches, position, count)
            elif step.own_thread:
                thread = threading.Thread(target=self._call, args=(position, step), name=f"{self.name}-{position}")
                thread.start()
                thread.join()
            else:
                self._call(position, step)
            position += count

    def _together(self, position: int) -> int:
        # Returns how many steps from this one on differ only in their arguments, and wait for nothing in between. For
        # sessions every other client makes single calls, since a batch records no times that would give its calls an
        # order.
        first = self._steps[position]
        if first.fault is not None or first.own_thread or (first.session is not None and self.number % 2 == 0):
            return 1
        count = 1
        for step in self._steps[position + 1 : position + self._most_together]:
            alike = msgspec.structs.replace(step, args=first.args, verbatim=first.verbatim) == first
            if not alike or step.after or step.at_s is not None or step.pause_s:
                break
            count += 1
        return count

    def run_here(self) -> None:
        """Make the calls in the current thread, which must be the main thread, so that `strike` can interrupt them."""
        before = signal.signal(BLOW_SIGNAL, self._fall)
        try:
            self.run()
        finally:
            signal.signal(BLOW_SIGNAL, before)

    def strike(self, blow: type[BaseException]) -> bool:
        """Raise `blow` in the client that runs in the main thread; return whether it interrupted a call."""
        self._blow = blow
        self._fell.clear()
        main = threading.main_thread().ident
        if main is None or not self._in_call:
            return False
        signal.pthread_kill(main, BLOW_SIGNAL)
        return self._fell.wait(BLOW_WAIT_S) and self._hit

    def _fall(self, number: int, frame: FrameType | None) -> None:
        # This runs in the main thread, between two of its steps, so `_in_call` cannot change meanwhile.
        self._landed = self._hit = self._in_call
        self._in_call = False
        self._fell.set()
        if self._landed and self._blow is not None:
            raise self._blow

    def _ready(self, step: Step) -> bool:
        # Waits for the step's moment. Returns False if the run is stopped first.
        if step.after:
            passed = self._recorder.moment(step.after).passed
            while not passed.wait(WAIT_SLICE_S):
                if self._stop_asked.is_set():
                    return False
        wait_s = step.pause_s
        if step.at_s is not None:
            wait_s += max(0.0, step.at_s - (now_ns() - self._begin_ns) / 1e9)
        return not (self._stop_asked.wait(wait_s) if wait_s > 0 else self._stop_asked.is_set())

    def _begin(self, position: int, step: Step) -> Running:
        nonce = f"{self._seed}.{self.number}.{position}"
        args = step.args if step.verbatim else {**step.args, "nonce": nonce}
        if step.upload_bytes:
            args = {**args, "upload": pattern(step.upload_bytes, step.args.get("seed", 0))}
        invoked_ns = now_ns()
        op = Op(
            index=self._first_index + position,
            client=self.number,
            command=step.command,
            args=args,
            nonce=nonce,
            label=step.label,
            session=step.session,
            timeout_s=step.timeout_s,
            checkout_timeout_s=step.checkout_timeout_s,
            intended_ns=invoked_ns if step.at_s is None else self._begin_ns + int(step.at_s * 1e9),
            invoked_ns=invoked_ns,
        )
        return self._recorder.invoke(step, op)

    def _call_together(self, way: Way, position: int, count: int) -> None:
        # No correlation: the pool counts a call for each step, and the journals identify these calls by their nonces.
        steps = self._steps[position : position + count]
        running = [self._begin(position + place, step) for place, step in enumerate(steps)]
        sent = [_as_sent(each.begun.args) for each in running]
        self._recorder.detach()
        try:
            found = way.execute_batch(steps, [each.begun.args for each in running])
            if len(found) != count:
                found = [AssertionError(f"{count} calls in a batch had {len(found)} answers")] * count
        except BaseException as raised:
            found = [raised] * count
        for each, told in zip(running, sent, strict=True):
            self._look_at_arguments(each.begun, told)
        for each, step, value in zip(running, steps, found, strict=True):
            error = value if isinstance(value, BaseException) else None
            self._recorder.complete(each, step, value=None if error else value, error=error)

    def _look_at_arguments(self, begun: Op, sent: bytes | None) -> None:
        if sent is not None and _as_sent(begun.args) != sent:
            what = f"the pool has changed the arguments of call {begun.index} ({begun.command}), which are its caller's"
            self._recorder.mark("complaint", what)

    def _call(self, position: int, step: Step) -> None:
        running = self._begin(position, step)
        value: Any = None
        error: BaseException | None = None
        correlation = CORRELATION.set(running.begun.index + 1)
        nonce = NONCE.set(running.begun.nonce)
        sent = _as_sent(running.begun.args)
        try:
            self._in_call = threading.current_thread() is threading.main_thread()
            value = self._way.execute_step(step, running.begun.args)
            self._in_call = False
        except BaseException as raised:
            error = raised
        self._in_call = False
        CORRELATION.reset(correlation)
        NONCE.reset(nonce)
        self._look_at_arguments(running.begun, sent)
        foreign = isinstance(error, KeyboardInterrupt) and not self._landed  # the user's own Ctrl-C
        if self._landed and isinstance(error, KeyboardInterrupt | SystemExit):
            self._over, self._landed = isinstance(error, SystemExit), False
            ended = ended_before(error)
            if ended is None:
                error = Cancelled(f"{step.command!r}: the client got a {type(error).__name__}", sent=Sent.MAYBE)
            else:
                error = ended.exception()
                value = None if error is not None else ended.result()
        if step.fault is FaultKind.GRANDCHILD and isinstance(value, dict) and isinstance(value.get("pid"), int):
            self._pids.add(value["pid"])
        self._recorder.complete(running, step, value=value, error=error)
        if foreign and error is not None and threading.current_thread() is threading.main_thread():
            raise error


def _as_sent(args: dict[str, Any]) -> bytes | None:
    # Arguments as they are before a call; None for arguments that are not JSON, which no pool can send.
    try:
        return msgspec.json.encode(args)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
