"""Waits for one descriptor until an absolute deadline, by a poll that also reports the end of the worker."""

from __future__ import annotations

import select

from poolproof.bridge.clock import now_ns

LONGEST_POLL_MS = 1e9


def ready(poll: select.poll, fd: int, deadline_ns: int) -> bool:
    """Wait until `fd` has an event. Returns False at the deadline, or if the worker ended without an event on `fd`."""
    while True:
        wait_ms = min((deadline_ns - now_ns()) / 1e6, LONGEST_POLL_MS)
        events = poll.poll(max(wait_ms, 0))
        if not events and wait_ms > 0:
            continue
        if any(ready == fd for ready, _ in events):
            return True
        # At the deadline, or if the worker is dead: bytes that it wrote between the two polls still count.
        return any(ready == fd for ready, _ in poll.poll(0))
