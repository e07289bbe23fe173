"""The memory that a client and a worker share: what one side puts in the other takes out, and nothing is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.buffers import Buffer
from poolproof.bridge.wire.segment import Segment

KEPT = 1 << 20


def blocks_open() -> set[str]:
    """The descriptors of this process that are such blocks."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if "memfd:poolproof" in os.readlink(f"/proc/self/fd/{name}"):
                found.add(name)
    return found


@pytest.fixture
def sides() -> Iterator[tuple[Segment, Segment]]:
    """Both sides of a block, in one process."""
    before = blocks_open()
    one = Segment.create(most_kept_bytes=KEPT)
    other = Segment.open(os.getpid(), one.fd)
    yield one, other
    for side in (one, other):
        side.close()
        side.close()
    assert blocks_open() <= before


def described(*parts: Any) -> list[Buffer]:
    return [Buffer([], cast(Any, type(part).__name__), len(part)) for part in parts]


def test_what_one_side_puts_in_the_other_takes_out(sides: tuple[Segment, Segment]) -> None:
    one, other = sides
    for size in (0, 1, 5_000, 3_000_000, 70_000):
        parts: list[bytes | bytearray | memoryview] = [
            b"a" * size,
            bytearray(b"b" * (size + 3)),
            memoryview(b"c" * 7),
            b"",
        ]
        for giver, taker in ((one, other), (other, one)):
            giver.put(parts)
            found = taker.take(described(*parts))
            assert found == parts
            assert [type(part) for part in found] == [bytes, bytearray, memoryview, bytes]
            found[2][0] = 1  # a copy of its own
            assert taker.take(described(*parts)) == parts


def test_it_keeps_no_more_than_it_may(sides: tuple[Segment, Segment]) -> None:
    one, other = sides
    one.put([b"x" * KEPT])
    one.shrink()
    assert one.size == KEPT
    one.put([b"x" * (KEPT + 1)])
    assert other.take(described(b"x" * KEPT)) == [b"x" * KEPT]
    one.shrink()
    assert one.size == os.fstat(one.fd).st_size == 0
    with pytest.raises(ProtocolError, match=r"a buffer of 1 bytes at 0 of a shared block of 0"):
        other.take(described(b"x"))
    other.put([b"again"])
    assert one.take(described(b"again")) == [b"again"]


def test_a_side_that_reuses_memory_leaves_what_is_still_referred_to(sides: tuple[Segment, Segment]) -> None:
    one, _ = sides
    other = Segment.open(os.getpid(), one.fd, most_kept_bytes=4 * KEPT, reuses=True)

    def taken(letter: bytes, size: int = 2 * KEPT) -> memoryview:
        part = memoryview(letter * size)
        one.put([part])
        (found,) = other.take(described(part))
        assert found == part
        assert not found.readonly
        return found

    first = taken(b"a")
    part = first[5:9]
    del first
    second = taken(b"b")
    assert bytes(part) == b"aaaa", "a part of it is still referred to"
    address = id(second.obj)
    del second
    third = taken(b"c", 2 * KEPT - 7)
    assert id(third.obj) == address, "nothing referred to it"
    fourth = taken(b"d", 5 * KEPT)
    assert (bytes(third[:2]), bytes(part)) == (b"cc", b"aaaa")
    del third
    assert taken(b"e").obj is not fourth.obj
    other.close()


@pytest.mark.parametrize("size", [-1, KEPT + 1, 1 << 62])
def test_a_buffer_beyond_the_block_breaks_the_protocol(sides: tuple[Segment, Segment], size: int) -> None:
    one, other = sides
    one.put([b"x" * KEPT])
    with pytest.raises(ProtocolError, match="of a shared block of"):
        other.take([Buffer([], "bytes", size)])


def test_without_memory_a_put_is_an_error_and_no_signal(
    sides: tuple[Segment, Segment], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        sides[0].put([b"x"])


def test_a_forked_child_keeps_none_of_it(sides: tuple[Segment, Segment]) -> None:
    sides[0].put([b"x"])
    pid = os.fork()
    if not pid:
        os._exit(len(blocks_open()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sides[1].take(described(b"x")) == [b"x"]


def test_what_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        Segment.open(os.getpid(), 10**6)
