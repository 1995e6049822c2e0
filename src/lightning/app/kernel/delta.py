"""Changes of state: how one is applied, taken back, and brought into an order that another decided.

A ``Delta`` has an operation, a path and a packed value. ``path[0]`` is an attribute; the further steps are
dictionary keys (packed) or list positions. Every change of anybody's state goes through ``apply``, so that
all who apply the same deltas in the same order hold the same state. A delta that no longer fits what is there,
or that no honest peer makes, changes nothing, everywhere alike.

Containers are changed through the methods of the base classes: tracked containers record nothing of it. A
tracked state takes part by three methods: every container that is put in goes through ``adopt``, one that is
to be changed on a copy through ``renew``, and one that is to be changed in place through ``reseat``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import msgspec

from lightning.app.errors import ProtocolError, StateValueError
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import DEEPEST, SCALARS, pack, unpack

# Operations. They are in journals: never give one a new meaning.
SET = 0  # an attribute, a key or a position becomes the value
DELETE = 1  # an attribute or a key goes
INSERT = 2  # the list at the path takes [position or None for the end, [items]]
SPLICE = 3  # the list at the path replaces [start, stop, [items]]
ADD = 4  # the set at the path takes the items
DISCARD = 5  # the set at the path loses the items; the dictionary the keys
UPDATE = 6  # the dictionary at the path takes [[key, value], ...]
CLEAR = 7  # the container at the path becomes empty
REORDER = 8  # the first items of the list at the path are put into this order: [positions]

_PLACES = (SET, DELETE)
_CONTAINERS = (list, dict, set)
_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()

_Step = tuple[int, tuple[Any, ...], Any]
"""An operation, a path, and the value as it is in the state: unpacked, tracked."""


class Undo(msgspec.Struct, frozen=True, gc=False):
    """What takes one applied delta back: deltas. None when it had not fitted, and so had changed nothing."""

    deltas: tuple[Delta, ...] = ()

    @property
    def fitted(self) -> bool:
        return bool(self.deltas)


_UNFIT = Undo()


def apply(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply in place, at the cost of the change.

    >>> state = {"losses": [0.3]}
    >>> undo = apply(state, Delta(INSERT, ("losses",), [None, [0.2]]))
    >>> state
    {'losses': [0.3, 0.2]}
    """
    path = delta.path
    value = delta.value
    if (
        delta.op == SET and len(path) == 1 and type(value) in SCALARS and type(path[0]) is str
    ):  # the common case
        name = path[0]
        before = state.get(name, _MISSING)
        dict.__setitem__(state, name, value)
        if type(before) in SCALARS:
            return Undo((Delta(SET, path, before),))
        return _kept([(SET, path, before) if before is not _MISSING else (DELETE, path, None)])
    try:
        opened = _opened(delta)
    except ProtocolError:
        return _UNFIT
    return _kept(_Editor(state).perform(delta.op, path, opened))


def revert(state: dict[str, Any], undo: Undo) -> None:
    """Take back what ``apply`` did, if nothing else has happened since."""
    for delta in undo.deltas:
        apply(state, delta)


def apply_copy(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply without changing any container that somebody may be looking at."""
    try:
        opened = _opened(delta)
    except ProtocolError:
        return _UNFIT
    with _guard(state):
        draft = _Editor(state, delta.path[:1])
        inverse = draft.perform(delta.op, delta.path, opened)
        draft.publish()
    return _kept(inverse)


def rebase(
    state: dict[str, Any], mine: Sequence[tuple[Delta, Undo]], *foreign: Delta
) -> list[tuple[Delta, Undo]]:
    """Put what is ``foreign`` before ``mine``, which are applied but which the other side has not seen yet.

    Mine are taken back, the newest first, what is foreign is applied, and mine again: aside, on copies, which
    then take the places of the attributes; nobody sees what is half done. Attributes are independent: of
    ``mine`` only what is about those of ``foreign`` is touched. Returns ``mine`` with new undos.

    Containers that mine had put in go in again as they are, so that who holds one of them still holds a part
    of the state. (In a dictionary that lies in a list, the order of keys may come to differ, when the removal
    of a key met an insertion into the list.)
    """
    theirs: list[_Step] = []
    for delta in foreign:
        with suppress(ProtocolError):
            theirs.append((delta.op, delta.path, _opened(delta)))
    names = tuple({path[0] for _, path, _ in theirs})
    with _guard(state):
        draft = _Editor(state, names)
        redone = _redone(draft, names, list(mine), theirs)
        draft.publish()
    return redone


def _redone(
    draft: _Editor, names: tuple[str, ...], mine: list[tuple[Delta, Undo]], theirs: list[_Step]
) -> list[tuple[Delta, Undo]]:
    again: list[tuple[int, list[_Step]]] = []
    for position in range(len(mine) - 1, -1, -1):
        delta, undo = mine[position]
        if delta.path[0] in names:
            taken: list[_Step] = []
            for step in undo.deltas:
                taken += draft.perform(step.op, step.path, _opened(step)) or ()
            again.append((position, taken))
    for op, path, opened in theirs:
        draft.perform(op, path, opened)
    for position, taken in reversed(again):
        delta = mine[position][0]
        mine[position] = delta, _kept(draft.perform(delta.op, delta.path, _reopened(delta, taken)))
    return mine


def _guard(state: dict[str, Any]) -> AbstractContextManager[Any]:
    return getattr(state, "guard", None) or nullcontext()


# -- values on their way in and out ----------------------------------------------------------------


def _opened(delta: Delta) -> Any:
    """The value of a delta, unpacked and checked for what its operation needs."""
    op, path, value = delta.op, delta.path, delta.value
    try:
        if type(path[0]) is str and len(path) <= DEEPEST:
            for step in path:
                if type(step) not in SCALARS:
                    hash(unpack(step))
            if op == SET:
                return unpack(value)
            if op == INSERT:
                at, items = value
                if at is None or _is_position(at):
                    return at, [unpack(each) for each in _listed(items)]
            elif op == SPLICE:
                start, stop, items = value
                if _is_position(start) and _is_position(stop) and start <= stop:
                    return start, stop, [unpack(each) for each in _listed(items)]
            elif op in (ADD, DISCARD):
                return list(dict.fromkeys(unpack(each) for each in _listed(value)))
            elif op == UPDATE:
                return {unpack(key): unpack(each) for key, each in _listed(value)}
            elif op == REORDER:
                if all(map(_is_position, _listed(value))) and sorted(value) == list(range(len(value))):
                    return value
            elif op in (DELETE, CLEAR):
                return None
    except (TypeError, ValueError, LookupError) as err:
        raise ProtocolError(f"no honest peer sends this delta: {err}") from err
    raise ProtocolError("no honest peer sends this delta")


def _is_position(value: Any) -> bool:
    return type(value) is int and value >= 0


def _listed(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError
    return value


def _reopened(delta: Delta, taken: list[_Step]) -> Any:
    """The value of a delta that was taken back: with the containers that it had put in, not new ones."""
    value = _opened(delta)
    for _, _, was in taken:
        if delta.op == SET:
            return was if type(value) not in SCALARS else value
        if delta.op == INSERT:
            return value[0], was[2]
        if delta.op == SPLICE:
            return *value[:2], was[2]
        if delta.op == UPDATE and isinstance(was, dict):
            value |= {key: was[key] for key in value if key in was}
    return value


def _kept(inverse: list[_Step] | None) -> Undo:
    """An undo that no later change of the taken containers can spoil: with packed values."""
    return (
        Undo(tuple(Delta(op, path, _closed(op, value)) for op, path, value in inverse)) if inverse else _UNFIT
    )


def _closed(op: int, value: Any) -> Any:
    if op == SET:
        return _repacked(value)
    if op == SPLICE:
        start, stop, items = value
        return [start, stop, [_repacked(each) for each in items]]
    if op in (ADD, DISCARD):
        return [pack(each) for each in value]
    if op == UPDATE:
        return [[pack(key), _repacked(each)] for key, each in value.items()]
    return value


def _repacked(value: Any) -> Any:
    if type(value) in SCALARS:
        return value
    try:
        return pack(value)
    except StateValueError:  # put there behind the back of its container: nobody else has ever had it
        return None


# -- performing ------------------------------------------------------------------------------------


class _Editor:
    """Performs operations on a state: in place, or (with names) on a draft of these attributes.

    A draft copies a container when it is first touched, and nothing else: it costs the containers on the way.
    """

    __slots__ = ("adopt", "drafted", "fresh", "name", "renew", "reseat", "root", "state")

    def __init__(self, state: dict[str, Any], drafted: tuple[str, ...] | None = None) -> None:
        self.state = state
        self.drafted = drafted
        self.root: dict[str, Any] = state
        self.adopt = getattr(state, "adopt", None)
        self.reseat = getattr(state, "reseat", None)
        if drafted is not None:
            self.root = {name: state[name] for name in drafted if name in state}
            self.fresh: dict[int, Any] = {}  # copies, by their identity, and kept so that it stays theirs
            self.renew = getattr(state, "renew", None)

    def publish(self) -> None:
        """Let the draft of each attribute take its place."""
        for name in self.drafted or ():
            if name in self.root:
                dict.__setitem__(self.state, name, self.root[name])
            else:
                dict.pop(self.state, name, None)

    def perform(self, op: int, path: tuple[Any, ...], value: Any) -> list[_Step] | None:
        """Do it, and return what takes it back; None where it does not fit."""
        if op in _PLACES:
            node = self._reach(path, len(path) - 1)
            if isinstance(node, dict):
                return self._set(node, path, value) if op == SET else self._delete(node, path)
            if isinstance(node, list) and op == SET:
                at = path[-1]
                if type(at) is int and 0 <= at < len(node):
                    before = list.__getitem__(node, at)
                    list.__setitem__(node, at, self._adopted(value, node, at))
                    return [(SET, path, before)]
            return None
        node = self._reach(path, len(path))
        if isinstance(node, list):
            return self._change_list(node, op, path, value)
        if isinstance(node, set):
            return self._change_set(node, op, path, value)
        if isinstance(node, dict):
            return self._change_dict(node, op, path, value)
        return None

    def _reach(self, path: tuple[Any, ...], length: int) -> Any:
        """The container at the first ``length`` steps of ``path``, free to be changed."""
        node: Any = self.root
        parent, key = None, None
        for position in range(length):
            step = path[position]
            parent, key = node, step
            if isinstance(node, dict):
                if type(step) not in SCALARS:
                    key = _key(step)
                node = dict.get(node, key, _MISSING)
            elif isinstance(node, list) and type(step) is int and 0 <= step < len(node):
                node = list.__getitem__(node, step)
            else:
                return _MISSING
            if self.drafted is not None and isinstance(node, _CONTAINERS) and id(node) not in self.fresh:
                node = self._renewed(node, parent, key)
        if length and self.drafted is None and self.reseat is not None:
            return self.reseat(node, parent, key)
        return node

    def _renewed(self, node: Any, parent: Any, key: Any) -> Any:
        if self.renew is not None:
            copy = self.renew(node, self.state if parent is self.root else parent, key)
        else:
            copy = node.copy()
        self.fresh[id(copy)] = copy
        if isinstance(parent, list):
            list.__setitem__(parent, key, copy)
        else:
            dict.__setitem__(parent, key, copy)
        return copy

    def _adopted(self, value: Any, parent: Any, key: Any) -> Any:
        if self.adopt is None or type(value) in SCALARS:
            return value
        return self.adopt(value, self.state if parent is self.root else parent, key)

    def _set(self, node: dict[Any, Any], path: tuple[Any, ...], value: Any) -> list[_Step]:
        key = _key(path[-1])
        before = dict.get(node, key, _MISSING)
        dict.__setitem__(node, key, self._adopted(value, node, key))
        return [(DELETE, path, None)] if before is _MISSING else [(SET, path, before)]

    def _delete(self, node: dict[Any, Any], path: tuple[Any, ...]) -> list[_Step] | None:
        key = _key(path[-1])
        if key not in node:
            return None
        stored = _stored(node, key)
        return [(SET, path if stored is key else (*path[:-1], pack(stored)), dict.pop(node, key))]

    def _change_list(self, node: list[Any], op: int, path: tuple[Any, ...], value: Any) -> list[_Step] | None:
        size = len(node)
        if op == INSERT:
            at, items = value
            start = stop = size if at is None else at
        elif op == SPLICE:
            start, stop, items = value
        elif op == CLEAR:
            start, stop, items = 0, size, []
        elif op == REORDER and len(value) <= size:
            list.__setitem__(node, slice(len(value)), [list.__getitem__(node, at) for at in value])
            back = [0] * len(value)
            for at, was in enumerate(value):
                back[was] = at
            return [(REORDER, path, back)]
        else:
            return None
        if stop > size:
            return None
        before = list.__getitem__(node, slice(start, stop))
        if self.adopt is not None:
            items = [self._adopted(each, node, start + offset) for offset, each in enumerate(items)]
        if start == size:
            list.extend(node, items)
        else:
            list.__setitem__(node, slice(start, stop), items)
        return [(SPLICE, path, (start, start + len(items), before))]

    def _change_set(self, node: set[Any], op: int, path: tuple[Any, ...], value: Any) -> list[_Step] | None:
        if op == ADD:
            changed = [each for each in value if each not in node]
            set.update(node, changed)
            return [(DISCARD, path, changed)]
        if op in (DISCARD, CLEAR):
            changed = [_stored(node, each) for each in value if each in node] if op == DISCARD else list(node)
            set.difference_update(node, changed)
            return [(ADD, path, changed)]
        return None

    def _change_dict(
        self, node: dict[Any, Any], op: int, path: tuple[Any, ...], value: Any
    ) -> list[_Step] | None:
        if op == UPDATE:
            replaced = {key: node[key] for key in value if key in node}
            added = [key for key in value if key not in node]
            for key, each in value.items():
                dict.__setitem__(node, key, self._adopted(each, node, key))
            return [(DISCARD, path, added), (UPDATE, path, replaced)]
        if op in (DISCARD, CLEAR):
            keys = list(node) if op == CLEAR else [_stored(node, key) for key in value if key in node]
            gone = {key: node[key] for key in keys}
            for key in gone:
                dict.__delitem__(node, key)
            return [(UPDATE, path, gone)]
        return None


def _key(step: Any) -> Any:
    return step if type(step) in SCALARS else unpack(step)


class _Stored:
    """Finds the element of a set, or the key of a dictionary, that is there for an equal one: 1 for True."""

    __slots__ = ("found", "like")

    def __init__(self, like: Any) -> None:
        self.like = self.found = like

    def __hash__(self) -> int:
        return hash(self.like)

    def __eq__(self, other: object) -> bool:
        if other == self.like:
            self.found = other
            return True
        return False


def _stored(container: Any, like: Any) -> Any:
    """``like`` as the container has it, and as it is put back one day."""
    if type(like) is str:
        return like
    stored = _Stored(like)
    return stored.found if stored in container else like


# -- conflicts -------------------------------------------------------------------------------------


def conflicts(later: Delta, unseen: Delta) -> bool:
    """Whether ``later``, written without knowing of ``unseen``, overwrites it (or what it was based on).

    Appended items, added elements and different keys merge; so does what does not meet.

    >>> conflicts(Delta(SET, ("flag",), True), Delta(SET, ("flag",), False))
    True
    >>> conflicts(Delta(INSERT, ("losses",), [None, [1]]), Delta(INSERT, ("losses",), [None, [2]]))
    False
    """
    one, other = later.path, unseen.path
    shorter = min(len(one), len(other))
    if one[:shorter] != other[:shorter]:
        return False
    try:
        return _overwrites(later, unseen)
    except (TypeError, ValueError, LookupError):
        return False  # one of them is malformed and changes nothing


def _overwrites(later: Delta, unseen: Delta) -> bool:
    """The same, of two whose paths agree as far as both go."""
    one, other = later.path, unseen.path
    shorter = min(len(one), len(other))
    places = later.op in _PLACES, unseen.op in _PLACES
    if len(one) == len(other):
        if places == (False, False):
            return _meet(later, unseen)
        return True
    if len(one) > len(other):
        return places[1] or _touches(unseen, one[shorter])
    return places[0] or _touches(later, other[shorter])


def _meet(later: Delta, unseen: Delta) -> bool:
    """Of two operations on the same container."""
    if CLEAR in (later.op, unseen.op):
        return True
    if later.op == unseen.op and later.op in (ADD, DISCARD):
        return False
    keys, others = _keys(later), _keys(unseen)
    if keys is not None and others is not None:
        return any(key in others for key in keys)
    (start, stop), (other_start, other_stop) = _range(later), _range(unseen)
    return start < other_stop and other_start < stop


def _keys(delta: Delta) -> list[Any] | None:
    if delta.op == UPDATE:
        return [key for key, _ in delta.value]
    return delta.value if delta.op in (ADD, DISCARD) else None


def _range(delta: Delta) -> tuple[float, float]:
    """The positions that an operation on a list changes or moves."""
    if delta.op == INSERT:
        at = delta.value[0]
        return (float("inf"), float("inf")) if at is None else (at, float("inf"))
    if delta.op == SPLICE:
        start, stop, items = delta.value
        return start, stop if len(items) == stop - start else float("inf")
    return (0, len(delta.value)) if delta.op == REORDER else (0, float("inf"))


def _touches(delta: Delta, step: Any) -> bool:
    """Whether an operation on a container reaches, removes or moves what lies at ``step`` in it."""
    if delta.op == CLEAR:
        return True
    keys = _keys(delta)
    if keys is not None:
        return step in keys
    if type(step) is not int:
        return False
    start, stop = _range(delta)
    return start <= step < stop
