"""The runtime: one inbox, one loop, one thread.

A turn is, always in this order: drain, decide, passes, one commit, then send and acknowledge. A turn takes in
what waits up to the second change of a path that it has already taken in, so that the flow sees each value;
with more than ``PATIENCE`` waiting it takes all. Nothing leaves before the turn that caused it is durable;
a turn that nobody waits on is committed a few milliseconds later, together with the next ones.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter, sleep
from types import FrameType
from typing import Any

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.core.component import Component
from lightning.app.core.flow import LightningFlow, PassEnds
from lightning.app.core.tracebacks import OUR_FOLDER, user_traceback
from lightning.app.core.work import LightningWork
from lightning.app.engines.engine import Engine, Exited, Started
from lightning.app.errors import EngineError, JournalError, StateValueError
from lightning.app.journal.journal import Journal
from lightning.app.journal.recovery import recover
from lightning.app.kernel import facts as f
from lightning.app.kernel.ledger import Ledger, MaskingLedger
from lightning.app.kernel.messages import Changed, Delta, Moved
from lightning.app.kernel.model import Model
from lightning.app.kernel.orders import EndApp
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.snapshot import dump
from lightning.app.kernel.works import Works
from lightning.app.runtime.clock import Clock, SystemClock
from lightning.app.runtime.keeper import Keeper
from lightning.app.runtime.log import Log
from lightning.app.runtime.mirror import Mirror
from lightning.app.runtime.passbook import Passbook
from lightning.app.runtime.perform import STOP_GRACE, Event, Left, Link, NotStarted, Performer, exit_now
from lightning.app.runtime.signals import on_signals
from lightning.app.runtime.tree import Tree
from lightning.app.storage.payloads.names import mentions_any

HEARTBEAT = 0.1
PATIENCE = 64
PASSES_A_TURN = 64
PASSES_SECONDS = 0.005
COMMIT_WITHIN = 0.005
SLOW_PASS = 5.0
CLOCK_SET = 1.0
"""Seconds by which the clock on the wall may part from the intervals that went by, from one turn to the next."""
BUSY_TURNS = 1000
"""A snapshot that is due waits for a moment in which nothing else does, but not for more turns than this."""
SPIN = 100e-6
"""Seconds to look for an answer before going to sleep, when the last one came as quickly."""
_STORAGE = os.path.join(OUR_FOLDER, "storage", "")
SPINS = len(os.sched_getaffinity(0)) > 1


class Runtime:
    """Runs one app on one engine with one journal."""

    def __init__(
        self,
        app: LightningApp,
        journal: Journal,
        make_engine: Callable[[Callable[[Started | Exited], None]], Engine],
        *,
        run_id: str = "run",
        config: Config | None = None,
        clock: Clock | None = None,
        log: Log | None = None,
        devices: tuple[int, ...] = (),
        until_idle: bool = False,
        drop_unfit: bool = False,
        mask: Callable[[str], str] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.root: Component = app.root
        self._by_flow = isinstance(app.root, LightningFlow)
        self.journal = journal
        self.clock = clock or SystemClock()
        self.log = log or Log(app.log_level)
        self.keeper = keeper or Keeper(self.log)
        self.until_idle = until_idle
        self.inbox: deque[Event] = deque()
        self.selector = selectors.DefaultSelector()
        self.performer = Performer(run_id, self.log, self.inbox, self._component)
        self.performer.watch = self._watch
        self.performer.unwatch = self._unwatch
        self.performer.want_write = self._want_write
        self.engine = make_engine(self.performer.report)
        self.performer.engine = self.engine
        for fileno in self.engine.filenos():
            self.selector.register(fileno, selectors.EVENT_READ, self.engine.ready)
        config = config or Config()
        recovery = recover(journal)
        for loss in recovery.passed_over:
            self.log.warning(f"{loss}; nothing is lost: this run goes on from what is before it")
        self.ledger = Ledger(recovery.model) if mask is None else MaskingLedger(recovery.model, mask)
        self.works = Works(self.ledger, run_id, devices)
        self.passes = Passes(self.works)
        self.mirror = Mirror(self.passes, config, self._let_in)
        self.tree = Tree(self.root, self.ledger, config, self.mirror, drop_unfit=drop_unfit)
        self.ended: EndApp | None = None
        self.pass_began = 0.0  # 0 while no pass is under way
        self.signals = 0
        self._signal = 0
        self._quick = False  # the last answer came before it was worth going to sleep
        self._told_at = 0.0
        self._next_beat = 0.0
        self._beat = True
        self._passbook = Passbook()
        self._commit_by = 0.0
        self._uncommitted = False
        self._busy_turns = 0  # since a snapshot became due
        self._told: set[Link] = set()  # links whose messages wait for the commit to be acknowledged
        self._stop_by = 0.0
        self._broken: EngineError | JournalError | None = None  # befell the run during a pass

    @property
    def model(self) -> Model:
        return self.ledger.model

    def _component(self, path: str) -> Component:
        component = self.root
        for name in path.split(".")[1:]:
            component = component._children[name]
        return component

    # -- the run ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the objects with the journal, and make that durable."""
        self.ledger.at, self._told_at = self.clock.now(), self.clock.monotonic()
        self.tree.join()
        for line in self.tree.told:
            self.log.info(line)
        self.works.begin_epoch(self.keeper.lost(self.model))
        self.performer.epoch = self.model.epoch
        self._close_turn(now=True)
        self._next_beat = self.clock.monotonic()

    def run(self) -> int:
        """Turn after turn, until the app is over. Returns its exit code."""
        self._handle_signals()
        gc.freeze()  # what is there stays: collections need not look at it again and again
        watchdog = threading.Thread(target=self._watch_passes, name="lightning-watchdog", daemon=True)
        watchdog.start()
        try:
            while not self.over:
                self.turn(self._timeout())
        finally:
            self.pass_began = -1.0
        return self.finish()

    @property
    def over(self) -> bool:
        """Whether the app has ended and all its processes are gone."""
        if self.ended is None:
            return False
        return not self.performer.links or self.clock.monotonic() >= self._stop_by

    def turn(self, timeout: float | None) -> None:
        """Drain, decide, passes, commit, send, acknowledge."""
        if self.journal.due or self.keeper.due:
            self._busy_turns += 1
            if timeout != 0 or self._busy_turns > BUSY_TURNS:
                self._snapshot()
        self._wait(0 if self.inbox else timeout)
        self._tell_time()
        self._take_in()
        if self.ended is None:
            self.works.elapsed()
            self._run_passes()
            if self._passbook.ran:
                self._passbook.note(self.ledger.facts, self.ledger.at)
        self.works.settle()
        self._close_turn()

    def finish(self) -> int:
        """The last fact; everything is stopped already."""
        assert self.ended is not None
        self.ledger.at = self.clock.now()
        self.ledger.enter(f.Ended(self.ended.code, self.ended.reason, self.ended.message))
        self._close_turn(now=True)
        self._snapshot()  # so that whoever looks at the run sees at once how it ended
        self.keeper.finish()
        return self.ended.code

    @property
    def busy(self) -> bool:
        """Whether something is left to do at this moment of the clock."""
        return bool(self.inbox or self._wants_pass() or self.ledger.fresh or self.selector.select(0))

    def commit(self) -> None:
        """Make durable at once what else would wait a few milliseconds for company."""
        self._close_turn(now=True)

    def close(self) -> None:
        """End the app from outside, in order."""
        if self.ended is None:
            self.works.end(0, "stopped")
            self._close_turn(now=True)
        while not self.over:
            self.turn(self._timeout())
        self.finish()
        self.abandon()

    def abandon(self) -> None:
        """Let go of everything at once, as a kill would; only the journal stays."""
        self.engine.close(0)
        self.selector.close()

    def _tell_time(self) -> None:
        """The time of this turn. A clock that was set since the last one has not let time go by."""
        now, told_at = self.clock.now(), self.clock.monotonic()
        jump = now - self.ledger.at - (told_at - self._told_at)
        if abs(jump) > CLOCK_SET:
            self.works.clock_set(jump)
        self.ledger.at, self._told_at = now, told_at

    # -- waiting ----------------------------------------------------------------------------------

    def _timeout(self) -> float:
        if self.inbox or self._wants_pass():
            return 0.0
        now = self.clock.monotonic()
        until = self._stop_by if self.ended is not None else self._next_beat
        if self._uncommitted:
            until = min(until, self._commit_by)
        return max(0.0, until - now)

    def _wait(self, timeout: float | None) -> None:
        for key, events in self._select(timeout):
            if events & selectors.EVENT_WRITE:
                self._write_more(key.data)
            if events & selectors.EVENT_READ:
                if type(key.data) is Link:
                    self.performer.read(key.data)
                else:
                    key.data()

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for something to happen.

        Falling asleep and being woken costs as much as a short call. So after a quick answer the next one is
        looked for a moment before going to sleep, where another core can do the work meanwhile.
        """
        if self._quick and (timeout is None or timeout > SPIN):
            until = perf_counter() + SPIN
            while perf_counter() < until:
                if ready := self.selector.select(0):
                    return ready
        began = perf_counter()
        ready = self.selector.select(timeout)
        self._quick = SPINS and bool(ready) and perf_counter() - began < SPIN
        return ready

    def _watch(self, link: Link) -> None:
        self.selector.register(link.worker.channel.fileno(), selectors.EVENT_READ, link)

    def _unwatch(self, link: Link) -> None:
        self.selector.unregister(link.worker.channel.fileno())

    def _want_write(self, link: Link) -> None:
        self.selector.modify(link.worker.channel.fileno(), selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def _write_more(self, link: Link) -> None:
        if link.worker.channel.flush():
            self.selector.modify(link.worker.channel.fileno(), selectors.EVENT_READ, link)

    # -- drain and decide -------------------------------------------------------------------------

    def _take_in(self) -> None:
        """What waits, up to the second change of a path already taken in; all of it when much waits."""
        inbox = self.inbox
        patient = len(inbox) <= PATIENCE
        written: set[tuple[str, Any]] = set()
        told = self._told
        while inbox:
            event = inbox[0]
            if type(event) is tuple:
                link, (seq, acknowledged, message) = event
                if patient and type(message) is Changed:
                    places = [(link.path, _place(delta)) for delta in message.deltas]
                    if not written.isdisjoint(places):
                        break
                    written.update(places)
                inbox.popleft()
                if seq:
                    link.taken = seq
                    told.add(link)
                if type(message) is Moved:
                    self.performer.moved(link.path, message)
                    self.works.acknowledged(link.path, link.incarnation, acknowledged)
                elif seq:
                    self.works.take(link.path, link.incarnation, seq, acknowledged, message)
                else:
                    self.works.acknowledged(link.path, link.incarnation, acknowledged)
            else:
                inbox.popleft()
                if type(event) is Left:
                    self.works.exited(event.link.path, event.link.incarnation, event.reason)
                elif type(event) is NotStarted:
                    self.works.could_not_start(event.path, event.incarnation, event.failure)

    def _let_in(self) -> None:
        """A pass reads an attribute again: close the turn, take in what waits, and go on in a new turn."""
        try:
            self._go_on_in_a_new_turn()
        except (EngineError, JournalError) as err:
            # No fault of the flow whose code is under way, nor for its `except` to swallow.
            self._broken = err
            self.mirror.interrupt(str(err))

    def _go_on_in_a_new_turn(self) -> None:
        """Also when nothing waits: the pass may be waiting for what its own calls and writes will bring about."""
        self._wait(0)
        if self.ended is not None:
            return
        facts, at = self.ledger.facts, self.ledger.at
        asked = len(facts)
        self.works.settle()
        if not (self.inbox or facts or self._uncommitted):
            return
        self._passbook.note(facts, at, asked)
        self._close_turn()
        self._tell_time()
        self.model.careful = True
        try:
            self._take_in()
        finally:
            self.model.careful = False
            self.passes.closed_turn()
        if facts or self.ledger.facts:
            if self._passbook.went_on is not None:  # a turn in which nothing else was done
                self.journal.append(at, f.encode_turn([self._passbook.went_on]))
            self._passbook.go_on(self.mirror.rereads, written=bool(facts))
            self.mirror.rereads = 0
        if self.works.ending:
            self._passbook.cut = True
            self.mirror.interrupt("the app ends")

    # -- passes -----------------------------------------------------------------------------------

    def _wants_pass(self) -> bool:
        return self.ended is None and (self._beat or self.ledger.fresh or self.passes.wants_another())

    def _run_passes(self) -> None:
        began = self.clock.monotonic()
        if began >= self._next_beat:
            self._beat = True
        for _ in range(PASSES_A_TURN):
            by_change = self.ledger.fresh or self.passes.wants_another()
            if self.works.ending or not (self._beat or by_change):
                return
            self._pass()
            now = self.clock.monotonic()
            self._next_beat = now + HEARTBEAT
            self._passbook.took = now - began
            if not by_change and self.until_idle and self._idle():
                self.works.end(0, "stopped")
            if now - began > PASSES_SECONDS:
                return

    def _idle(self) -> bool:
        return not (
            self.inbox
            or self.ledger.fresh
            or self.passes.wants_another()
            or self.passes.wrote
            or self.works.busy
        )

    def _pass(self) -> None:
        """One replay of the root's ``run``."""
        if self._signalled():  # between two passes
            self._stop_by_signal()
            return
        self._beat = False
        self._passbook.at = self.ledger.at
        self.passes.begin()
        self.ledger.fresh = False
        mirror = self.mirror
        mirror.begin_pass()
        self.pass_began = self.clock.monotonic()
        try:
            if self._by_flow:
                self.root.run()
            else:
                run_once(self.root, self.passes)
            if self._signalled():
                self._passbook.cut = True
                self._stop_by_signal()
            elif mirror.over is not None:
                mirror.refuse_caught()
        except PassEnds:
            if self._signalled():
                self._passbook.cut = True
                self._stop_by_signal()
        except SystemExit as err:
            self.passes.end(exit_code(err), "stopped", exit_message(self.root, err))
        except BaseException as err:
            failure = f.Failure(type(err).__name__, str(err), user_traceback(err))
            self.passes.failed(self.root.name, failure)
        else:
            self.passes.complete()
        finally:
            self._passbook.ran += 1
            mirror.end_pass()
            self.pass_began = 0.0
        if self._broken is not None:
            raise self._broken

    def _watch_passes(self) -> None:
        """In a thread of its own: a pass that takes long is named, with the line where it is."""
        main = threading.main_thread().ident
        named = 0.0
        while self.pass_began >= 0:
            began = self.pass_began
            if began > 0 and began != named and monotonic() - began > SLOW_PASS:
                named = began
                frame = sys._current_frames().get(main or 0)
                while frame is not None and frame.f_code.co_filename.startswith(OUR_FOLDER):
                    frame = frame.f_back
                at = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
                self.log.warning(
                    f"{self.root.name}.run has been going on for {SLOW_PASS:g} s{at}: while it does, nothing else "
                    "is decided; put what takes long into a work"
                )
            sleep(1.0)

    # -- the end of a turn ------------------------------------------------------------------------

    def _close_turn(self, now: bool = False) -> None:
        """Commit when somebody waits for it or it is due; then perform, then acknowledge."""
        facts, orders = self.ledger.close_turn()
        if facts:
            book = self._passbook
            if book.idled or book.went_on is not None:
                book.head(facts)
            row = f.encode_turn(facts)
            turn = self.journal.append(self.ledger.at, row)
            if mentions_any(row):
                self.keeper.note(turn, row)
            if not self._uncommitted:
                self._uncommitted = True
                self._commit_by = self.clock.monotonic() + COMMIT_WITHIN
        if self._uncommitted and (orders or now or self.clock.monotonic() >= self._commit_by):
            self.journal.commit()
            self._uncommitted = False
        durable = not self._uncommitted
        if durable:
            self.performer.acknowledge(self._told)
        if orders:
            self.performer.perform(orders)
        if durable and self._told:
            self.performer.tell(self._told)
            self._told.clear()
        if self.performer.ending is not None and self.ended is None:
            self._begin_end(self.performer.ending)

    def _snapshot(self) -> None:
        """Between two turns: what the journal comes to, so that a recovery need not go through all of it."""
        self._busy_turns = 0
        try:
            model = dump(self.model if not self.passes.undone else self._journaled())
        except StateValueError:  # changed behind the back of its container: the journal knows nothing of it
            model = dump(self._journaled())
        turn = self.journal.last
        self.journal.snapshot(model)
        self._uncommitted = True
        self._close_turn(now=True)
        self.keeper.look(turn, model, self.journal.first)

    def _journaled(self) -> Model:
        """The model as the journal has it, up to the last turn."""
        self._close_turn(now=True)
        return recover(self.journal).model

    def _begin_end(self, ending: EndApp) -> None:
        """Say why, once, then stop all works in order; what they still say is taken in."""
        self.ended = ending
        self._stop_by = self.clock.monotonic() + STOP_GRACE + 1.0
        failure = ending.failure
        if failure is not None:
            where = f"{ending.work}: " if ending.work else ""
            text = (
                f"failed\n{failure.traceback}" if failure.traceback else f"{failure.kind}: {failure.message}"
            )
            self.log.error(f"{where}{text.rstrip()}")
        elif ending.message:
            (self.log.error if ending.code else self.log.info)(ending.message)
        self.works.stop_all()
        self._close_turn(now=True)
        self.performer.stop_all()

    # -- signals ----------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._wakers = reader, writer
        self.selector.register(reader, selectors.EVENT_READ, self._woken)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        on_signals(self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        if self.signals > 1:
            self.engine.close(0)
            exit_now(128 + (number if number == signal.SIGINT else signal.SIGTERM))
        self._signal = number
        if self.mirror.in_pass:
            over = self.mirror.interrupt(f"stopped by {signal.Signals(number).name}")
            if _may_break_off(frame):
                raise over  # out of the user's code; code of ours goes on, and the next request raises it

    def _woken(self) -> None:
        self._wakers[0].recv(64)
        if self._signal and not self.mirror.in_pass:
            self._stop_by_signal()

    def _signalled(self) -> bool:
        return self._signal != 0

    def _stop_by_signal(self) -> None:
        self.works.end(0, "signal", f"stopped by {signal.Signals(self._signal).name}")


def _may_break_off(frame: FrameType | None) -> bool:
    """Whether the user's code is under way here; also where it waits for files, by ours."""
    while frame is not None and frame.f_code.co_filename.startswith(_STORAGE):
        frame = frame.f_back
    return frame is None or not frame.f_code.co_filename.startswith(OUR_FOLDER)


def run_once(root: Component, passes: Passes) -> None:
    """A work as root runs once, and the app ends as it does."""
    assert isinstance(root, LightningWork)
    root.run()
    life = passes.model.works[root.name]
    if life.running is None and not life.queue:
        failed = life.stage == "failed"
        passes.end(int(failed), "failed" if failed else "stopped", "")


def exit_code(err: SystemExit) -> int:
    if err.code is None:
        return 0
    return err.code if isinstance(err.code, int) else 1


def exit_message(root: Component, err: SystemExit) -> str:
    return f"{root.name}.run called sys.exit({err.code!r})" if err.code else ""


def _place(delta: Delta) -> Any:
    """What the delta changes, as something that can be in a set: a packed key in its path cannot."""
    path = delta.path
    return path if len(path) == 1 and type(path[0]) is str else repr(path)
