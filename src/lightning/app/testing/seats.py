"""Where an engine is put to the test: works that do all kinds of things, and the runtime's end of each."""

from __future__ import annotations

import select
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from lightning.app.core.arguments import arguments_of
from lightning.app.core.work import LightningWork
from lightning.app.engines.engine import Engine, Exited, Placement, Report, Started, Worker
from lightning.app.errors import ChannelClosed
from lightning.app.kernel import delta as d
from lightning.app.kernel import messages as m
from lightning.app.kernel.values import pack, unpack
from lightning.app.runtime.perform import pickle_work

PATIENCE = 30.0
"""Seconds after which what has not happened will not happen."""

Said = TypeVar("Said", bound=m.Message)
MakeEngine = Callable[[Report], Engine]

# In a file of their own, as an app's: so that tracebacks show it, and a new Python can import it.
WORKS = '''
import heapq
import os
import sys
import threading

import lightning.app as L


class Plain(L.LightningWork):
    """Does what it is told."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.x = 0
        self.items = [3, 1, 2]
        self.table = {"a": [1], "b": {"c": 1}}
        self.seen = set()
        self._private = "kept"

    def run(self, do="nothing", *args, **kwargs):
        return getattr(self, "do_" + do)(*args, **kwargs)

    def do_nothing(self):
        pass

    def do_echo(self, *args, **kwargs):
        return [*args, kwargs]

    def do_give_real_part(self, number):
        return number.real

    def do_private(self):
        return self._private

    def do_count(self, upto):
        for number in range(1, upto + 1):
            self.x = number

    def do_change_all(self):
        self.items.append(4)
        self.items.sort()
        self.table["b"]["d"] = [1]
        self.table["b"]["d"].append(2)
        self.seen.add("here")
        del self.table["a"]
        self.fresh = (1, 2)

    def do_add_up(self, times):
        for number in range(times):
            self.items.append(number)
            self.table["b"]["c"] += 1
        return sorted(self._state)

    def do_state(self):
        return {name: value for name, value in self._state.items()}

    def do_call_id(self):
        return [self.call_id, self.status.RUNNING]

    def do_fail(self, message="this went wrong"):
        raise ValueError(message)

    def do_fail_with_half_a_character(self):
        raise ValueError("half " + chr(0xD800))

    def do_set_half_a_character(self):
        self.x = "half " + chr(0xD800)

    def do_return_half_a_character(self):
        return "half " + chr(0xD800)

    def do_use_half_a_character_as_a_key(self):
        self.table["half " + chr(0xD800)] = 1

    def do_fail_twice(self):
        try:
            self.do_fail("first")
        except ValueError as error:
            raise KeyError("second") from error

    def do_fail_in_a_group(self):
        raise ExceptionGroup("many", [ValueError("one"), TypeError("two")])

    def do_set_what_cannot_be_set(self):
        self.x = object()

    def do_exit(self, code=3):
        sys.exit(code)

    def do_recurse(self):
        return self.do_recurse()

    def do_want_too_much(self):
        return bytearray(1 << 60)

    def do_return_an_object(self):
        return object()

    def do_return(self, size):
        return b"x" * size

    def do_print(self, lines):
        for number in range(lines):
            print("line", number)
        print("and an error", file=sys.stderr)

    def do_push(self):
        heapq.heapify(self.items)
        heapq.heappush(self.items, 0)

    def do_push_what_cannot_be(self):
        heapq.heappush(self.items, 0.5)
        list.append(self.items, object())


class Hooked(Plain):
    def on_start(self):
        self.began = "on_start was here"

    def on_exception(self, exception):
        self.noted = type(exception).__name__ + ": " + str(exception)

    def on_exit(self):
        self.left = "on_exit was here"


class Unstartable(L.LightningWork):
    def on_start(self):
        raise RuntimeError("it does not start")

    def run(self):
        pass


class Unopenable(L.LightningWork):
    def __setstate__(self, state):
        raise OSError("it does not open")

    def run(self):
        pass


class BadHooks(Plain):
    def on_exception(self, exception):
        raise RuntimeError("so does the hook")

    def on_exit(self):
        raise RuntimeError("it does not like to go")
'''


def run_id() -> str:
    """One that no other test has: what an engine leaves behind is found, and ended, by it."""
    return f"test-{uuid.uuid4().hex[:12]}"


class Seat:
    """One placed work, seen as the runtime sees it: its state is what the messages make of it."""

    def __init__(self, stage: Stage, worker: Worker, placement: Placement, state: dict[str, Any]) -> None:
        self.worker = worker
        self.placement = placement
        self.said: list[m.Message] = []
        self.state: dict[str, Any] = {name: unpack(value) for name, value in state.items()}
        self.last = 0
        self.closed = False
        self.history: list[tuple[str, Any]] = []  # attribute and value of each plain write of the work
        self.stage = stage
        self._calls = 0

    def take(self) -> None:
        """Take in what has come, and acknowledge it, as after a commit."""
        channel = self.worker.channel
        try:
            for seq, _, message in channel.receive():
                if not seq:
                    continue
                assert seq == self.last + 1, f"message {seq} after {self.last}"
                self.last = seq
                self.said.append(message)
                if isinstance(message, m.Changed):
                    for delta in message.deltas:
                        assert d.apply(self.state, delta).fitted
                        if delta.op == d.SET and len(delta.path) == 1:
                            self.history.append((delta.path[0], unpack(delta.value)))
                channel.acknowledge(seq)
        except ChannelClosed:
            self.closed = True
        channel.post_ack()
        channel.flush()

    def post(self, message: m.Message) -> None:
        self.worker.channel.post(message)
        self.worker.channel.flush()

    def call(self, *args: Any, **kwargs: Any) -> int:
        """Send a call of ``run``; its number."""
        self._calls += 1
        _, packed, named = arguments_of(LightningWork.run).bind(self.placement.work, args, kwargs)
        self.post(m.Call(self._calls, f"test.{self._calls}", packed, named))
        return self._calls

    def write(self, name: str, value: Any) -> None:
        """Write an attribute as the flow does."""
        self.change(m.Delta(d.SET, (name,), pack(value)))

    def change(self, delta: m.Delta) -> None:
        d.apply(self.state, delta)
        self.post(m.Write([delta]))

    def hear(self, kind: type[Said], call: int = 0) -> Said:
        """The first message of this kind (about this call), when it is there. It is not given again."""
        while True:
            for position, message in enumerate(self.said):
                if call and getattr(message, "call", 0) != call:
                    continue
                if isinstance(message, kind):
                    del self.said[position]
                    return message
                assert not (call and isinstance(message, m.Raised)), f"the call failed\n{message.traceback}"
            assert not self.closed, f"the work has gone, and said no {kind.__name__} but {self.said[-3:]}"
            self.stage.turn()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call, and give what comes back."""
        number = self.call(*args, **kwargs)
        return unpack(self.hear(m.Returned, number).value)

    def fail(self, *args: Any, **kwargs: Any) -> m.Raised:
        """Call, and give how it failed."""
        return self.hear(m.Raised, self.call(*args, **kwargs))

    def exited(self) -> Exited:
        """Its end."""
        report: Exited = self.stage.report(Exited, self.placement.work)
        return report


class Stage:
    """An engine and what it reports, with a small loop of its own."""

    def __init__(self, make_engine: MakeEngine, app: ModuleType) -> None:
        self.reports: list[Started | Exited] = []
        self.engine = make_engine(self.reports.append)
        self.seats: list[Seat] = []
        self._app = str(app.__file__), app.__name__

    def place(self, work: LightningWork, start_method: str | None = None, state: Any = None) -> Seat:
        placement = Placement(f"root.w{len(self.seats)}", 1, start_method)
        packed = {name: pack(value) for name, value in (work._state if state is None else state).items()}
        seat = Seat(self, self.engine.start(placement), placement, packed)
        self.seats.append(seat)
        seat.post(m.Begin("test", 1, placement.work, 1, pickle_work(work), packed, *self._app))
        return seat

    def seat(self, work: LightningWork, start_method: str | None = None) -> Seat:
        """Place a work and wait until it is ready."""
        seat = self.place(work, start_method)
        seat.hear(m.Ready)
        return seat

    def turn(self) -> None:
        """Wait until something happens, and take it in."""
        poll = select.poll()
        for fd in self.engine.filenos():
            poll.register(fd, select.POLLIN)
        for seat in self.seats:
            if not seat.closed:
                more = select.POLLOUT if seat.worker.channel.bytes_waiting else 0
                poll.register(seat.worker.channel, select.POLLIN | more)
        assert poll.poll(PATIENCE * 1000), f"nothing happened; reported so far: {self.reports}"
        self.engine.ready()
        for seat in self.seats:
            if not seat.closed:
                seat.worker.channel.flush()
                seat.take()

    def report(self, kind: type[Any], work: str) -> Any:
        while True:
            for report in self.reports:
                if isinstance(report, kind) and report.work == work:
                    return report
            self.turn()

    def close(self, grace: float = 0.0) -> None:
        self.engine.close(grace)
        for seat in self.seats:
            seat.worker.channel.close()
