"""What a component of the flow means by a read, a write or a call: the binding of the runtime.

All requests are decided by the kernel at the point of the replay where they are made. A call that is not
finished ends the pass, by an exception that ordinary code does not catch; if it was caught all the same, the
next request raises it again.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from time import monotonic
from types import CodeType
from typing import Any

from lightning.app.config import Config
from lightning.app.core.arguments import arguments_of
from lightning.app.core.component import Component, Plain, refuse_large
from lightning.app.core.flow import LightningFlow, PassEnds
from lightning.app.core.tracebacks import OUR_FOLDER
from lightning.app.core.work import LightningWork
from lightning.app.errors import ComponentError, FlowError
from lightning.app.kernel.lifecycle import FINISHED
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import StatusRow
from lightning.app.kernel.passes import Passes, result
from lightning.app.kernel.schedule import Schedule
from lightning.app.kernel.size import FIXED
from lightning.app.kernel.values import Carried, pack
from lightning.app.runtime.tree import bind, made, origin_of, same_origin
from lightning.app.storage import home

LET_IN_EVERY = 0.001
"""Seconds within which a re-read attribute does not look for changes again."""


class Mirror:
    """The binding of all components in the runtime's process."""

    def __init__(self, passes: Passes, config: Config, let_in: Callable[[], None]) -> None:
        self.passes = passes
        self.config = config
        self.over: PassEnds | None = None  # the pass under way has ended
        self.over_at = ""
        self.in_pass = False
        self.rereads = 0  # since the pass began, or last went on in a new turn
        self.let_in_every = LET_IN_EVERY
        self._let_in = let_in
        self._thread = threading.get_ident()
        self._reads: set[tuple[int, str, CodeType, int]] = set()
        self._looked = 0.0
        self._schedules: dict[str, Schedule] = {}

    # -- a pass -----------------------------------------------------------------------------------

    def begin_pass(self) -> None:
        self.over = None
        self.in_pass = True
        home.rest(False)
        self.rereads = 0
        self._reads.clear()
        self._looked = monotonic()

    def end_pass(self) -> None:
        self.in_pass = False
        home.rest(True)

    def interrupt(self, why: str) -> PassEnds:
        """The pass is over: every further request of it says so."""
        self.over = PassEnds(why)
        return self.over

    def refuse_caught(self) -> None:
        """The user's ``run`` has come to its end: not by catching what had ended the pass."""
        if self.over is not None:
            raise FlowError(
                f"the pass had ended at {self.over_at} ({self.over}), but the exception that said so was caught: "
                "write `except Exception:` instead of a bare `except:` or `except BaseException:`"
            )

    def _check(self, component: Component) -> None:
        if self.over is not None:
            raise self.over
        if threading.get_ident() != self._thread:
            raise FlowError(
                f"{component._where} was used from another thread: a flow acts in run only; "
                "put what takes long into a work"
            )

    # -- attributes -------------------------------------------------------------------------------

    def change(self, component: Component, delta: Delta) -> None:
        self._check(component)
        if type(delta.value) not in FIXED:
            refuse_large(component, delta)
        self.passes.write(component._path, delta)

    def read(self, component: Component, name: str) -> None:
        if not self.in_pass:
            return
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(OUR_FOLDER):
            frame = frame.f_back
        # From the same place: a loop that waits. `if w.x: use(w.x)` must see one value.
        key = (id(component), name, frame.f_code, frame.f_lasti)
        if key not in self._reads:
            self._reads.add(key)
            return
        self.rereads += 1
        if monotonic() - self._looked >= self.let_in_every and threading.get_ident() == self._thread:
            self._let_in()
            self._looked = monotonic()
            if self.over is not None:
                raise self.over

    # -- calls ------------------------------------------------------------------------------------

    def run(self, work: LightningWork, /, *args: Any, **kwargs: Any) -> Any:
        self._check(work)
        path = work._path
        arguments = arguments_of(type(work).run)
        key, packed, named, deferred = arguments.recognise(path, args, kwargs)
        settle = partial(arguments.settle, path, packed, named, carried) if deferred else None
        call = self.passes.call(path, key, packed, named, settle)
        if call is None:
            return None
        if call.story[-1] in FINISHED:
            return result(call)
        if work._parallel:
            return None
        raise self._ended(f"{path}.run is not finished")

    def _ended(self, why: str) -> PassEnds:
        caller = sys._getframe(2)
        self.over_at = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        return self.interrupt(why)

    def start(self, work: LightningWork) -> None:
        self._check(work)
        self.passes.start_work(work._path)

    def stop(self, work: LightningWork) -> None:
        self._check(work)
        self.passes.stop_work(work._path)

    def statuses(self, work: LightningWork) -> list[StatusRow]:
        self.read(work, "status")
        life = self.passes.model.works.get(work._path)
        return list(life.statuses) if life is not None else []

    def counts(self, work: LightningWork) -> tuple[int, int, int]:
        self.read(work, "status")
        life = self.passes.model.works[work._path]
        return life.successes, life.failures, life.timeouts

    # -- the flow's own ---------------------------------------------------------------------------

    def schedule(self, flow: LightningFlow, line: str, start: datetime | None, user_key: str | None) -> bool:
        self._check(flow)
        schedule = self._schedules.get(line)
        if schedule is None:
            schedule = self._schedules[line] = Schedule.parse(line, self.config.timezone)
        began = schedule.instant(start) if start is not None else None
        key = f"{flow._path}|{line}|{'' if began is None else began}|{user_key or ''}"
        return self.passes.schedule(key, flow._path, schedule, began)

    def cursor(self, flow: LightningFlow, key: str) -> int:
        self._check(flow)
        return self.passes.cursor(flow._path, key)

    def move_cursor(self, flow: LightningFlow, key: str, index: int) -> None:
        self._check(flow)
        self.passes.move_cursor(flow._path, key, index)

    def end(self, flow: LightningFlow, code: int, message: str) -> None:
        self._check(flow)
        self.passes.end(code, "failed" if code else "stopped", message, flow._path)
        raise self._ended("the app ends")

    # -- the tree ---------------------------------------------------------------------------------

    def attach(self, parent: Component, name: str, child: Component) -> Component:
        self._check(parent)
        where = f"{parent._path}.{name}"
        old = parent._children.get(name)
        if old is not None:
            if same_origin(old, child, where):
                return old
            self.detach(parent, name)
            parent._release(name)
        parent._adopt(name, child)
        try:
            facts = [made(child, self.config, origin_of(child, where))]
            for each in list(child._walk())[1:]:
                inside = (
                    each._parent is not None
                    and each._parent._kind == "structure"
                    and child._kind == "structure"
                )
                facts.append(made(each, self.config, origin_of(each, each.name) if inside else None))
        except BaseException:
            parent._release(name)
            raise
        for fact in facts:
            self.passes.make(fact)
        for each in child._walk():
            bind(each, self, self.passes.model)
        return child

    def detach(self, parent: Component, name: str) -> None:
        self._check(parent)
        child = parent._children[name]
        self.passes.delete(child._path)
        for each in child._walk():
            each._binding = DELETED
            if isinstance(each, LightningWork):
                each._bind(DELETED, records=True)


class Deleted(Plain):
    """What is left of a component that was taken out of the tree: its values can be read."""

    def run(self, work: LightningWork, /, *args: Any, **kwargs: Any) -> Any:
        raise ComponentError(
            f"{work._path}.run(...): this work was deleted or replaced; use the one in its place"
        )

    def start(self, work: LightningWork) -> None:
        self.run(work)


DELETED = Deleted()


def carried(key: str, value: Any) -> Any:
    """A large argument, packed as a pointer to it."""
    from lightning.app.storage.payload import Payload  # most runs have none

    return pack(Carried(key, Payload(value)))
