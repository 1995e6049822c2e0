"""A flow: a plain method, replayed from the top on every change, that orchestrates works."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from lightning.app.core.component import Component
from lightning.app.core.options import options_checked
from lightning.app.core.work import LightningWork, works_of
from lightning.app.errors import FlowError, ScheduleError


class PassEnds(BaseException):
    """The pass ends here: a call is not finished, or the app is over. Not an error, and not to be caught."""


class LightningFlow(Component):
    """Subclass it, make works and flows in ``__init__``, and call them in ``run``."""

    _kind = "flow"

    @options_checked("a flow")
    def __init__(self) -> None:
        pass

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Replayed from the top whenever something changed."""
        raise NotImplementedError(f"{type(self).__name__} needs a method: def run(self)")

    # -- steering ---------------------------------------------------------------------------------

    def stop(self, msg: str = "") -> None:
        """End the app, exit code 0. Nothing after this line runs."""
        self._binding.end(self, 0, msg)

    def fail(self, msg: str = "") -> None:
        """End the app, exit code 1. Nothing after this line runs."""
        self._binding.end(self, 1, msg)

    def schedule(self, cron: str, start_time: datetime | None = None, user_key: str | None = None) -> bool:
        """True on the first pass that comes here, then once per tick, until a pass gets through.

        ``cron`` is a name (``hourly``, ``daily``, ...) or a cron line of five or six fields.
        """
        if start_time is not None and not isinstance(start_time, datetime):
            raise ScheduleError(
                f"{self._where}.schedule({cron!r}, start_time={start_time!r}): it is a datetime, such as "
                "datetime(2030, 1, 31, 9)"
            )
        return self._binding.schedule(self, cron, start_time, user_key)

    def experimental_iterate(
        self, iterable: Iterable[Any], run_once: bool = True, user_key: str = ""
    ) -> Iterator[Any]:
        """Go through ``iterable`` over many passes: an item is behind once the loop's body got through."""
        key = user_key
        if not key:
            caller = sys._getframe(1)
            key = f"{caller.f_code.co_qualname}:{caller.f_lineno - caller.f_code.co_firstlineno}"
        items = list(iterable)
        index = self._binding.cursor(self, key)
        while index < len(items):
            yield items[index]
            index += 1
            self._binding.move_cursor(self, key, index)
        if items and not run_once:
            self._binding.move_cursor(self, key, 0)

    # -- what a page, a command or a client sees --------------------------------------------------

    def configure_layout(self) -> Any:
        """What the page shows for this flow: a frontend, a dict, or a list of tabs. None: nothing of its own."""
        return None

    def configure_commands(self) -> Any:
        """Commands for the command line: ``[{"name": method}]``."""
        return []

    def configure_api(self) -> Any:
        """Routes of the app's own."""
        return []

    # -- the tree ---------------------------------------------------------------------------------

    @property
    def flows(self) -> dict[str, LightningFlow]:
        """The flows directly below, by name."""
        return {each._name: each for each in _direct(self) if isinstance(each, LightningFlow)}

    def works(self, recurse: bool = True) -> list[LightningWork]:
        """The works below; only those of this flow itself without ``recurse``."""
        return works_of(self._walk() if recurse else _direct(self))

    @property
    def named_works(self) -> list[tuple[str, LightningWork]]:
        """The works below, each with its path."""
        return [(work.name, work) for work in self.works()]

    # -- state ------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """All state from here down: ``{"vars": ..., "flows": ..., "works": ..., "structures": ...}``."""
        return state_of(self)

    def state_dict(self) -> dict[str, Any]:
        """The same as ``state``: plain values that can be stored."""
        return state_of(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set state from what ``state_dict`` gave. Components that it names must be there."""
        load_state(self, state_dict)


_GROUPS = {"flow": "flows", "work": "works", "structure": "structures"}


def _direct(component: Component) -> Iterator[Component]:
    """The components of a flow itself: its children, and the members of its structures."""
    for child in component._children.values():
        if child._kind == "structure":
            yield from _direct(child)
        else:
            yield child


def state_of(component: Component) -> dict[str, Any]:
    from copy import deepcopy

    told: dict[str, Any] = {"vars": deepcopy(dict(component._state))}
    if component._kind != "work":
        told |= {group: {} for group in _GROUPS.values()}
        for name, child in component._children.items():
            told[_GROUPS[child._kind]][name] = state_of(child)
    return told


def load_state(component: Component, state: dict[str, Any]) -> None:
    if not isinstance(state, dict):
        raise FlowError(
            f"load_state_dict: what state_dict gave is a dictionary, not a {type(state).__name__}"
        )
    for name, value in state.get("vars", {}).items():
        setattr(component, name, value)
    for group in _GROUPS.values():
        for name, below in state.get(group, {}).items():
            if name not in component._children:
                raise FlowError(
                    f"load_state_dict: {component._where} has no component {name!r}; make it first"
                )
            load_state(component._children[name], below)
