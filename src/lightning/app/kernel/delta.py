"""Changes of state: how one is applied, taken back, and brought into an order that another decided.

A ``Delta`` has an operation, a path and a packed value. ``path[0]`` is an attribute; the further steps are
dictionary keys (packed) or list positions. Every change of anybody's state goes through ``apply``, so that
all who apply the same deltas in the same order hold the same state. A delta that no longer fits what is
there changes nothing, everywhere alike.

Containers are changed through the methods of the base classes: tracked containers record nothing of it. If
the state has an ``adopt``, every container that is put in goes through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.app.errors import ProtocolError
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import SCALARS, unpack

SET = 0  # an attribute, a key or a position becomes the value
DELETE = 1  # an attribute or a key goes
INSERT = 2  # the list at the path takes [position or None for the end, [items]]
SPLICE = 3  # the list at the path replaces [start, stop, [items]]
ADD = 4  # the set at the path takes the items
DISCARD = 5  # the set at the path loses the items
UPDATE = 6  # the dictionary at the path takes [[key, value], ...]
CLEAR = 7  # the container at the path becomes empty
REORDER = 8  # the list at the path takes the order [positions], all of them

_CONTAINERS = (list, dict, set, tuple)
_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()


class Undo:
    """What takes one applied delta back, once. ``fitted`` is False when it had changed nothing."""

    __slots__ = ("fitted", "node", "op", "value", "where")

    def __init__(self, op: int, node: Any, where: Any, value: Any, fitted: bool = True) -> None:
        self.op = op
        self.node = node  # the path of the container
        self.where = where
        self.value = value  # what was there: a copy, for whoever holds a container may still change it
        self.fitted = fitted


_UNFIT = Undo(-1, (), None, None, fitted=False)


def apply(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply in place, at the cost of the change."""
    path = delta.path
    try:
        if len(path) == 1 and delta.op == SET:  # the common case
            name, value = path[0], delta.value
            before = state.get(name, _MISSING)
            if type(value) in SCALARS:
                if type(name) is not str:
                    return _UNFIT
                dict.__setitem__(state, name, value)
            else:
                dict.__setitem__(state, name, _adopted(state, unpack(value), state, name))
            return Undo(SET, (), name, before if type(before) in SCALARS else _copied(before))
        return _APPLY[delta.op](state, path, delta.value)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, ProtocolError):
        return _UNFIT


def revert(state: dict[str, Any], undo: Undo) -> None:
    """Take back what ``apply`` did, if nothing else has happened since."""
    if not undo.fitted:
        return
    node = _find(state, undo.node)
    where, value = undo.where, undo.value
    match undo.op:
        case op if op == SET and isinstance(node, list):
            list.__setitem__(node, where, _adopted(state, value, node, where))
        case op if op == SET:
            _restore(state, node, where, value)
        case op if op == SPLICE:
            start, stop = where
            items = [_adopted(state, each, node, start + offset) for offset, each in enumerate(value)]
            list.__setitem__(node, slice(start, stop), items)
        case op if op == REORDER:
            list.__setitem__(node, slice(None), [list.__getitem__(node, position) for position in value])
        case op if op == ADD:
            set.difference_update(node, value)
        case op if op == DISCARD:
            set.update(node, value)
        case _:
            for key, each in value.items():
                _restore(state, node, key, each)


def _restore(state: dict[str, Any], node: Any, key: Any, value: Any) -> None:
    if value is _MISSING:
        dict.pop(node, key, None)
    else:
        dict.__setitem__(node, key, _adopted(state, value, node, key))


def apply_copy(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply without changing any container that somebody may be looking at."""
    if len(delta.path) > 1 or delta.op not in (SET, DELETE):
        _replace_by_copy(state, delta)
    return apply(state, delta)


def rebase(
    state: dict[str, Any], mine: Sequence[tuple[Delta, Undo]], *foreign: Delta
) -> list[tuple[Delta, Undo]]:
    """Put ``foreign`` before ``mine``, which are applied but which the other side has not seen yet.

    Done aside, on copies of the attributes that ``foreign`` changes, which then take their places: nobody sees
    what is half done, and what ``mine`` did to other attributes stays as it is. Returns ``mine`` with new undos.
    """
    names = dict.fromkeys(delta.path[0] for delta in foreign if delta.path and type(delta.path[0]) is str)
    aside = {name: _copied(state[name]) for name in names if name in state}
    for delta, undo in reversed(mine):
        if delta.path[0] in names:
            revert(aside, undo)
    for delta in foreign:
        apply(aside, delta)
    redone = [(delta, apply(aside, delta) if delta.path[0] in names else undo) for delta, undo in mine]
    for name in names:
        if name in aside:
            _succeed(state, name, aside[name])
        else:
            dict.pop(state, name, None)
    return redone


def conflicts(later: Delta, unseen: Delta) -> bool:
    """Whether ``later``, written without knowing of ``unseen``, overwrites it (or what it was based on).

    Those that do not conflict may come in either order, but for the order of what both append.
    """
    if later.path == unseen.path:
        if later.op in (ADD, DISCARD) and unseen.op in (ADD, DISCARD):
            return later.op != unseen.op and any(each in unseen.value for each in later.value)
        if _appends(later) and _appends(unseen):
            return False
    elif (_appends(later) and _below(unseen, later)) or (_appends(unseen) and _below(later, unseen)):
        return False  # what is in a list stays where it is when something comes to its end
    return any(
        one[: len(other)] == other[: len(one)] for one in _touched(later) for other in _touched(unseen)
    )


def _appends(delta: Delta) -> bool:
    return delta.op == INSERT and delta.value[0] is None


def _below(inner: Delta, outer: Delta) -> bool:
    return len(inner.path) > len(outer.path) and inner.path[: len(outer.path)] == outer.path


def _touched(delta: Delta) -> list[tuple[Any, ...]]:
    """The paths at and below which the delta changes something."""
    if delta.op == UPDATE and delta.value:
        return [(*delta.path, key) for key, _ in delta.value]
    return [delta.path]


# -- finding --------------------------------------------------------------------------------------


def _find(state: Any, path: Sequence[Any]) -> Any:
    node = state
    for step in path:
        node = node[_key(step)]
    return node


def _key(step: Any) -> Any:
    return unpack(step) if type(step) not in (str, int) else step


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


def _adopted(state: Any, value: Any, parent: Any, key: Any) -> Any:
    adopt = getattr(state, "adopt", None)
    return adopt(value, parent, key) if adopt is not None and isinstance(value, _CONTAINERS) else value


def _replace_by_copy(state: dict[str, Any], delta: Delta) -> None:
    """Let a copy take the place of the attribute that the delta changes."""
    for name in delta.path[:1]:
        value = state.get(name) if type(name) is str else None
        if isinstance(value, _CONTAINERS):
            _succeed(state, name, _copied(value))


def _succeed(state: dict[str, Any], name: str, value: Any) -> None:
    """A value takes the place of one that somebody may still hold."""
    succeed = getattr(state, "succeed", None)
    if succeed is not None and isinstance(value, _CONTAINERS):
        succeed(name, value)
    else:
        dict.__setitem__(state, name, value)


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return list(value) if set(map(type, value)) <= SCALARS else [_copied(each) for each in value]
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, set):
        return set(value)
    if type(value) is tuple:
        return tuple(_copied(each) for each in value)
    return value


# -- the operations -------------------------------------------------------------------------------


def _set(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node, last = _find(state, path[:-1]), _key(path[-1])
    fresh = _adopted(state, unpack(value), node, last)
    if isinstance(node, list):
        before = _copied(list.__getitem__(node, last))
        list.__setitem__(node, last, fresh)
    elif isinstance(node, dict):
        before = _copied(node.get(last, _MISSING))
        dict.__setitem__(node, last, fresh)
    else:
        return _UNFIT
    return Undo(SET, path[:-1], last, before)


def _delete(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node, last = _find(state, path[:-1]), _key(path[-1])
    if not isinstance(node, dict) or last not in node:
        return _UNFIT
    stored = _stored(node, last)
    return Undo(SET, path[:-1], stored, _copied(dict.pop(node, last)))


def _insert(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    position, items = value
    size = len(_find(state, path))
    start = size if position is None else max(0, min(size, position + size if position < 0 else position))
    return _splice(state, path, [start, start, items])


def _splice(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    start, stop, items = value
    node = _find(state, path)
    if not isinstance(node, list):
        return _UNFIT
    start, stop, _ = slice(start, stop).indices(len(node))
    stop = max(start, stop)
    before = _copied(list.__getitem__(node, slice(start, stop)))
    fresh = [_adopted(state, unpack(each), node, start + offset) for offset, each in enumerate(items)]
    list.__setitem__(node, slice(start, stop), fresh)
    return Undo(SPLICE, path, (start, start + len(fresh)), before)


def _reorder(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if not isinstance(node, list) or sorted(value) != list(range(len(node))):
        return _UNFIT
    list.__setitem__(node, slice(None), [list.__getitem__(node, position) for position in value])
    return Undo(REORDER, path, None, sorted(range(len(value)), key=value.__getitem__))


def _add(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if not isinstance(node, set):
        return _UNFIT
    fresh = {unpack(each) for each in value} - node
    set.update(node, fresh)
    return Undo(ADD, path, None, fresh)


def _discard(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if not isinstance(node, set):
        return _UNFIT
    going = {_stored(node, each) for each in {unpack(each) for each in value} & node}
    set.difference_update(node, going)
    return Undo(DISCARD, path, None, going)


def _update(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if not isinstance(node, dict) or not path:
        return _UNFIT
    fresh = {unpack(key): unpack(each) for key, each in value}
    before = {key: _copied(node.get(key, _MISSING)) for key in fresh}
    dict.update(node, {key: _adopted(state, each, node, key) for key, each in fresh.items()})
    return Undo(UPDATE, path, None, before)


def _clear(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if isinstance(node, list):
        return _splice(state, path, [0, len(node), []])
    if isinstance(node, set):
        going = set(node)
        set.clear(node)
        return Undo(DISCARD, path, None, going)
    if not isinstance(node, dict) or not path:
        return _UNFIT
    before = _copied(node)
    dict.clear(node)
    return Undo(UPDATE, path, None, before)


_APPLY = {
    SET: _set,
    DELETE: _delete,
    INSERT: _insert,
    SPLICE: _splice,
    ADD: _add,
    DISCARD: _discard,
    UPDATE: _update,
    CLEAR: _clear,
    REORDER: _reorder,
}
