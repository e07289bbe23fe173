"""The messages of the driver protocol: one JSON object a line, in both directions.

Pure. The harness sends requests `{"id", "type", ...}`. The driver answers each of them once, in any order, with
`{"reply_to", "ok": {...}}` or `{"reply_to", "error": {"name", "text", "sent"}}`, and may report events between them:
`{"event", "worker", "pid", "call", "at_ns", "detail"}`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from poolproof.bridge import (
    CallTimeout,
    Cancelled,
    Capability,
    CheckoutTimeout,
    CircuitOpen,
    CommandError,
    ConfigError,
    Event,
    EventKind,
    HookError,
    InvalidRequest,
    PoolClosed,
    PoolError,
    QueueFull,
    Sent,
    SessionLost,
    StartFailed,
    WorkerCrashed,
)
from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.messages import decode_response

PROTOCOL = 1
TYPES = ("hello", "open", "call", "end_session", "status", "warm_up", "restart", "close")
JOURNAL = "journal"
STATISTICS = "statistics"
"""Words for evidence that a driver may list as capabilities: its workers keep journals; `status` has its own counts."""
OF_POOLS = (Capability.SESSIONS, Capability.KILL, Capability.EVENTS, Capability.WARM_UP, Capability.RESTART)
CAPABILITIES = frozenset({JOURNAL, STATISTICS, *(word.value for word in OF_POOLS)})
"""The words that a driver may list as its capabilities."""
STANDARD_OPTIONS = frozenset(
    {
        "name",
        "workers",
        "worker_command",
        "env",
        "log_dir",
        "start_timeout_s",
        "close_grace_s",
        "max_frame_bytes",
        "call_timeout_s",
        "checkout_timeout_s",
    }
)
"""The options of PoolConfig that every `open` has, and that every driver takes."""
DRIVER_EVENTS = frozenset(set(EventKind) - {EventKind.ENQUEUE, EventKind.DONE, EventKind.CLOSE})
"""The kinds of events that a driver reports; the harness reports the others itself."""
MOST_SHOWN = 120

ERRORS: dict[str, type[PoolError]] = {
    kind.__name__: kind
    for kind in (
        CommandError,
        CheckoutTimeout,
        CallTimeout,
        WorkerCrashed,
        Cancelled,
        QueueFull,
        PoolClosed,
        CircuitOpen,
        SessionLost,
        InvalidRequest,
        HookError,
        StartFailed,
        ConfigError,
    )
}
"""The errors that a driver may answer, by name."""
USUAL_SENT = {"CommandError": Sent.YES, "CallTimeout": Sent.MAYBE, "WorkerCrashed": Sent.MAYBE, "Cancelled": Sent.MAYBE}
"""Whether an error's request was sent to a worker, if the driver does not say; `no` for errors not listed."""


class DriverError(PoolError):
    """The driver broke the driver protocol, died, or did not answer; the message names the driver and what it did."""


class BrokenRule(Exception):
    """A line that the driver wrote does not follow the protocol."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the driver reports it."""

    name: str
    text: str
    sent: Sent | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the request `reply_to`."""

    reply_to: int
    ok: dict[str, Any] | UnsetType = UNSET
    error: Told | UnsetType = UNSET


class ReportedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the pool. Without `at_ns` (CLOCK_MONOTONIC in nanoseconds), the moment of its arrival counts."""

    event: str
    worker: int | None = None
    pid: int | None = None
    call: int | None = None
    at_ns: int | None = None
    detail: str = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The driver's description of itself: its answer to `hello`.

    `commands` are the commands of its workers; None if the pool starts workers by `worker_command`. `options` are the
    names of further options of PoolConfig that the pool takes. `request_ids`: the request ids on the wire to the
    workers, and in their journals, are the ids of the `call` messages. `values_as_text`: arguments and results travel
    as texts of JSON, for languages that would change them, as JavaScript rounds large whole numbers.
    """

    protocol: int
    name: str
    summary: str = "a pool behind a driver"
    capabilities: tuple[str, ...] = ()
    commands: tuple[str, ...] | None
    options: tuple[str, ...] = ()
    call_timeout_s: float = 30.0
    checkout_timeout_s: float | None = None
    request_ids: bool = False
    values_as_text: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


def encode(request_id: int, kind: str, fields: dict[str, Any]) -> bytes:
    """Encode a request to the driver as one line. Raises InvalidRequest if a field is not JSON."""
    try:
        return _encoder.encode({"id": request_id, "type": kind, **fields}) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(f"the request {kind!r} is not JSON: {error}") from error


def decode(line: bytes) -> Reply | ReportedEvent:
    """Decode a line of the driver. Raises BrokenRule that says what is wrong."""
    try:
        message = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenRule(f"wrote a line to stdout that is no message: {show(line)} ({error})") from error
    kind: type[Reply] | type[ReportedEvent] = ReportedEvent if "event" in message else Reply
    try:
        told = msgspec.convert(message, type=kind)
    except msgspec.ValidationError as error:
        raise BrokenRule(f"wrote a wrong message: {error}; the line is {show(line)}") from error
    if isinstance(told, ReportedEvent):
        if told.event not in DRIVER_EVENTS:
            names = ", ".join(sorted(DRIVER_EVENTS))
            raise BrokenRule(f"reported an unknown event {told.event!r}; there are {names}")
    elif (told.ok is UNSET) == (told.error is UNSET):
        raise BrokenRule(
            f"wrote a reply with {'both' if told.ok is not UNSET else 'neither'} ok and error: {show(line)}"
        )
    return told


def as_text(args: dict[str, Any]) -> str:
    """Return the arguments of a call as a text of JSON."""
    return _encoder.encode(args).decode()


def result_of(answer: dict[str, Any], *, text: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Return the result in the answer to a call. `text`: the driver sends values as texts of JSON.

    Such a driver may answer with the worker's whole `response` instead. Raises BrokenRule, and CommandError if the
    response is a failure.
    """
    told = answer.get("response", answer.get("result", UNSET)) if text else answer.get("result", UNSET)
    if told is UNSET:
        raise BrokenRule("answered a call without a result")
    if not text:
        return told
    if not isinstance(told, str):
        raise BrokenRule(f"answered a call with {told!r:.{MOST_SHOWN}}, which is not a text of JSON")
    try:
        if "response" not in answer:
            return msgspec.json.decode(told)
        response = decode_response(told.encode())
    except (msgspec.DecodeError, ProtocolError) as error:
        raise BrokenRule(f"answered a call with a text that is wrong: {error}") from error
    if not response.success:
        raise CommandError(str(response.error))
    return response.result


def read_hello(answer: dict[str, Any]) -> Hello:
    """Read the answer to `hello`. Raises BrokenRule that says what is wrong."""
    try:
        hello = msgspec.convert(answer, type=Hello)
    except msgspec.ValidationError as error:
        raise BrokenRule(f"answered hello with a wrong answer: {error}") from error
    if hello.protocol != PROTOCOL:
        raise BrokenRule(f"speaks the protocol {hello.protocol}; poolproof speaks {PROTOCOL}")
    for word in hello.capabilities:
        if word not in CAPABILITIES:
            raise BrokenRule(f"claims an unknown capability {word!r}; there are {', '.join(sorted(CAPABILITIES))}")
    return hello


def as_error(told: Told) -> PoolError:
    """Return the pool error that the driver reports. Raises BrokenRule if its name is no pool error."""
    kind = ERRORS.get(told.name)
    if kind is None:
        raise BrokenRule(f"answered with an unknown error {told.name!r}; there are {', '.join(ERRORS)}")
    if kind is CommandError:
        return CommandError(told.text)
    return kind(told.text, sent=told.sent or USUAL_SENT.get(told.name, Sent.NO))


def as_event(told: ReportedEvent, arrived_ns: int) -> Event:
    """Return the pool's event that the driver reports."""
    at_ns = arrived_ns if told.at_ns is None else told.at_ns
    return Event(EventKind(told.event), at_ns, told.call, told.worker, told.pid, told.detail)


def show(line: bytes) -> str:
    """Return the beginning of a line, to be part of an error."""
    text = line.decode(errors="replace")
    return repr(text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…")
