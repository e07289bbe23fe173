"""A block of memory that a client and its worker share, for buffers that are too large for a pipe.

The client creates it (memfd), and the worker opens it through /proc. It has no name, so it is gone with the last of the
two processes, however they end. Exactly one side uses it at each moment: the client until it has sent the request, the
worker until it has sent the response, then the client until it has copied the result. The file's size is the truth: a
side whose mapping has another size maps it again.

Fresh memory costs more than the copy: the kernel clears each page at its first use. So a worker, which takes many parts
one after another, copies a large memoryview into memory that it has used before, if nothing refers to that any more.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.buffers import ALIGNMENT, AS_TYPE, Buffer, Part

SMALLEST_REUSED_BYTES = 1_000_000
_OPEN: weakref.WeakSet[Segment] = weakref.WeakSet()


class Segment:
    """One shared block, empty at first. `most_kept_bytes` is the most that it keeps between calls.

    With `reuses`, it also keeps the same amount of memory for copies of the parts that it takes out.
    """

    def __init__(self, fd: int, *, most_kept_bytes: int = 0, reuses: bool = False) -> None:
        self.fd = fd
        self.most_kept_bytes = most_kept_bytes
        self._reuses = reuses
        self._used = bytearray()
        self._unshared = sys.getrefcount(self._used)
        """The reference count of `_used` as long as nothing but this segment refers to it."""
        self._map: mmap.mmap | None = None
        self.size = 0
        """The bytes that this side has mapped."""
        _OPEN.add(self)

    @classmethod
    def create(cls, *, most_kept_bytes: int) -> Segment:
        """Make a new block. Raises OSError."""
        return cls(os.memfd_create("poolproof", os.MFD_CLOEXEC), most_kept_bytes=most_kept_bytes)

    @classmethod
    def open(cls, pid: int, fd: int, *, most_kept_bytes: int = 0, reuses: bool = False) -> Segment:
        """Open the block that process `pid` has open as `fd`. Raises OSError."""
        opened = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        return cls(opened, most_kept_bytes=most_kept_bytes, reuses=reuses)

    def put(self, parts: Sequence[Part]) -> None:
        """Copy these parts into the block, one after another; it grows as needed. Raises OSError without memory."""
        needed = sum(_aligned(len(part)) for part in parts)
        if os.fstat(self.fd).st_size < needed:
            os.posix_fallocate(self.fd, 0, needed)  # otherwise a write without memory would be a SIGBUS
        view = memoryview(self._mapped())
        at = 0
        for part in parts:
            view[at : at + len(part)] = part
            at += _aligned(len(part))

    def take(self, buffers: Sequence[Buffer]) -> list[Any]:
        """Copy the parts out that the other side has put in. Raises ProtocolError if they are not there."""
        block = self._mapped()
        found, at = [], 0
        with memoryview(block) as view:
            for buffer in buffers:
                if not 0 <= buffer.size <= len(view) - at:
                    raise ProtocolError(f"a buffer of {buffer.size} bytes at {at} of a shared block of {len(view)}")
                with view[at : at + buffer.size] as part:
                    found.append(self._copied(part) if buffer.type == "memoryview" else AS_TYPE[buffer.type](part))
                at += _aligned(buffer.size)
        return found

    def _copied(self, part: memoryview) -> memoryview:
        if not self._reuses or not SMALLEST_REUSED_BYTES <= len(part) <= self.most_kept_bytes:
            return memoryview(bytearray(part))
        # Every view of the memory, and whatever uses a view, refers to the bytearray.
        if len(self._used) < len(part) or sys.getrefcount(self._used) > self._unshared:
            self._used = bytearray(part)
            return memoryview(self._used)
        view = memoryview(self._used)[: len(part)]
        view[:] = part
        return view

    def shrink(self) -> None:
        """Free the block if it is larger than what it may keep."""
        if self.size > self.most_kept_bytes:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, 0)
            self._unmap()

    def close(self) -> None:
        """Close this side's descriptor and mapping. Idempotent."""
        self._unmap()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        _OPEN.discard(self)

    def _mapped(self) -> mmap.mmap | bytearray:
        size = os.fstat(self.fd).st_size
        if self._map is None or size != self.size:
            self._unmap()
            if not size:
                return bytearray()
            self._map = mmap.mmap(self.fd, size)
            self.size = size
        return self._map

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        self.size = 0


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _close_in_child() -> None:
    for segment in list(_OPEN):
        segment.close()


os.register_at_fork(after_in_child=_close_in_child)
