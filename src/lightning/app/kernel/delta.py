"""Changes of state: how one is applied, taken back, and brought into an order that another decided.

A ``Delta`` has an operation, a path and a packed value. ``path[0]`` is an attribute; the further steps are
dictionary keys (packed) or list positions. Every change of anybody's state goes through ``apply``, so that all
who apply the same deltas in the same order hold the same state. A delta that no longer fits what is there
changes nothing, everywhere alike.

Containers are changed through the methods of the base classes: tracked containers record nothing of it. If
the state has an ``adopt``, every container that is put in goes through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import unpack

SET = 0  # an attribute, a key or a position becomes the value
DELETE = 1  # an attribute, a key or a position goes
INSERT = 2  # the list at the path takes [position or None for the end, [items]]
SPLICE = 3  # the list at the path replaces [start, stop, [items]]
ADD = 4  # the set at the path takes the items
DISCARD = 5  # the set at the path loses the items
UPDATE = 6  # the dictionary at the path takes [[key, value], ...]
CLEAR = 7  # the container at the path becomes empty

_MERGING = {
    (INSERT, INSERT),
    (ADD, ADD),
    (DISCARD, DISCARD),
    (ADD, DISCARD),
    (DISCARD, ADD),
    (UPDATE, UPDATE),
}
_CONTAINERS = (list, dict, set, tuple)
_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()


class Undo:
    """What takes one applied delta back. ``fitted`` is False when it had changed nothing."""

    __slots__ = ("fitted", "node", "op", "value", "where")

    def __init__(self, op: int, node: Any, where: Any, value: Any, fitted: bool = True) -> None:
        self.op = op
        self.node = node  # the path of the container
        self.where = where
        self.value = value
        self.fitted = fitted


_UNFIT = Undo(-1, (), None, None, fitted=False)


def apply(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply in place, at the cost of the change."""
    path = delta.path
    if len(path) == 1 and delta.op == SET:  # the common case
        name = path[0]
        before = state.get(name, _MISSING)
        value = delta.value
        kind = type(value)
        if kind is int or kind is float or kind is str or kind is bool or value is None:
            dict.__setitem__(state, name, value)
        else:
            dict.__setitem__(state, name, _adopted(state, unpack(value), state, name))
        return Undo(SET, (), name, before)
    try:
        return _APPLY[delta.op](state, path, delta.value)
    except (LookupError, TypeError, ValueError, AttributeError):
        return _UNFIT


def revert(state: dict[str, Any], undo: Undo) -> None:
    """Take back what ``apply`` did, if nothing else has happened since. What returns, returns as a copy."""
    if not undo.fitted:
        return
    node = _find(state, undo.node)
    where, value = undo.where, undo.value
    match undo.op:
        case op if op == SET and isinstance(node, list):
            list.__setitem__(node, where, _returned(state, value, node, where))
        case op if op == SET:
            _restore(state, node, where, value)
        case op if op == SPLICE:
            start, stop = where
            items = [_returned(state, each, node, start + offset) for offset, each in enumerate(value)]
            list.__setitem__(node, slice(start, stop), items)
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
        dict.__setitem__(node, key, _returned(state, value, node, key))


def _returned(state: dict[str, Any], value: Any, parent: Any, key: Any) -> Any:
    return _adopted(state, _copied(value), parent, key)


def apply_copy(state: dict[str, Any], delta: Delta) -> Undo:
    """Apply without changing any container that somebody may be looking at."""
    if len(delta.path) > 1 or delta.op not in (SET, DELETE):
        _replace_by_copy(state, delta.path[0])
    return apply(state, delta)


def rebase(
    state: dict[str, Any], mine: Sequence[tuple[Delta, Undo]], *foreign: Delta
) -> list[tuple[Delta, Undo]]:
    """Put ``foreign`` before ``mine``, which are applied but which the other side has not seen yet.

    Done aside, on copies, which then take the places of the attributes: nobody sees what is half done.
    Attributes are independent: of ``mine`` only what is about those of ``foreign`` is needed. Returns ``mine``
    with new undos.
    """
    names = dict.fromkeys(delta.path[0] for delta in (*foreign, *(delta for delta, _ in mine)))
    aside = {name: _copied(state[name]) for name in names if name in state}
    for _, undo in reversed(mine):
        revert(aside, undo)
    for delta in foreign:
        apply(aside, delta)
    redone = [(delta, apply(aside, delta)) for delta, _ in mine]
    for name in names:
        if name in aside:
            _succeed(state, name, aside[name])
        else:
            dict.pop(state, name, None)
    return redone


def conflicts(later: Delta, unseen: Delta) -> bool:
    """Whether ``later``, written without knowing of ``unseen``, overwrites it (or what it was based on)."""
    if (later.op, unseen.op) in _MERGING and later.path == unseen.path:
        if later.op == UPDATE:
            keys = {_hashable(key) for key, _ in later.value}
            return any(_hashable(key) in keys for key, _ in unseen.value)
        if later.op != unseen.op:
            return any(each in unseen.value for each in later.value)
        return later.op == INSERT and not (later.value[0] is None and unseen.value[0] is None)
    shorter = min(len(later.path), len(unseen.path))
    return later.path[:shorter] == unseen.path[:shorter]


# -- finding --------------------------------------------------------------------------------------


def _find(state: Any, path: Sequence[Any]) -> Any:
    node = state
    for step in path:
        node = node[_key(step)]
    return node


def _key(step: Any) -> Any:
    return unpack(step) if type(step) not in (str, int) else step


def _hashable(key: Any) -> Any:
    return (type(key), key.code, key.data) if hasattr(key, "code") else (type(key), key)


def _adopted(state: Any, value: Any, parent: Any, key: Any) -> Any:
    adopt = getattr(state, "adopt", None)
    return adopt(value, parent, key) if adopt is not None and isinstance(value, _CONTAINERS) else value


def _replace_by_copy(state: dict[str, Any], name: str) -> None:
    value = state.get(name)
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
        return [_copied(each) for each in value]
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
    if isinstance(node, list):
        before = node[last]
        list.__setitem__(node, last, _adopted(state, unpack(value), node, last))
        return Undo(SET, path[:-1], last, before)
    if not isinstance(node, dict):
        return _UNFIT
    before = node.get(last, _MISSING)
    dict.__setitem__(node, last, _adopted(state, unpack(value), node, last))
    return Undo(SET, path[:-1], last, before)


def _delete(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node, last = _find(state, path[:-1]), _key(path[-1])
    if isinstance(node, list):
        size = len(node)
        position = last + size if last < 0 else last
        before = node[position]
        list.__delitem__(node, position)
        return Undo(SPLICE, path[:-1], (position, position), [before])
    if not isinstance(node, dict) or last not in node:
        return _UNFIT
    before = node[last]
    dict.__delitem__(node, last)
    return Undo(SET, path[:-1], last, before)


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
    before = list.__getitem__(node, slice(start, stop))
    fresh = [_adopted(state, unpack(each), node, start + offset) for offset, each in enumerate(items)]
    list.__setitem__(node, slice(start, stop), fresh)
    return Undo(SPLICE, path, (start, start + len(fresh)), before)


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
    going = {unpack(each) for each in value} & node
    set.difference_update(node, going)
    return Undo(DISCARD, path, None, going)


def _update(state: dict[str, Any], path: tuple[Any, ...], value: Any) -> Undo:
    node = _find(state, path)
    if not isinstance(node, dict) or not path:
        return _UNFIT
    before: dict[Any, Any] = {}
    for packed_key, each in value:
        key = unpack(packed_key)
        before.setdefault(key, node.get(key, _MISSING))
        dict.__setitem__(node, key, _adopted(state, unpack(each), node, key))
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
    before = dict(node)
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
}
