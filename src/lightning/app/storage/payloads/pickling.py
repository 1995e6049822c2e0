"""A value as a small head and the buffers it refers to, and back.

Pickle's protocol 5 leaves the memory of frames and tables where it is and hands it out as buffers, which go to their
place in one copy and are mapped from there. What it would still pack into the head, or copy on the way, is taken out
of it here: arrays of every kind, torch's storages, views. No library is imported for that: a value of theirs is only
there when they are.
"""

from __future__ import annotations

import copyreg
import ctypes
import math
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

from lightning.app.errors import PickleError

PIECE = 8 << 20
"""Bytes that are copied together where a copy cannot be avoided."""

_APART = 1 << 10
"""Bytes from which on it is worth taking out of the head what can only be read anyway."""

Reduced = tuple[Any, ...]


class Buffer(NamedTuple):
    """Memory that a value refers to. ``own``: whoever opens it may write to it, and nobody else sees that."""

    size: int
    pieces: Callable[[], Iterator[memoryview]]
    own: bool = False

    @classmethod
    def of(cls, view: memoryview, *, own: bool = False) -> Buffer:
        return cls(view.nbytes, lambda: iter((view,)), own)


class Parts(NamedTuple):
    head: list[memoryview]  # in pieces: bytes of the value's own are among them, not copied
    buffers: list[Buffer]

    @property
    def size(self) -> int:
        return sum(piece.nbytes for piece in self.head) + sum(buffer.size for buffer in self.buffers)


def parts(value: Any) -> Parts:
    """What a value is made of. It is the value's own memory: copy it before it changes."""
    try:
        return _parted(pickle.Pickler, copyreg.dispatch_table, value)
    except Exception as plain:  # a class or function that is not importable by name
        import cloudpickle

        try:
            return _parted(cloudpickle.Pickler, cloudpickle.Pickler.dispatch_table, value)
        except Exception:
            raise PickleError(f"a {type(value).__name__} cannot be put into a Payload: {plain}") from plain


def whole(head: bytes | memoryview, buffers: list[memoryview]) -> Any:
    """The value again, on these buffers."""
    return pickle.loads(head, buffers=buffers)


def _parted(kind: Any, table: Mapping[type, Callable[[Any], Any]], value: Any) -> Parts:
    head, taken = _Head(), _Taken()
    pickler = kind(head, protocol=5, buffer_callback=taken.note)
    pickler.dispatch_table = ChainMap(taken.reducers(), table)  # type: ignore[arg-type]
    pickler.dump(value)
    return Parts(head.pieces, taken.buffers)


class _Head:
    """What a pickler writes. Bytes of some size it hands out as they are."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []

    def write(self, piece: Any) -> None:
        self.pieces.append(memoryview(piece).cast("B"))


class _Taken:
    """What was taken out of the head of one value."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        # By the id of what stands for them in the pickle. It can be written to, so that nothing is said there of
        # whether they can: that is for whoever opens them.
        self._stand_ins: dict[int, tuple[pickle.PickleBuffer, Buffer]] = {}
        self._memories: dict[tuple[int, int], _Memory] = {}

    def note(self, buffer: pickle.PickleBuffer) -> bool:
        """Called by the pickler. False: it is taken."""
        known = self._stand_ins.get(id(buffer))
        if known is not None:
            self.buffers.append(known[1])
            return False
        raw = buffer.raw()
        if raw.readonly and raw.nbytes < _APART:
            return True
        self.buffers.append(Buffer.of(raw))
        return False

    def reducers(self) -> dict[type, Callable[[Any], Reduced]]:
        """How the pickler is to take values of these types apart."""
        numpy: Any = sys.modules.get("numpy")
        torch: Any = sys.modules.get("torch")
        known: dict[type, Callable[[Any], Reduced]] = {memoryview: self._reduce_view}
        if hasattr(numpy, "ndarray"):
            known[numpy.ndarray] = self._reduce_array
        if hasattr(torch, "UntypedStorage") and hasattr(torch, "storage"):
            known[torch.Tensor] = _reduce_tensor
            known[torch.UntypedStorage] = self._reduce_untyped
            known[torch.storage.TypedStorage] = self._reduce_typed
            known[_Memory] = self._reduce_memory
        return known

    def _reduce_array(self, array: Any) -> Reduced:
        if array.dtype.hasobject:
            reduced: Reduced = array.__reduce_ex__(5)
            return reduced
        flags = array.flags
        order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
        if flags.c_contiguous or flags.f_contiguous:
            buffer = Buffer.of(_bytes_of(array.T if order == "F" else array))
        else:
            buffer = Buffer(array.nbytes, lambda: _in_order(array))
        return _array, (self._stand_in(buffer), array.dtype, array.shape, order)

    def _reduce_view(self, view: memoryview) -> Reduced:
        flat = view if view.c_contiguous else memoryview(view.tobytes())
        return _view, (self._stand_in(Buffer.of(flat)), view.format, view.shape)

    def _reduce_typed(self, storage: Any) -> Reduced:
        return _typed_storage, (self._memory(storage._untyped_storage), storage.dtype)

    def _reduce_untyped(self, storage: Any) -> Reduced:
        return _untyped_storage, (self._memory(storage),)

    def _reduce_memory(self, memory: _Memory) -> Reduced:
        return _memory, (self._stand_in(Buffer.of(memory.view, own=True)),)

    def _memory(self, storage: Any) -> _Memory:
        """The same for all tensors that share it."""
        place = (storage.data_ptr(), storage.nbytes())
        if not all(place):
            return _Memory(storage)
        if place not in self._memories:
            self._memories[place] = _Memory(storage)
        return self._memories[place]

    def _stand_in(self, buffer: Buffer) -> pickle.PickleBuffer:
        stand_in = pickle.PickleBuffer(bytearray())
        self._stand_ins[id(stand_in)] = stand_in, buffer
        return stand_in


def _reduce_tensor(tensor: Any) -> Reduced:
    """As torch does. Of its newer kinds it hands out a storage that its own way back expects to be wrapped."""
    torch: Any = sys.modules["torch"]
    rebuild, (storage, *others), *state = tensor.__reduce_ex__(5)
    if type(storage) is torch.UntypedStorage:
        storage = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.uint8, _internal=True)
    return rebuild, (storage, *others), *state


class _Memory:
    """The bytes of a torch storage, in the memory of this machine."""

    def __init__(self, storage: Any) -> None:
        self._origin = storage  # or its place could become another's meanwhile
        if storage.device.type != "cpu":
            _tell_of_device(storage.device)
            storage = storage.cpu()
        array = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
        array.owner = storage  # as long as somebody looks at the bytes
        self.view = memoryview(array)


@cache
def _tell_of_device(device: Any) -> None:
    print(
        f"a Payload with tensors on {device}: they are copied into the memory of this machine, and arrive there; move "
        "them to a device again where they are used",
        file=sys.stderr,
    )


def _bytes_of(array: Any) -> memoryview:
    """The memory of an array in C's order. Not by the buffer protocol, which knows no dates, and no bfloat16."""
    numpy = sys.modules["numpy"]
    return memoryview(array.reshape(-1).view(numpy.uint8) if array.nbytes else b"")


def _in_order(array: Any) -> Iterator[memoryview]:
    """The elements of an array in C's order, some at a time."""
    numpy = sys.modules["numpy"]
    if array.nbytes <= PIECE or array.ndim == 0:
        yield _bytes_of(numpy.ascontiguousarray(array))
        return
    step = max(1, PIECE * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        yield from _in_order(array[start : start + step] if step > 1 else array[start])


# -- opening: by these names pickles refer to them, those of earlier versions too -----------------


def _array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"]) -> Any:
    import numpy

    if not math.prod(shape) or not dtype.itemsize:
        array = numpy.zeros(shape, dtype, order)
        array.flags.writeable = False
        return array
    # An array on a view cannot be made writable again; one that is made on it in one step can.
    return numpy.frombuffer(buffer, numpy.uint8).view(dtype).reshape(shape, order=order)


def _view(buffer: Any, kind: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(buffer).cast("B")
    return view.cast(kind, shape) if math.prod(shape) else view.cast(kind)  # type: ignore[call-overload, no-any-return]


def _memory(buffer: Any) -> Any:
    torch: Any = import_module("torch")
    view = memoryview(buffer)
    return (
        torch.frombuffer(view, dtype=torch.uint8).untyped_storage()
        if view.nbytes
        else torch.UntypedStorage(0)
    )


def _untyped_storage(memory: Any) -> Any:
    return memory


def _typed_storage(memory: Any, dtype: Any) -> Any:
    torch: Any = import_module("torch")
    return torch.storage.TypedStorage(wrap_storage=memory, dtype=dtype, _internal=True)
