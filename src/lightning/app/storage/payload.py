"""Large values by pointer: ``self.embeddings = Payload(array)``.

The value is copied once, into shared memory, and stays there; what travels between components is its name. A work
that asks for ``.value`` maps it, which takes no time at any size, and cannot change what others see: arrays are
read-only, tensors of torch (which knows no such thing) are the opener's own as soon as he writes to them.
"""

from __future__ import annotations

import os
import weakref
from threading import Lock
from typing import Any

from xxhash import xxh3_128

from lightning.app.errors import ProtocolError, StorageError
from lightning.app.kernel.values import register
from lightning.app.storage import home
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.layout import Opened, laid_out, opened, size_of
from lightning.app.storage.payloads.names import names_in, new_name, new_small_name, valid
from lightning.app.storage.payloads.pickling import Parts, parts, whole
from lightning.app.storage.progress import reported

INLINE = 8 << 10
"""Bytes up to which a value travels in the pointer itself, and needs no file."""

_ABSENT = object()
_SCANNED = 128 << 10  # bytes: what a pickler writes at once is smaller, unless it is a value's own
_first = Lock()  # of the threads that ask for a value, all get what the first has opened


class Payload:
    """A value that may be of any size, and any kind that can be pickled.

    ``durable=True`` waits until there is a copy on the disk, which otherwise follows in the background: what is lost
    by a power cut before that counts as not made, and the call that made it runs again.

    >>> Payload([1, 2, 3]).value
    [1, 2, 3]
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_component",
        "_dropping",
        "_inline",
        "_name",
        "_others",
        "_size",
        "_value",
    )

    def __init__(self, value: Any, durable: bool = False) -> None:
        made = parts(value)
        self._value: Any = _ABSENT
        self._dropping: weakref.finalize[Any, Any] | None = None
        self._component, self._call = home.component(), home.call()
        self._size = size_of(made)
        # Each pass of a flow makes its payloads again: by their names they are the same, and so are calls with them.
        digest = _digest(made) if self._component == home.FLOW else None
        if self._size <= INLINE:
            self._name, self._inline, self._others = new_small_name(digest), b"".join(laid_out(made)), ""
            return
        self._inline, self._others = b"", _mentioned(made)
        depot = _depot()
        self._name = new_name(digest)
        if digest is None:
            depot.make(made, self._name)
            self._dropping = weakref.finalize(self, _drop, depot, self._name, os.getpid())
            self._dropping.atexit = False
        elif not depot.has(self._name):
            depot.make(made, self._name)  # others of that name may have been sent: it stays
        if durable:
            with reported(f"payload {self._name} to {depot.disk}") as progress:
                depot.save(self._name, progress)

    @property
    def value(self) -> Any:
        """The value, as it was when the payload was made. The same object each time it is asked for."""
        if self._value is _ABSENT:
            if home.component() == home.FLOW:
                raise StorageError(
                    "the value of a Payload was asked for in a flow: it stays where it was made until a work opens it. "
                    "Pass the Payload to a work's run, and read .value there"
                )
            opened = whole(*self._opened())
            with _first:
                if self._value is _ABSENT:
                    self._value = opened
        return self._value

    def _opened(self, *, own: bool = False) -> Opened:
        if self._inline:
            return opened(memoryview(bytearray(self._inline)), f"payload {self._name}", own=own)
        depot = _depot()
        if not depot.has(self._name):
            from lightning.app.storage.payloads.peers import fetch  # what is here needs nobody else

            with reported(f"payload {self._name}") as progress:
                fetch(self._name, self._size, depot, progress=progress)
        return depot.open(self._name, own=own)

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, Payload) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)

    def __reduce__(self) -> Any:
        return _pointed, (_pointer(self),)

    def __copy__(self) -> Payload:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Payload:
        return self


def unshared(payload: Payload) -> Any:
    """A value that is the caller's own: he may change it, and nobody else sees that."""
    return whole(*payload._opened(own=True))


def _pointer(payload: Payload) -> list[Any]:
    """What is told of a payload. From now on others may know it, and the journal says how long it is kept."""
    if payload._dropping is not None:
        payload._dropping.detach()
        payload._dropping = None
    return [
        payload._name,
        payload._size,
        payload._inline,
        payload._component,
        payload._call,
        payload._others,
    ]


def _pointed(told: Any) -> Payload:
    match told:
        case [str(name), int(size), bytes(inline), str(component), int(call), str(others)] if inline or valid(
            name
        ):
            payload = Payload.__new__(Payload)
            payload._name, payload._size, payload._inline = name, size, inline
            payload._component, payload._call, payload._others = component, call, others
            payload._value = _ABSENT
            payload._dropping = None
            return payload
    raise ProtocolError("this is not how a Payload is told of")


def _digest(made: Parts) -> str:
    digest = xxh3_128()
    for piece in laid_out(made):
        digest.update(piece)
    return digest.hexdigest()


def _mentioned(made: Parts) -> str:
    """The payloads that are in this one: kept as long as it is, because its pointer tells of them, too."""
    found: set[str] = set()
    for piece in made.head:
        if piece.nbytes <= _SCANNED:
            found |= names_in(piece.tobytes())
    return " ".join(sorted(found))


def _depot() -> Depot:
    here = home.current()
    return Depot(here.memory, here.folder / "payloads")


def _drop(depot: Depot, name: str, process: int) -> None:
    if os.getpid() == process:  # not in a fork of its maker
        depot.drop([name])


register("payload", Payload, _pointer, _pointed)
