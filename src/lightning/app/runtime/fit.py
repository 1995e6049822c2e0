"""Whether a run that is resumed still fits the app's code: what no longer fits, in words, and how it is told.

The rules, which ``docs/resuming.md`` tells to users: what can go on, goes on. New attributes and children appear,
attributes that the code no longer sets stay, children that it no longer makes are deleted, options are the
code's, defaults are the run's. What cannot go on is a ``Misfit``. All of them are found before anything is
recorded, so that a refused run stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import isfunction
from typing import Any, NamedTuple

from lightning.app.core.arguments import arguments_of
from lightning.app.core.component import Component, Default, _class_attribute
from lightning.app.core.work import LightningWork
from lightning.app.errors import CallError, UnfitError
from lightning.app.kernel.facts import Rebound
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.model import Call, WorkLife
from lightning.app.kernel.values import SCALARS, Unresolved, unpack

_DIGEST = 16
"""Bytes of a key that stand for the arguments; what follows is the occurrence of an uncached call."""


class Misfit(NamedTuple):
    """Something of the run for which the code has no place."""

    place: str  # "root.train.loss"
    has: str  # what the run has there
    code: str  # what the code has

    def __str__(self) -> str:
        return f"{self.place}: the run has {self.has}, the code has {self.code}"


def unfit(misfits: Sequence[Misfit]) -> UnfitError:
    """The error that names them all, with the choice."""
    listed = "".join(f"\n  {each}" for each in misfits)
    return UnfitError(
        f"the run does not fit the app's code any more:{listed}\n"
        "To go on without that: add --drop-unfit (what is left behind is recorded). To start anew: leave out "
        "--resume. Until then the run stays as it was"
    )


def code_changes(before: Mapping[str, str], now: Mapping[str, str], since: str) -> str:
    """One line on the files that changed, each given with its hash; "" when none did.

    >>> code_changes({"app.py": "1"}, {"app.py": "2"}, "this run was interrupted")
    'app.py changed since this run was interrupted: going on with the new code'
    """
    told = []
    for verb, names in (
        ("changed", [name for name in now if name in before and before[name] != now[name]]),
        ("came", [name for name in now if name not in before]),
        ("went", [name for name in before if name not in now]),
    ):
        if names:
            told.append(f"{', '.join(sorted(names))} {verb}")
    return f"{', '.join(told)} since {since}: going on with the new code" if told else ""


def unresolved(value: Any) -> Unresolved | None:
    """The first part of a value whose class the code does not have, or has otherwise."""
    if type(value) in SCALARS:
        return None
    if isinstance(value, Unresolved):
        return value
    return next((found for part in _parts(value) if (found := unresolved(part)) is not None), None)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        if not set(map(type, value)) <= SCALARS:
            yield from value
    elif is_dataclass(value):
        for each in fields(value):
            yield getattr(value, each.name)


def taken(component: Component, name: str) -> str:
    """What the code has under that name where a run would keep a value; "" when a value may be there."""
    if name in component._children:
        child = component._children[name]
        return f"a {child._kind} ({type(child).__name__})"
    return taken_by_class(component, name)


def taken_by_class(component: Component, name: str) -> str:
    """What the class has under that name and neither a value nor a child can replace."""
    if component._kind == "structure" or name in component._state:
        return ""
    found = _class_attribute(type(component), name)
    if found is None or isinstance(found, Default):
        return ""
    return f"a {'method' if isfunction(found) else type(found).__name__} of {type(component).__name__}"


def misfits_of_calls(work: LightningWork, life: WorkLife) -> Iterator[tuple[Misfit, Call]]:
    """The calls that the code can no longer run, and the results that it can no longer read."""
    for call in list(life.latest.values()):
        place = f"{work.name}.run, call {call.number}"
        if call.phase is Phase.SUCCEEDED:
            if type(call.value) not in SCALARS and (lost := unresolved(unpack(call.value))) is not None:
                yield Misfit(place, f"a result with a value of {lost.name}", _lost(lost)), call
        elif _may_run(call, life):
            args, kwargs = _opened(call)
            lost = unresolved([args, kwargs])
            if lost is not None:
                yield Misfit(place, f"an argument with a value of {lost.name}", _lost(lost)), call
                continue
            try:
                arguments_of(type(work).run).bind(work.name, tuple(args), kwargs)
            except CallError as err:
                given = ", ".join(
                    [*(f"{each!r:.40}" for each in args), *(f"{k}={v!r:.40}" for k, v in kwargs.items())]
                )
                signature = arguments_of(type(work).run).signature
                code = f"{type(work).__name__}.run{signature}, which refuses them"
                if _counts(work, args, kwargs):
                    code = str(err)
                yield Misfit(place, f"the arguments ({given})", code), call


def _counts(work: LightningWork, args: list[Any], kwargs: dict[str, Any]) -> bool:
    """Whether ``run`` takes so many arguments, of these names."""
    try:
        arguments_of(type(work).run).signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def rebound(work: LightningWork, life: WorkLife) -> Iterator[Rebound]:
    """The unfinished calls that the same arguments no longer name, ``run`` having got another signature.

    Without this the flow, asking for the same call, would not know it, and it would run twice.
    """
    for call in list(life.latest.values()):
        if _may_run(call, life):
            args, kwargs = _opened(call)
            key, packed, named = arguments_of(type(work).run).bind(work.name, tuple(args), kwargs)
            key += call.key[_DIGEST:]
            if key != call.key and key not in life.latest:
                yield Rebound(work.name, call.number, key, packed, named)


def _may_run(call: Call, life: WorkLife) -> bool:
    """A resumed run takes up again what did not finish, and the failure that ended it."""
    if call.phase is Phase.FAILED:
        return life.options.raise_exception
    return call.phase in (Phase.WAITING, Phase.RUNNING)


def _opened(call: Call) -> tuple[list[Any], dict[str, Any]]:
    return [unpack(each) for each in call.args], {name: unpack(each) for name, each in call.kwargs.items()}


def _lost(value: Unresolved) -> str:
    return f"no {value.name} that could be it"


def misfit_of_value(place: str, value: Any) -> Misfit | None:
    """A value of which a part is of a class that is gone, or has lost a member or a field."""
    lost = unresolved(value)
    return None if lost is None else Misfit(place, f"a value of {lost.name}", _lost(lost))
