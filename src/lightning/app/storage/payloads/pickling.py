"""A value as a small head and the buffers it refers to, and back.

Pickle's protocol 5 leaves the memory of arrays, frames and tables where it is and hands it out as buffers, which go
to their place in one copy and are mapped from there. What numpy and torch would still pack into the head is taken
out of it here. Neither of the two is imported: a value of theirs is only there when they are.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from lightning.app.errors import PickleError

PIECE = 8 << 20
"""Bytes that are copied together where a copy cannot be avoided."""

_APART = 1 << 10
"""Bytes from which on it is worth taking them out of the head."""


class Buffer(NamedTuple):
    """Memory that a value refers to. ``own``: whoever opens it may write to it, and nobody else sees that."""

    size: int
    pieces: Callable[[], Iterator[memoryview]]
    own: bool = False


class Parts(NamedTuple):
    head: bytes
    buffers: list[Buffer]


def parts(value: Any) -> Parts:
    """What a value is made of. The buffers are the value's own memory: copy them before it changes."""
    if isinstance(value, bytes | bytearray) and len(value) >= _APART:
        value = _Whole(value)
    try:
        return _parted(_Pickler, value)
    except Exception as plain:  # a class or function that is not importable by name
        try:
            return _parted(_code_pickler(), value)
        except Exception:
            raise PickleError(f"a {type(value).__name__} cannot be put into a Payload: {plain}") from plain


def whole(head: bytes | memoryview, buffers: list[memoryview]) -> Any:
    """The value again, on these buffers."""
    return pickle.loads(head, buffers=buffers)


def _parted(kind: type[pickle.Pickler], value: Any) -> Parts:
    out = io.BytesIO()
    buffers: list[Buffer] = []
    taken = _Taken(buffers)
    pickler = kind(out, protocol=5, buffer_callback=taken.note)
    pickler.taken = taken  # type: ignore[attr-defined]
    pickler.dump(value)
    return Parts(out.getvalue(), buffers)


class _Taken:
    """What was taken out of the head of one value."""

    def __init__(self, buffers: list[Buffer]) -> None:
        self.buffers = buffers
        self.spread: dict[
            int, tuple[pickle.PickleBuffer, Any]
        ] = {}  # arrays whose memory is not in one piece
        self.own: dict[int, pickle.PickleBuffer] = {}
        self.memories: dict[int, _Memory] = {}

    def note(self, buffer: pickle.PickleBuffer) -> bool:
        """Called by the pickler. False: it is taken."""
        if id(buffer) in self.spread:
            array = self.spread[id(buffer)][1]
            self.buffers.append(Buffer(array.nbytes, lambda: _in_order(array)))
            return False
        raw = buffer.raw()
        if raw.nbytes < _APART and id(buffer) not in self.own:
            return True
        self.buffers.append(Buffer(raw.nbytes, lambda: iter((raw,)), id(buffer) in self.own))
        return False

    def reduced(self, value: Any) -> Any:
        """How the pickler is to take this value apart; NotImplemented: as it does anyway."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(value) is numpy.ndarray:
            contiguous = value.flags.c_contiguous or value.flags.f_contiguous
            if contiguous or value.dtype.hasobject or value.nbytes < _APART:
                return NotImplemented
            stand_in = pickle.PickleBuffer(b"")
            self.spread[id(stand_in)] = stand_in, value
            return _array, (stand_in, value.dtype, value.shape)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.storage.TypedStorage):
            return _typed_storage, (self._memory(value._untyped_storage, torch), value.dtype)
        if torch is not None and isinstance(value, torch.UntypedStorage):
            return _untyped_storage, (self._memory(value, torch),)
        if type(value) is _Memory:
            buffer = pickle.PickleBuffer(value.view)
            self.own[id(buffer)] = buffer
            return _memory, (buffer,)
        return NotImplemented

    def _memory(self, storage: Any, torch: Any) -> _Memory:
        """The same for all tensors that share it."""
        place = storage.data_ptr() or id(storage)
        if place not in self.memories:
            if storage.device.type != "cpu":
                _tell_of_device(storage.device)
                storage = storage.cpu()
            self.memories[place] = _Memory(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
        return self.memories[place]


@cache
def _tell_of_device(device: Any) -> None:
    print(
        f"a Payload with tensors on {device}: they are copied into the memory of this machine, and arrive there; move "
        "them to a device again where they are used",
        file=sys.stderr,
    )


class _Memory:
    """The bytes of a torch storage."""

    def __init__(self, view: Any) -> None:
        self.view = view


class _Whole:
    """Bytes by themselves."""

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return type(self.value), (pickle.PickleBuffer(self.value),)


class _Taking:
    """What both picklers do alike."""

    taken: _Taken

    def reducer_override(self, value: Any) -> Any:
        return self.taken.reduced(value)


class _Pickler(_Taking, pickle.Pickler):
    pass


@cache
def _code_pickler() -> type[pickle.Pickler]:
    """Pickles what no module has under a name, too."""
    import cloudpickle

    class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            reduced = self.taken.reduced(value)
            return super().reducer_override(value) if reduced is NotImplemented else reduced

    return CodePickler


def _in_order(array: Any) -> Iterator[memoryview]:
    """The elements of an array in C's order, some at a time."""
    numpy = sys.modules["numpy"]
    if array.nbytes <= PIECE or array.ndim == 0:
        yield memoryview(numpy.ascontiguousarray(array)).cast("B")
        return
    step = max(1, PIECE * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        yield from _in_order(array[start : start + step] if step > 1 else array[start])


# -- opening --------------------------------------------------------------------------------------


def _array(buffer: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    import numpy

    return numpy.frombuffer(buffer, dtype).reshape(shape)


def _memory(buffer: Any) -> Any:
    return buffer


def _untyped_storage(buffer: Any) -> Any:
    import torch

    view = memoryview(buffer)
    if not view.nbytes:
        return torch.UntypedStorage(0)  # type: ignore[no-untyped-call, unused-ignore]
    return torch.frombuffer(view, dtype=torch.uint8).untyped_storage()


def _typed_storage(buffer: Any, dtype: Any) -> Any:
    import torch

    untyped = _untyped_storage(buffer)
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)  # type: ignore[no-untyped-call, unused-ignore]
