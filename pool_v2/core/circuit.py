"""When workers may be started: a back-off after a failure, and a circuit that opens after several failures in a row.

Pure: times are passed in as nanoseconds.

Rules
1. After the n-th failure in a row the next start waits 50 ms · 2ⁿ⁻¹, at most a second.
2. After `failures_to_open` failures in a row the circuit is open: for `reset_s` seconds no worker is started.
3. Then one start, the probe, is allowed. Its success closes the circuit, its failure opens it again.
4. An early end: a worker ends within `EARLY_S` after it became ready, before it has answered a call, and the pool has
   not ended it. It makes no difference whether the worker was idle or in its first call, nor whether it ended by an
   exit, crash or signal from outside. The first `free` early ends in a row delay nothing, each later one is a failed
   start. A row ends with a proof that workers can serve: a worker that was started after the row began, and after the
   last start that failed, has answered a call, or has lived for `EARLY_S` after it became ready. From the first early
   end that counts until the proof, the answer to an init ping is no success.
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
        self.early_ends = 0
        """How many workers have ended early in a row."""
        self.doubted_ns = 0
        """Only a worker that was started after this time proves that workers can serve."""
        self._pings_prove = True  # whether the answer to an init ping is a success: see rule 4

    @property
    def tripped(self) -> bool:
        """Whether enough starts failed in a row that only a probe may be started."""
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

    def failed(self, error: str, now_ns: int) -> None:
        """Record a failed start."""
        self.doubted_ns = now_ns
        self._fail(error, now_ns)

    def _fail(self, error: str, now_ns: int) -> None:
        self.failures += 1
        self.last_error = error
        if self.tripped:
            self.retry_at_ns = now_ns + self._reset_ns
        else:
            delay_s = min(FIRST_DELAY_S * 2 ** (self.failures - 1), LONGEST_DELAY_S)
            self.retry_at_ns = now_ns + int(delay_s * 1e9)

    def ended_early(self, error: str, now_ns: int, *, free: int) -> None:
        """Record an early end. The first `free` early ends in a row delay no start."""
        if not self.early_ends:
            self.doubted_ns = now_ns
        self.early_ends += 1
        if self.early_ends > free:
            self._pings_prove = False
            self._fail(error, now_ns)

    def answered(self) -> None:
        """Record that a worker has answered its init ping. Closes the circuit, unless workers have ended early."""
        if self._pings_prove:
            self.failures = 0
            self.retry_at_ns = 0

    def proved(self) -> None:
        """Record that a worker has proved that workers can serve: ends the row of early ends and closes the circuit."""
        self.early_ends = 0
        self._pings_prove = True
        self.answered()
