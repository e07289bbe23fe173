"""One call on both pools: the request, both answers with the differences marked, times, worker, events and stderr.

Pure: operations and events in, texts out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from poolproof.bridge import Event
from poolproof.harness.model.op import Op
from poolproof.reports.evidence.marking import Marked, Piece, mark
from poolproof.reports.sections.section import Mark, Tone

MOST_EVENTS = 12
MOST_REQUEST = 600
"""A longer request is cut after this many characters."""


class CallSide(msgspec.Struct, frozen=True, kw_only=True):
    """The call in one run. `events` are (milliseconds since the call's intended begin, event); `stderr` its last lines.

    `unseen` says why there are no events: the run had no observer, for example.
    """

    made_in: str
    ended: Mark
    answer: Marked
    times: tuple[tuple[str, str], ...]
    worker: str
    events: tuple[tuple[str, str], ...] = ()
    unseen: str = ""
    stderr: tuple[str, ...] = ()
    replay: str = ""
    folder: str = ""


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One call, in the run that shows a failure and in the run of the other pool that made the same call, if any.

    `key` is the anchor in the page, `why` says why the call is shown, such as "named by own_answer".
    """

    key: str
    index: int
    title: str
    why: str
    request: str
    sides: tuple[CallSide, ...]


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one run about one call."""

    made_in: str
    op: Op
    events: Sequence[Event] = ()
    observed: bool = True
    stderr: tuple[str, ...] = ()
    replay: str = ""
    folder: str = ""


def build_call(key: str, why: str, recorded: Sequence[Recorded]) -> CallView:
    """The view of a call from its records in one run, or in two runs that made the same call."""
    op = recorded[0].op
    texts = [_answer(one.op) for one in recorded]
    marked: Sequence[Marked] = mark(*texts) if len(texts) == 2 else [(Piece(text),) for text in texts]
    told = f"call {op.index}: {op.command}" + (f" in session {op.session}" if op.session else "")
    return CallView(
        key=key,
        index=op.index,
        title=told + (f" ({op.label})" if op.label else ""),
        why=why,
        request=_cut(_json(op.args)),
        sides=tuple(_side(one, answer) for one, answer in zip(recorded, marked, strict=True)),
    )


def _side(one: Recorded, answer: Marked) -> CallSide:
    op = one.op
    events = tuple(
        (f"{(event.at_ns - op.intended_ns) / 1e6:.2f}", _event(event))
        for event in sorted(one.events, key=lambda event: event.at_ns)
    )
    more = len(events) - MOST_EVENTS
    return CallSide(
        made_in=one.made_in,
        ended=Mark(op.outcome, Tone.GOOD if op.outcome == "result" else Tone.DOUBT),
        answer=answer,
        times=_times(op),
        worker="–" if op.worker is None else f"worker {op.worker}" + (f", pid {op.pid}" if op.pid else ""),
        events=events[:MOST_EVENTS] + ((("…", f"{more} more events"),) if more > 0 else ()),
        unseen="" if events else "the pool reported no event of this call" if one.observed else "not observed",
        stderr=one.stderr,
        replay=one.replay,
        folder=one.folder,
    )


def _times(op: Op) -> tuple[tuple[str, str], ...]:
    found = [("limit", "none" if op.timeout_s is None else f"{op.timeout_s:g} s")]
    for name, start, end in (
        ("began late by", op.intended_ns, op.invoked_ns),
        ("waited for a worker", op.invoked_ns, op.checked_out_ns),
        ("served in", op.sent_ns, op.received_ns),
        ("whole time", op.intended_ns, op.completed_ns),
    ):
        if start is not None and end is not None:
            found.append((name, _duration((end - start) / 1e9)))
    return tuple(found)


def _duration(seconds: float) -> str:
    if abs(seconds) < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def _event(event: Event) -> str:
    worker = "" if event.worker is None else f" worker {event.worker}"
    return f"{event.kind.value}{worker}" + (f": {event.detail}" if event.detail else "")


def _answer(op: Op) -> str:
    return _json(op.value) if op.outcome == "result" else op.error or op.outcome


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, UnicodeEncodeError):  # a value that an own pool answered, such as a class
        return repr(value)


def _cut(text: str) -> str:
    left = len(text) - MOST_REQUEST
    return f"{text[:MOST_REQUEST]} [{left} more characters]" if left > 0 else text
