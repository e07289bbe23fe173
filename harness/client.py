"""A client of a run: one thread that makes the calls of its plan, in order, and records each.

Knows nothing of faults and verdicts. Whatever a call raises is recorded; nothing leaves the thread.
"""

from __future__ import annotations

import threading
from typing import Any

from bridge import Pool
from bridge.clock import now_ns
from harness.history import Op
from harness.recorder import Recorder
from harness.workload import Step

WAIT_SLICE_S = 0.05


class Client(threading.Thread):
    """Makes the calls of `steps` on `pool`. `stop` ends it before its next call.

    The nonce of a step is its seed, client and number, so two runs with one seed send the same.
    """

    def __init__(
        self,
        number: int,
        steps: tuple[Step, ...],
        *,
        pool: Pool,
        recorder: Recorder,
        first_index: int,
        begin_ns: int,
        seed: int,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._number = number
        self._steps = steps
        self._pool = pool
        self._recorder = recorder
        self._first_index = first_index
        self._begin_ns = begin_ns
        self._seed = seed
        self._stop_asked = stop

    def run(self) -> None:
        """Make the calls."""
        for position, step in enumerate(self._steps):
            if not self._ready(step):
                return
            if step.own_thread:
                thread = threading.Thread(target=self._call, args=(position, step), name=f"{self.name}-{position}")
                thread.start()
                thread.join()
            else:
                self._call(position, step)

    def _ready(self, step: Step) -> bool:
        # Wait for the step's moment. False if the run is stopped first.
        if step.after:
            passed = self._recorder.moment(step.after).passed
            while not passed.wait(WAIT_SLICE_S):
                if self._stop_asked.is_set():
                    return False
        wait_s = step.pause_s
        if step.at_s is not None:
            wait_s += max(0.0, step.at_s - (now_ns() - self._begin_ns) / 1e9)
        return not (self._stop_asked.wait(wait_s) if wait_s > 0 else self._stop_asked.is_set())

    def _call(self, position: int, step: Step) -> None:
        nonce = f"{self._seed}.{self._number}.{position}"
        args = step.args if step.verbatim else {**step.args, "nonce": nonce}
        invoked_ns = now_ns()
        op = Op(
            index=self._first_index + position,
            client=self._number,
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
        running = self._recorder.invoke(step, op)
        value: Any = None
        error: BaseException | None = None
        try:
            value = self._pool.execute(
                step.command,
                args,
                session=step.session,
                timeout_s=step.timeout_s,
                checkout_timeout_s=step.checkout_timeout_s,
            )
        except BaseException as raised:
            error = raised
        self._recorder.complete(running, step, value=value, error=error)
