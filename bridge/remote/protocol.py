"""What a pool and the agent of a node say to each other, and how each proves that it knows the pool's token.

Pure. An agent listens at one port. Each connection begins with a preface of fixed length, which says what it is for:

- *control*, one a pool: the two prove to each other that they know the token, then exchange messages. It is also the
  lifeline: when it ends, or when one side hears nothing for too long, all workers of this pool on this node end.
- *stdin*, *stdout* and *stderr*, one each a worker: the agent hands them to the worker's process as its standard
  streams, so that all calls go straight from the client to the worker.

The proof is a challenge and response in the manner of RFC 2195: an HMAC-SHA256 over both sides' nonces. The token is
never sent. The other connections prove themselves by an HMAC with the key that both sides derive from the control
connection, over the stream and the worker's number; a worker's number is accepted once.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import IntEnum
from typing import TypeAlias

import msgspec

from poolproof.bridge.errors import ProtocolError

MAGIC = b"PPR1"
NONCE_BYTES = 32
PROOF_BYTES = 32
LENGTH = struct.Struct(">I")
MOST_MESSAGE_BYTES = 1024 * 1024
PYTHON = "{python}"
"""In a command: the interpreter that runs the agent."""


class Purpose(IntEnum):
    """What a connection is for."""

    CONTROL = 0
    STDIN = 1
    STDOUT = 2
    STDERR = 3


STREAMS = (Purpose.STDIN, Purpose.STDOUT, Purpose.STDERR)


class Preface(msgspec.Struct, frozen=True):
    """The first bytes of a connection. `pool` identifies the control connection that a worker's connection belongs to.

    `secret` is the pool's nonce on a control connection, and the proof on any other.
    """

    purpose: Purpose
    pool: bytes
    worker_id: int
    secret: bytes

    def encode(self) -> bytes:
        """Return the preface's bytes, PREFACE.size of them."""
        return PREFACE.pack(MAGIC, self.purpose, self.pool, self.worker_id, self.secret)

    @classmethod
    def decode(cls, data: bytes) -> Preface:
        """Read PREFACE.size bytes. Raises ProtocolError."""
        magic, purpose, pool, worker_id, secret = PREFACE.unpack(data)
        if magic != MAGIC or purpose > Purpose.STDERR:
            raise ProtocolError("not a connection of a pool")
        return cls(Purpose(purpose), pool, worker_id, secret)


PREFACE = struct.Struct(f">4sB16sQ{NONCE_BYTES}s")


def prove(token: bytes, side: bytes, *nonces: bytes) -> bytes:
    """Return the proof that `side` knows the token."""
    return hmac.digest(token, b"\0".join((side, *nonces)), hashlib.sha256)


def stream_proof(key: bytes, purpose: Purpose, worker_id: int) -> bytes:
    """Return the proof of a connection for one stream of one worker."""
    return prove(key, b"stream", struct.pack(">BQ", purpose, worker_id))


def same(left: bytes, right: bytes) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(left, right)


class Message(msgspec.Struct, tag=True, array_like=True):
    """A message on a control connection."""


class Hello(Message):
    """Pool to agent, first: end all my workers if you hear nothing from me for `silence_s` seconds."""

    silence_s: float


class Start(Message):
    """Pool to agent: start this worker, as soon as its three streams are there."""

    worker_id: int
    command: list[str]
    env: dict[str, str]
    memory_bytes: int | None


class Signal(Message):
    """Pool to agent: send the worker a signal, SIGKILL also to its children."""

    worker_id: int
    signum: int


class Started(Message):
    """Agent to pool: the worker runs."""

    worker_id: int
    pid: int


class Ended(Message):
    """Agent to pool: the worker has ended and is reaped, or could not be started: then `reason` says why."""

    worker_id: int
    status: int | None
    out_of_memory: bool = False
    reason: str = ""


class Beat(Message):
    """Both ways, a few times in each `silence_s`: this side lives."""


AnyMessage: TypeAlias = Hello | Start | Signal | Started | Ended | Beat
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """Return a message as a frame. Raises ProtocolError if it is too large."""
    data = _encoder.encode(message)
    if len(data) > MOST_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes; the limit is {MOST_MESSAGE_BYTES}")
    return LENGTH.pack(len(data)) + data


def decode(data: bytes) -> AnyMessage:
    """Read a message without its length. Raises ProtocolError."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"not a message: {error}") from error


def length_of(data: bytes) -> int:
    """Return the length that a frame's first bytes announce. Raises ProtocolError above the limit."""
    (length,) = LENGTH.unpack(data)
    if length > MOST_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {length} bytes; the limit is {MOST_MESSAGE_BYTES}")
    return int(length)
