"""The meaning of the terms and numbers in reports: guarantees G1 to G28 and failures F1 to F22.

Pure data, one sentence each. docs/glossary.md has the same sentences; a report shows the terms, and those numbers that
it mentions.
"""

from __future__ import annotations

TERMS = {
    "baseline": "the pool that is to be replaced; the candidate is compared with it",
    "candidate": "the new pool, which is to replace the baseline",
    "scenario": "a workload with its faults, and the checkers that judge it",
    "run": "one execution of a scenario on one pool, with one random seed",
    "as shipped": "a run without an observer on the pool, as in an ordinary application",
    "observed": "a run in which the pool reports every step of its calls and workers to an observer",
    "face": "a way to call a pool, such as execute, a lease, asyncio or an executor",
    "checker": "a rule that reads the records of a run and passes, fails or says that it cannot decide (unknown)",
    "finding": "the verdict of one checker on one run, with figures and examples",
    "declared": "expected beforehand by the scenario, with a reason; only failures of the baseline can be declared",
    "worker": "a process that serves calls, one at a time",
    "lease": "the time for which one client has a worker for itself",
    "session": "calls that share a state, which one worker holds",
    "journal": "the record that a worker itself writes of the requests that it served",
    "answers compared": "the same seed gives both pools the same calls, so their answers are compared one by one",
}
"""The terms that a report uses, with their meanings."""

GUARANTEES = {
    "G1": "No cross-talk: every response belongs to the request of the call that gets it.",
    "G2": "Exclusive lease: no worker is leased to two clients at the same time.",
    "G3": "Exactly one outcome: every call ends once, with a result or with one error.",
    "G4": "At most once: a request is sent at most once, unless the call is marked as idempotent.",
    "G5": "No dirty worker: a worker whose last response was not read completely never serves again.",
    "G6": "Work conservation: no worker stays idle while a call that it could serve waits.",
    "G7": "First in, first out: waiting calls get workers in the order in which they arrived.",
    "G8": "Nothing lost: every living worker is idle, leased, starting or dying, and lost workers are replaced.",
    "G9": "Atomic hand-off: every offer of a worker to a waiting call is either accepted or withdrawn, exactly once.",
    "G10": "Independence: a stuck, stopped or crashing worker does not delay calls on other workers.",
    "G11": "Deadline: every call returns by its deadline, which covers the wait, the write and the read.",
    "G12": "A timeout kills: the worker of a call that timed out is killed and replaced.",
    "G13": "Bounded start: a worker that does not start in time is given up, and repeated failures open a circuit.",
    "G14": "Bounds: the numbers of workers and of waiting calls never exceed their limits.",
    "G15": "Restraint: a short burst of calls does not start more workers than it needs.",
    "G16": "Recycling: a worker is replaced after its limit of calls, age or memory, and only between leases.",
    "G17": "Affinity: every call of a session sees the session's state, or fails with SessionLost.",
    "G18": "Handover: after a session has moved to another worker, no acknowledged change is missing.",
    "G19": "Session counters: the pool counts the calls of each session correctly, whichever threads make them.",
    "G20": "No orphans: no worker outlives its pool, even if the process that owns the pool is killed.",
    "G21": "No leaks: opening and closing pools leaves no process, file descriptor or thread behind.",
    "G22": "Close: closing ends in bounded time, refuses waiting calls at once and lets running calls finish.",
    "G23": "Fork: a forked child cannot use its parent's pool, and does not disturb the pool.",
    "G24": "Signals: Ctrl-C at any point of a call breaks none of the guarantees G1 to G9.",
    "G25": "Stream integrity: whatever a worker prints or sends neither corrupts another answer nor blocks a call.",
    "G26": "Leak reclaim: the worker of an abandoned lease returns to the pool, and a warning names the holder.",
    "G27": "Statistics: submitted calls equal ended calls plus calls in flight, and agree with what callers saw.",
    "G28": "Power: for each of these guarantees, the harness finds a bug that is planted to break it.",
}
"""What a pool guarantees, by number. G28 is about the harness itself."""

FAILURES = {
    "F1": "The manager waits for one call's I/O, so all other calls wait too.",
    "F2": "A 5 s timeout around a longer operation ends the caller's wait, but not the operation.",
    "F3": "Workers that take seconds to start are started one after another.",
    "F4": "Stray messages restart the timer of a worker's start, so that it never runs out.",
    "F5": "Two clients write to the same worker.",
    "F6": "Text that a worker prints gets into its stream of responses.",
    "F7": "A result is unwrapped twice, or a result that is not an object is rejected.",
    "F8": "Request numbers repeat, so an old response is taken for a new one.",
    "F9": "A worker is kept after a timeout, and its late answer goes to the next call.",
    "F10": "The timeout of an operation is reported as the timeout of the wait for a worker.",
    "F11": "A hook returns a value that the pool cannot handle.",
    "F12": "A worker ends together with the client that used it last.",
    "F13": "A client gives up at the moment at which it is handed a worker, and the worker is lost.",
    "F14": "A session's state is in one worker's memory, so another worker does not find it.",
    "F15": "The table of sessions belongs to a client, and is lost when that client ends.",
    "F16": "Tracking a session resets its counters, or loses counts under concurrent calls.",
    "F17": "Unknown or unsupported options are ignored silently.",
    "F18": "The health check always says 'healthy', and statistics are discarded.",
    "F19": "Workers ignore the shutdown or the end of their input, and keep running.",
    "F20": "A malformed request or response is dropped silently.",
    "F21": "A pool uses a fixed name that another pool has already.",
    "F22": "Clean-up ends workers too early, and their errors spread to other calls.",
}
"""Failures that an earlier design of such pools had, by number; each is shown by a scenario."""

MEANINGS = {**FAILURES, **GUARANTEES}
"""Both kinds of numbers with their sentences: failures first, as in a scenario's list."""
