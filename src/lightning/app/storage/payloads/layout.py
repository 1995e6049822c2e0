"""How a payload lies in its file: a header, the head, and the buffers, each where memory likes it.

The header says how long all of it is, so that what was cut short is known before any of it is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from struct import Struct, error
from typing import NamedTuple
from zlib import crc32

from lightning.app.errors import StorageError
from lightning.app.storage.payloads.pickling import Parts
from lightning.app.storage.stores.store import Trouble

FORMAT = 1

_MAGIC = b"LPAY"
_HEADER = Struct("<4sIQQI")  # magic, format, buffers, bytes of the head, checksum of this and the table
_LENGTH = Struct("<Q")
_OWN = 1 << 63  # in the table: whoever maps it may write to his copy
_ALIGNED = 64


class Opened(NamedTuple):
    head: memoryview
    buffers: list[memoryview]


def size_of(parts: Parts) -> int:
    """The bytes of a file of these."""
    at = _HEADER.size + _LENGTH.size * len(parts.buffers) + sum(piece.nbytes for piece in parts.head)
    for buffer in parts.buffers:
        at = _aligned(at) + buffer.size
    return at


def laid_out(parts: Parts) -> Iterator[memoryview]:
    """What a file of these consists of, from beginning to end."""
    head = sum(piece.nbytes for piece in parts.head)
    table = b"".join(_LENGTH.pack(each.size | (_OWN if each.own else 0)) for each in parts.buffers)
    sum_ = _checksum(len(parts.buffers), head, table)
    yield memoryview(_HEADER.pack(_MAGIC, FORMAT, len(parts.buffers), head, sum_) + table)
    yield from parts.head
    at = _HEADER.size + len(table) + head
    for buffer in parts.buffers:
        if gap := _aligned(at) - at:
            yield memoryview(bytes(gap))
        yield from buffer.pieces()
        at = _aligned(at) + buffer.size


def opened(data: memoryview, where: object, *, own: bool = False) -> Opened:
    """The parts that lie in ``data``, which stay there. ``own``: all of them may be written to, if ``data`` may."""
    try:
        magic, version, count, head, sum_ = _HEADER.unpack_from(data)
        begin = _HEADER.size + _LENGTH.size * count
        table = bytes(data[_HEADER.size : begin])
    except error:
        raise Trouble.SHORT.of(where, f"{data.nbytes} bytes") from None
    if magic == _MAGIC and version > FORMAT:
        raise StorageError(f"{where}: a newer version made it: pip install --upgrade lightning-apps")
    if magic != _MAGIC or sum_ != _checksum(count, head, table):
        raise Trouble.CHECKSUM.of(where)
    lengths = [length for (length,) in _LENGTH.iter_unpack(table)]
    starts = [*accumulate(lengths, lambda at, length: _aligned(at) + (length & ~_OWN), initial=begin + head)]
    if starts[-1] != data.nbytes:
        raise Trouble.SHORT.of(where, f"{data.nbytes} bytes of {starts[-1]}")
    buffers = []
    for at, length in zip(starts[:-1], lengths, strict=True):
        piece = data[_aligned(at) : _aligned(at) + (length & ~_OWN)]
        buffers.append(piece if own or length & _OWN else piece.toreadonly())
    return Opened(data[begin : begin + head], buffers)


def _checksum(count: int, head: int, table: bytes) -> int:
    return crc32(table, crc32(_HEADER.pack(_MAGIC, FORMAT, count, head, 0)))


def _aligned(at: int) -> int:
    return -(-at // _ALIGNED) * _ALIGNED
