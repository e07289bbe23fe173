"""When workers may be started: a back-off after a failure, and a circuit that opens after several failures in a row.

Pure: times are passed in as nanoseconds.

Rules
1. After the n-th failure in a row the next start waits 50 ms · 2ⁿ⁻¹, at most a second.
2. After `failures_to_open` failures in a row the circuit is open: for `reset_s` seconds no worker is started.
3. Then one start, the probe, is allowed. Its success closes the circuit, its failure opens it again.
4. A worker that ends by itself within `EARLY_S` after its start, before it has served a call, makes its start a failure
   after all. From then on a start is a success only when its worker has served a call, or has lived for `EARLY_S`.
   A worker that was started before the last failure proves nothing.
"""

from __future__ import annotations

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 1.0
EARLY_S = 1.0


class Circuit:
    """Counts failed starts in a row."""

    def __init__(self, *, failures_to_open: int, reset_s: float) -> None:
        self._failures_to_open = failures_to_open
        self._reset_ns = int(reset_s * 1e9)
        self.failures = 0
        """How many starts have failed in a row."""
        self.retry_at_ns = 0
        self.last_error = ""
        self.failed_ns = 0
        """When a start has failed last."""
        self.doubtful = False
        """Whether the answer to an init ping proves nothing: see rule 4."""

    @property
    def tripped(self) -> bool:
        """Whether so many starts failed in a row that only a probe may be started."""
        return self.failures >= self._failures_to_open

    def refuses(self, now_ns: int) -> bool:
        """Return whether the circuit is open at `now_ns`: not even a probe may be started."""
        return self.tripped and now_ns < self.retry_at_ns

    def trouble(self) -> str:
        """Return, as the end of an error's message, how many starts have failed in a row and why the last one did.

        Empty if the last start has not failed.
        """
        if not self.failures:
            return ""
        count = "the last start of a worker" if self.failures == 1 else f"the last {self.failures} starts of workers"
        return f"; {count} failed; the last error: {self.last_error}"

    def allowed_starts(self, wanted: int, starting: int, now_ns: int) -> int:
        """Return how many of `wanted` starts may begin now, while `starting` other starts are in progress."""
        if now_ns < self.retry_at_ns:
            return 0
        if self.tripped:
            return min(wanted, 1) if starting == 0 else 0
        return wanted

    def failed(self, error: str, now_ns: int, *, early: bool = False) -> None:
        """Record a failed start. `early`: the worker had answered its init ping, and ended soon afterwards."""
        self.failures += 1
        self.failed_ns = now_ns
        self.doubtful = self.doubtful or early
        self.last_error = error
        if self.tripped:
            self.retry_at_ns = now_ns + self._reset_ns
        else:
            delay_s = min(FIRST_DELAY_S * 2 ** (self.failures - 1), LONGEST_DELAY_S)
            self.retry_at_ns = now_ns + int(delay_s * 1e9)

    def succeeded(self, *, proven: bool = False) -> None:
        """Record a successful start: closes the circuit, if the success is `proven` or an answer proves it."""
        if proven or not self.doubtful:
            self.failures = 0
            self.retry_at_ns = 0
            self.doubtful = False
