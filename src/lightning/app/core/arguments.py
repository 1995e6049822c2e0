"""Arguments of a call: bound to ``run``'s signature, packed for the journey, and hashed to the call's key.

The same arguments, however written, are the same call: ``run(1)``, ``run(x=1)`` and ``run()`` with a default
of 1 have one key.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.msgpack import Ext

from lightning.app.errors import CallError, PickleError, StateValueError
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.size import LARGEST_VALUE, size_if_large
from lightning.app.kernel.values import CARRIED, PICKLED, Pickled, encode, pack, unpack

LARGE = 256 << 10
"""Bytes of an argument from which on it does not travel in the message, but by pointer."""

_BY_VALUE = "value:"  # begins the key of what is a state value, and large
_PLAIN = frozenset({type(None), bool, bytes})
_SMALL = 2**63


class Keyed:
    """Pass any picklable object to ``run``, and say by what it is to be recognised.

    The object travels as a pickle that only the work opens. Two calls with the same ``key`` are the same
    call, whatever the objects are:  ``self.train.run(Keyed(model, key="resnet-v1"))``
    """

    def __init__(self, obj: Any, *, key: str) -> None:
        if not isinstance(key, str) or not key:
            raise CallError(
                f"Keyed(..., key={key!r}): the key is a text that names the object, like 'resnet-v1'"
            )
        self.obj = obj
        self.key = key

    def __repr__(self) -> str:
        return f"Keyed({type(self.obj).__name__}, key={self.key!r})"


class Deferred(NamedTuple):
    """An argument of which only the key is known yet. What it costs to pack it is spent on new calls only."""

    key: str
    value: Any


Carry = Callable[[str, Any], Any]
"""Makes a large argument a packed pointer: given its key and itself."""

Packed = tuple[list[Any], dict[str, Any]]


class Arguments:
    """How the arguments of one ``run`` function are read."""

    def __init__(self, function: Callable[..., Any]) -> None:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[1:]  # without self
        self.signature = signature.replace(
            parameters=[each.replace(annotation=_as_written(each.annotation)) for each in parameters],
            return_annotation=_as_written(signature.return_annotation),
        )
        self.names = [each.name for each in parameters]
        self.plain = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)

    def bind(
        self, where: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, list[Any], dict[str, Any]]:
        """The key, and the packed positional and keyword arguments."""
        key, packed, named, deferred = self.recognise(where, args, kwargs)
        return key, *(self.settle(where, packed, named) if deferred else (packed, named))

    def recognise(
        self, where: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, list[Any], dict[str, Any], bool]:
        """The key, the packed arguments, and whether some of these are ``Deferred``: to be settled for a new call."""
        if not kwargs and self.plain and len(args) == len(self.names):
            for value in args:
                kind = type(value)
                if kind is int:
                    if not -_SMALL <= value < _SMALL:
                        break
                elif kind not in _PLAIN and not (kind is str and value.isascii()):
                    break
            else:  # the common case: a few plain values, for which the encoding is canonical
                packed = list(args)
                told = encode(packed)
                if len(told) <= LARGE:
                    return _digest(b"0" + told), packed, {}, False
            named: dict[str, Any] = {}
        else:
            try:
                bound = self.signature.bind(*args, **kwargs)
            except TypeError as err:
                raise CallError(f"{where}.run{self.signature}: {err}") from None
            bound.apply_defaults()
            args, named = bound.args, bound.kwargs
        packed = [self._pack(where, self._name(position), value) for position, value in enumerate(args)]
        packed_named = {name: self._pack(where, name, value) for name, value in named.items()}
        stands = [_standing_for(value) for value in packed]
        stands_named = {name: _standing_for(value) for name, value in packed_named.items()}
        told = b"1" + canonical([stands, stands_named]) if stands_named else b"0" + canonical(stands)
        if len(told) > LARGEST_VALUE:
            raise self._too_large(where, packed, packed_named)
        deferred = any(type(value) is Deferred for value in (*packed, *packed_named.values()))
        return _digest(told), packed, packed_named, deferred

    def settle(
        self, where: str, packed: list[Any], named: dict[str, Any], carry: Carry | None = None
    ) -> Packed:
        """What was deferred, packed. Large ones are carried; without ``carry``, all must fit into one message."""

        def settled(name: str, value: Any) -> Any:
            if type(value) is not Deferred:
                return value
            if carry is not None and _is_large(value):
                return self._carried(where, name, value, carry)
            if value.key.startswith(_BY_VALUE):
                return pack(value.value, name)
            data = _pickle(where, name, value.value)
            if carry is not None and len(data) > LARGE:
                return self._carried(where, name, value, carry)
            return pack(Pickled(value.key, data))

        ready = [settled(self._name(position), value) for position, value in enumerate(packed)]
        ready_named = {name: settled(name, value) for name, value in named.items()}
        if size_if_large([ready, ready_named]):
            raise self._too_large(where, ready, ready_named)
        return ready, ready_named

    def _carried(self, where: str, name: str, value: Deferred, carry: Carry) -> Any:
        try:
            return carry(value.key, value.value)
        except PickleError as err:
            raise CallError(f"{where}.run: argument {name} cannot be pickled: {err}") from err

    def _too_large(self, where: str, packed: list[Any], named: dict[str, Any]) -> CallError:
        sizes = {self._name(position): _size(value) for position, value in enumerate(packed)}
        sizes |= {name: _size(value) for name, value in named.items()}
        largest = max(sizes, key=sizes.__getitem__)
        return CallError(
            f"{where}.run: argument {largest} is of {sizes[largest] / 1e6:.1f} MB, and all that a call is given may "
            f"be of {LARGEST_VALUE / 1e6:.0f} MB; wrap it in lightning.app.storage.Payload"
        )

    def _name(self, position: int) -> str:
        if self.plain and position < len(self.names):
            return self.names[position]
        positional = [each for each in self.signature.parameters.values() if each.kind in (0, 1)]
        if position < len(positional):
            return positional[position].name
        return f"*args[{position - len(positional)}]"

    def _pack(self, where: str, name: str, value: Any) -> Any:
        if isinstance(value, Keyed):
            return Deferred(f"keyed:{value.key}", value.obj)
        content = _content(value)
        if content is not None:
            return Deferred(content, value)
        try:
            packed = pack(value, name)
        except StateValueError as err:
            remedy = "pass the attributes it needs, not the component itself"
            if not hasattr(type(value), "_kind"):
                remedy = "pass it as L.Keyed(obj, key=...), with a key that says when two calls are the same"
            raise CallError(f"{where}.run: argument {err}; {remedy}") from None
        if size_if_large(packed, LARGE) and not (type(packed) is Ext and packed.code in (PICKLED, CARRIED)):
            return Deferred(f"{_BY_VALUE}{_digest(canonical(packed)).hex()}", unpack(packed))
        return packed


def _standing_for(value: Any) -> Any:
    """What a call is recognised by: of what is deferred the key alone."""
    return pack(Pickled(value.key, b"")) if type(value) is Deferred else value


def _is_large(value: Deferred) -> bool:
    """Whether this is told without packing it."""
    return value.key.startswith(_BY_VALUE) or getattr(value.value, "nbytes", 0) > LARGE


def _size(value: Any) -> int:
    return getattr(value.value, "nbytes", 0) if type(value) is Deferred else len(encode(value))


class _Source(str):
    """An annotation that is kept as its text, and is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _as_written(annotation: Any) -> Any:
    return _Source(annotation) if type(annotation) is str else annotation


@lru_cache(maxsize=1024)
def arguments_of(function: Callable[..., Any]) -> Arguments:
    return Arguments(function)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _pickle(where: str, name: str, value: Any) -> bytes:
    try:
        try:
            return pickle.dumps(value, protocol=5)
        except Exception:  # a class or function that is not importable by name
            import cloudpickle

            return bytes(cloudpickle.dumps(value, protocol=5))
    except Exception as err:
        raise CallError(f"{where}.run: argument {name} cannot be pickled: {err}") from err


def _content(value: Any) -> str | None:
    """What identifies an array or a frame: its content. None for everything else."""
    module = type(value).__module__.partition(".")[0]
    name = type(value).__name__
    if module == "numpy" and name == "ndarray" and not value.dtype.hasobject:
        kind, data = f"numpy:{value.dtype.str}:{value.shape}", value.tobytes()
    elif module == "torch" and name == "Tensor":
        array = value.detach().cpu().contiguous()
        kind, data = (
            f"torch:{array.dtype}:{tuple(array.shape)}",
            array.view(-1).view(_torch_byte()).numpy().tobytes(),
        )
    elif module == "pandas" and name in ("DataFrame", "Series", "Index"):
        kind, data = _pandas_content(value)
    else:
        return None
    return f"{kind}:{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _torch_byte() -> Any:
    import torch

    return torch.uint8


def _pandas_content(value: Any) -> tuple[str, bytes]:
    from pandas.util import hash_pandas_object

    if type(value).__name__ == "DataFrame":
        layout = [(str(column), str(dtype)) for column, dtype in value.dtypes.items()]
    else:
        layout = [(str(value.name), str(value.dtype))]
    return f"pandas:{type(value).__name__}:{layout}", hash_pandas_object(
        value, index=True
    ).to_numpy().tobytes()
