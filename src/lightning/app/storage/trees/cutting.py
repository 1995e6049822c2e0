"""How a file becomes chunks: cut where its content says so, and named by their digests.

A cut depends only on the bytes around it. What was inserted or changed in a big file changes the chunks it lies
in, and no other: the next version has nearly all of its chunks in common with this one. Holes, and chunks of
nothing but zeros, are not stored at all.

The cutter is FastCDC (pyfastcdc): several GB/s, faster than the digest that follows. Which cuts it makes matters
for what two versions have in common, never for reading one back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

from lightning.app.storage.stores.store import DIGEST

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

AVERAGE = 1 << 15
"""Of a chunk. With it a change of 1 % of a file in forty places sends less than 3 % of it (figures: ARCHITECTURE.md)."""

LARGEST = 4 * AVERAGE

_SMALLEST = AVERAGE // 4
_BUFFER = 1 << 23
_ZEROS = bytes(LARGEST)


def cutter(average: int = AVERAGE) -> FastCDC:
    """Not to be used by two threads at once."""
    from pyfastcdc import FastCDC  # only those who store something pay for it

    return FastCDC(average)


def digest(chunk: bytes | memoryview) -> bytes:
    return blake2b(chunk, digest_size=DIGEST).digest()


class Reader:
    """Reads open files as chunks. One buffer for all of them: a chunk is good until the next one is asked for."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER))
        self._cutter = cutter()

    def chunks(self, descriptor: int, size: int, blocks: int) -> Iterator[memoryview | int]:
        """The chunks of a file in order; a number is that many bytes of nothing.

        ``blocks`` is what the file occupies: only one that occupies less than its size is searched for holes.
        """
        if blocks * 512 >= size:
            yield from self._extent(descriptor, 0, size)
            return
        at = 0
        while at < size:
            try:
                begin = min(size, os.lseek(descriptor, at, os.SEEK_DATA))
            except OSError as err:
                if err.errno != errno.ENXIO:  # this disk knows of no holes
                    yield from self._extent(descriptor, at, size)
                    return
                begin = size
            if begin > at:
                yield begin - at
            at = min(size, os.lseek(descriptor, begin, os.SEEK_HOLE)) if begin < size else size
            yield from self._extent(descriptor, begin, at)

    def _extent(self, descriptor: int, start: int, end: int) -> Iterator[memoryview | int]:
        buffer, filled = self._buffer, 0
        while start < end or filled:
            if start < end:
                room = buffer[filled : min(_BUFFER, filled + end - start)]
                count = os.preadv(descriptor, [room], start)
                if not count:  # it became shorter; whoever reads it finds out
                    end = start
                start += count
                filled += count
            used = 0
            for begin, length in self._cuts(buffer[:filled]):
                if begin + length == filled and start < end and length < LARGEST:
                    break  # what comes next may belong to it
                chunk = buffer[begin : begin + length]
                yield length if _nothing(chunk) else chunk
                used = begin + length
            buffer[: filled - used] = buffer[used:filled]
            filled -= used

    def _cuts(self, view: memoryview) -> Iterator[tuple[int, int]]:
        if len(view) <= _SMALLEST:
            if len(view):
                yield 0, len(view)
            return
        for chunk in self._cutter.cut_buf(view):
            yield chunk.offset, chunk.length


def _nothing(chunk: memoryview) -> bool:
    return not chunk[0] and not chunk[-1] and bytes(chunk) == _ZEROS[: len(chunk)]
