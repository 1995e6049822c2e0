"""Time as a recorded run had it, for the user's code while it is replayed. Nothing of this touches a real run.

``time_machine`` turns the clocks of ``time`` and ``datetime`` below Python, so that every copy of a function,
wherever it was imported, tells the recorded time. What it leaves alone is put in place here: the clocks that
measure intervals, and ``sleep``, which moves the recorded time on instead of waiting.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import ModuleType, TracebackType
from typing import Any, Self

import time_machine

_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(time, name)
    for name in ("sleep", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
}


class RecordedTime:
    """While entered, the time is what ``move`` said, and goes on from there.

    >>> with RecordedTime() as clock:
    ...     clock.move(1000.0)
    ...     time.sleep(3600)
    ...     time.time() // 1
    4600.0
    """

    def __init__(self, slept: Callable[[float], None] = lambda seconds: None) -> None:
        self._slept = slept
        self._travel = time_machine.travel(0.0, tick=True)
        self._traveller: time_machine.Traveller | None = None
        self._latest = 0  # of the clocks that never go back, in nanoseconds
        self._replaced: list[tuple[ModuleType, str, Any]] = []
        self._place = {
            _REAL["sleep"]: self._sleep,
            _REAL["monotonic"]: self._seconds,
            _REAL["perf_counter"]: self._seconds,
            _REAL["monotonic_ns"]: self._nanoseconds,
            _REAL["perf_counter_ns"]: self._nanoseconds,
        }

    def __enter__(self) -> Self:
        self._traveller = self._travel.start()
        self.reach([time])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._travel.stop()
        self._traveller = None
        for module, name, real in reversed(self._replaced):
            setattr(module, name, real)
        self._replaced.clear()

    def reach(self, modules: Iterable[ModuleType]) -> None:
        """Put these clocks in the place of those that the modules have imported by name."""
        for module in modules:
            for name, value in list(vars(module).items()):
                try:
                    ours = self._place.get(value)
                except TypeError:  # not hashable, so no function
                    continue
                if ours is not None:
                    self._replaced.append((module, name, value))
                    setattr(module, name, ours)

    def reach_modules_of(self, classes: Iterable[type]) -> None:
        names = {each.__module__ for cls in classes for each in cls.__mro__}
        self.reach(
            sys.modules[name]
            for name in names
            if name in sys.modules and name not in sys.stdlib_module_names and name != "builtins"
        )

    def move(self, at: float) -> None:
        """It is ``at``, seconds since 1970."""
        assert self._traveller is not None
        self._traveller.move_to(at)

    def _sleep(self, seconds: float, /) -> None:
        if self._traveller is None:  # the app kept it beyond the replay
            _REAL["sleep"](seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self._traveller.shift(float(seconds))
        self._slept(float(seconds))

    def _nanoseconds(self) -> int:
        if self._traveller is None:
            return int(_REAL["monotonic_ns"]())
        self._latest = max(self._latest, self._traveller.time_ns())
        return self._latest

    def _seconds(self) -> float:
        return self._nanoseconds() / 1e9
