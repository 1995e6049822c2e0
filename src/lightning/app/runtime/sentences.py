"""Facts in the words of who wrote the app: ``root.train.run('gpu')``, ``root.count = 3``."""

from __future__ import annotations

import sys
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import ADD, CLEAR, DELETE, DISCARD, INSERT, REORDER, SET, SPLICE, UPDATE
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import unpack

LONGEST = 120
"""Characters of one value that are shown."""


def shown(packed: Any, most: int = LONGEST) -> str:
    """A packed value as Python would write it, cut where it is long."""
    return cut(repr(unpack(packed)), most)


def cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."


def place(path: str, steps: tuple[Any, ...]) -> str:
    """Where a delta applies: ``root.train.losses[3]``.

    >>> place("root.train", ("table", "a"))
    "root.train.table['a']"
    """
    return f"{path}.{steps[0]}" + "".join(f"[{shown(step)}]" for step in steps[1:])


def change(path: str, delta: Delta, most: int = LONGEST) -> str:
    """A change of state as the line of Python that makes it.

    >>> change("root.train", Delta(INSERT, ("losses",), [None, [0.3]]))
    'root.train.losses.append(0.3)'
    """
    at, value = place(path, delta.path), delta.value
    if not _fits(delta):
        return f"{at}: a change that fits nothing"
    if delta.op == INSERT:
        position, items = value
        if position is not None:
            return f"{at}[{position}:{position}] = {shown(items, most)}"
        one = len(items) == 1
        return f"{at}.append({shown(items[0], most)})" if one else f"{at}.extend({shown(items, most)})"
    if delta.op == SPLICE:
        start, stop, items = value
        return f"{at}[{start}:{stop}] = {shown(items, most)}" if items else f"del {at}[{start}:{stop}]"
    return _CHANGES[delta.op].format(at=at, value=shown(value, most))


_CHANGES = {
    SET: "{at} = {value}",
    DELETE: "del {at}",
    ADD: "{at} |= {value}",
    DISCARD: "{at} -= {value}",
    UPDATE: "{at}.update({value})",
    CLEAR: "{at}.clear()",
    REORDER: "{at} put into the order {value}",
}


def _fits(delta: Delta) -> bool:
    """Whether the value has the form that its operation asks for; what has not changes nothing."""
    size = {INSERT: 2, SPLICE: 3}.get(delta.op)
    if size is None:
        return delta.op in _CHANGES
    return isinstance(delta.value, list) and len(delta.value) == size and isinstance(delta.value[-1], list)


def call(path: str, args: list[Any], kwargs: dict[str, Any], most: int = LONGEST) -> str:
    """
    >>> call("root.train", ["gpu"], {"epochs": 3})
    "root.train.run('gpu', epochs=3)"
    """
    return f"{path}.run({_arguments(args, kwargs, most)})"


def _arguments(args: list[Any], kwargs: dict[str, Any], most: int) -> str:
    words = [shown(each, most) for each in args]
    words += [f"{name}={shown(each, most)}" for name, each in kwargs.items()]
    return cut(", ".join(words), most)


def asked(fact: f.Fact, most: int = LONGEST) -> str:
    """What the flow asked for, as the line of its ``run`` that does."""
    match fact:
        case f.Called():
            again = f", because of the schedule {_schedules(fact.tick)}" if fact.tick else ""
            return call(fact.path, fact.args, fact.kwargs, most) + again
        case f.Wrote():
            return change(fact.path, fact.delta, most)
        case f.Made():
            return f"{fact.path} = {made(fact, most)}"
        case f.Deleted():
            return f"del {fact.path}"
        case f.StartAsked():
            return f"{fact.path}.start()"
        case f.StopAsked():
            return f"{fact.path}.stop()"
        case f.Ticked():
            return schedule(fact) + (" is true" if fact.active else " is not due")
        case f.CursorMoved():
            return f"{fact.path}: the loop of experimental_iterate is at item {fact.index}"
        case f.PassCompleted():
            return "the pass gets through" + (
                f", after {len(fact.reached)} calls" if fact.reached is not None else ""
            )
        case f.EndAsked():
            return ended(fact)
    return type(fact).__name__


def apart(recorded: f.Fact, fact: f.Fact) -> tuple[str, str]:
    """Both in words that differ: where they are long, what is shown is the part that does."""
    one, other = asked(recorded), asked(fact)
    if one != other:
        return one, other
    one, other = asked(recorded, sys.maxsize), asked(fact, sys.maxsize)
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if one == other:  # what tells them apart has no words of its own: an argument's content, a number
        return f"{cut(one)}, {fact_of(recorded)}", f"{cut(other)}, {fact_of(fact)}"
    head = one[:40] + " ... " if same > 80 else one[: same - 40 if same > 40 else 0]
    begin = same - 40 if same > 80 else len(head)
    return head + cut(one[begin:]), head + cut(other[begin:])


def fact_of(fact: f.Fact) -> str:
    """What an ordinary sentence leaves out."""
    match fact:
        case f.Called():
            return f"call {fact.number} with the key {fact.key.hex()}"
        case f.Made():
            return f"{fact.options} with {fact.state}"
    return cut(str(fact))


def joined(fact: f.Fact) -> str:
    """What the app's code now makes of a tree that was recorded."""
    match fact:
        case f.Deleted():
            return f"no {fact.path}"
        case f.Configured():
            return f"{fact.path} with {fact.options}"
        case f.Rebound():
            return call(fact.path, fact.args, fact.kwargs) + f" for call {fact.number}"
    return asked(fact)


def made(fact: f.Made, most: int = LONGEST) -> str:
    """``Train('gpu')`` for a component; its arguments are known where ``run`` made it."""
    name = fact.cls.rpartition(":")[2]
    if fact.kind == "structure":
        return f"{name}()"
    return f"{name}({'...' if fact.origin is None else _arguments(fact.origin[1], fact.origin[2], most)})"


def schedule(fact: f.Ticked) -> str:
    path, line, *_ = fact.key.split("|")
    return f"{path}.schedule({line!r})"


def ended(fact: f.EndAsked) -> str:
    told = f"({fact.message!r})" if fact.message else "()"
    if fact.raised:
        return f"{fact.path}.run raises {fact.message}"
    if "sys.exit" in fact.message:
        return fact.message
    return f"{fact.path}.{'fail' if fact.code else 'stop'}{told}"


def _schedules(tick: str) -> str:
    return ", ".join(repr(each.split("|")[1]) for each in tick.split(";"))
