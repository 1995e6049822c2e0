"""A recorded run's flow, run again: does it ask for the same?

The turns of the journal are gone through in their order. What came from outside, as what works said, is
applied as it was recorded. The passes are run anew, as many as there were and at their times, by the same
mirror and the same rules as in a run; what they ask for is compared with what was recorded, and the first
difference ends the replay. No process is started, and nothing is written.

What is compared, and how, is in ``recorded_turn.py``; what is said of it in ``report.py``.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from time import perf_counter
from types import FrameType
from typing import Any

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.core.component import Component
from lightning.app.core.flow import LightningFlow, PassEnds
from lightning.app.core.tracebacks import OUR_FOLDER
from lightning.app.core.work import LightningWork
from lightning.app.errors import LightningError, UsageError
from lightning.app.journal.journal import Reader, Turn
from lightning.app.kernel import facts as f
from lightning.app.kernel.canonical import same
from lightning.app.kernel.delta import SET
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.model import Model, evolve
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.snapshot import load
from lightning.app.kernel.works import Works
from lightning.app.runtime import loader, sentences
from lightning.app.runtime.fork import Renaming
from lightning.app.runtime.loop import exit_code, exit_message, run_once
from lightning.app.runtime.mirror import Mirror
from lightning.app.runtime.recorded_time import RecordedTime
from lightning.app.runtime.recorded_turn import RecordedTurn, alike, asks_the_same
from lightning.app.runtime.report import Difference, Report
from lightning.app.runtime.tree import Tree, made

MOST_IDLE = 10_000
"""Of a longer time in which nothing changed, only so many passes are run again, evenly spread over it."""
LONGEST_WAIT = 60.0
"""Seconds, beyond twice what was recorded, that a pass may wait for what does not come any more."""
LONGEST_SPIN = 10.0
"""The same where it does not sleep meanwhile, in real seconds."""


Build = Callable[[], LightningApp]
"""Makes the app anew, as a new process would."""


class _Comparing(Ledger):
    """A ledger in which every new fact has to be the one that was recorded, which is then entered."""

    def __init__(self, model: Model, compare: Callable[[f.Fact], f.Fact]) -> None:
        super().__init__(model)
        self.compare = compare

    def enter(self, fact: f.Fact) -> None:
        evolve(self.model, self.compare(fact), self.at)


class _Mirror(Mirror):
    """Looks at each re-read for where the recorded pass went on, and takes ports from the record."""

    def __init__(
        self,
        passes: Passes,
        config: Config,
        let_in: Callable[[], None],
        port: Callable[[LightningWork], None],
    ) -> None:
        super().__init__(passes, config, let_in)
        self.let_in_every = float("-inf")
        self._port = port

    def read(self, component: Component, name: str) -> None:
        if name == "port" and isinstance(component, LightningWork) and component._state.get("port") is None:
            self._port(component)
        super().read(component, name)


def of_file(file: str | os.PathLike[str], arguments: Sequence[str] = ()) -> Build:
    """Makes the app of ``file`` anew, each time with what lies in its folder imported anew."""
    path = os.path.abspath(file)
    folder = os.path.dirname(path) + os.sep
    before = set(sys.modules)

    def build() -> LightningApp:
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]
        return loader.load_app(path, arguments)

    return build


def replay(journal: Reader, build: Build, config: Config | None = None) -> Report:
    """Replay the turns of the journal, and say whether the flow asks for the same.

    When in its turn a pass looked at the clock is not recorded, only how long the passes took. So what differs
    is tried again with looks at the end, and in the middle.
    """
    reports: list[Report] = []
    for share in (0.0, 1.0, 0.5):
        reports.append(Replay(journal, build, config, share).run())
        if reports[-1].difference is None:
            break
    return max(reports, key=lambda report: (report.difference is None, report.compared))


class Replay:
    """One replay of one record. ``late``: where between its turn's beginning and end a pass finds itself."""

    def __init__(
        self, journal: Reader, build: Build, config: Config | None = None, late: float = 0.0
    ) -> None:
        self._late = late
        self._renaming = Renaming("", "")
        self._journal = journal
        self._first = journal.first
        self._base = journal.newest(self._first - 1) if self._first > 1 else None
        self._build = build
        self._config = config or Config()
        self._rows = self._taken_apart(journal.read(self._first - 1))
        self._next = next(self._rows, None)
        self._time = RecordedTime(self._slept)
        self._model = self._beginning()
        self._ledger = _Comparing(self._model, self._compare)
        self._row = RecordedTurn(0, 0.0, ())
        self._due = 0  # passes that have yet to come to their end in this turn
        self._joining = False
        self._undone = False  # the model has what a pass asked for that raised
        self._since = 0.0  # the real time at which the turn under way was begun
        self._sleep = 0.0
        self._turns = self._passes_run = self._compared = 0
        self._difference: Difference | None = None

    def run(self) -> Report:
        if self._next is None:
            raise UsageError("there is nothing to replay: this run has recorded no turn")
        with self._time:
            if self._base is not None:
                row = RecordedTurn(self._base.seq, self._base.at, ())
                self._enter(row)
                self._begin(row)
            while self._next is not None and self._difference is None:
                if self._next.starts:
                    self._begin(self._take())
                else:
                    self._play(self._next)
        return Report(self._turns, self._passes_run, self._compared, self._difference, self._first)

    def _beginning(self) -> Model:
        """What the journal's first turn finds."""
        return Model() if self._base is None else self._renaming.model(load(self._base.model))

    # -- turns ------------------------------------------------------------------------------------

    def _taken_apart(self, turns: Iterable[Turn]) -> Iterator[RecordedTurn]:
        for turn in turns:
            yield RecordedTurn(turn.seq, turn.at, f.decode_turn(turn.facts))

    def _take(self) -> RecordedTurn:
        """Go on to the next turn."""
        row = self._next
        assert row is not None
        self._next = next(self._rows, None)
        self._turns += 1
        self._enter(row)
        return row

    def _enter(self, row: RecordedTurn) -> None:
        self._row = row
        self._due = row.ends
        self._at(row.at)

    def _at(self, at: float) -> None:
        self._now = at
        self._time.move(at + self._late * self._took())
        self._since, self._sleep = perf_counter(), 0.0
        self._ledger.at = at

    def _took(self) -> float:
        """Seconds that passes took in this turn; not beyond the next one's beginning."""
        row, following = self._row, self._next
        return min(row.took, max(0.0, following.at - row.at)) if following is not None else row.took

    def _apply(self, facts: Iterable[f.Fact]) -> None:
        for fact in facts:
            evolve(self._model, self._renaming.fact(fact), self._row.at)

    def _play(self, row: RecordedTurn) -> None:
        """One turn; more of them, where a pass goes on over their ends."""
        if row.idled is not None:
            self._idle(row.idled)
        if row.went_on is not None and self._difference is None:
            self._enter(RecordedTurn(row.seq, row.went_on.began, ()))
            self._pass()
            if self._next is row:
                self._differ_in_waiting(row)
        elif self._difference is None:
            self._take()
            self._apply(row.before)
        while self._difference is None and (self._due or self._goes_on()):
            before = self._row
            due = self._due
            self._pass()
            if not due and self._row is before and self._next is not None:
                self._differ_in_waiting(self._next)
        if self._row.asked and self._row.ran is None:
            raise UsageError(
                f"turn {self._row.seq} does not tell of its passes: a version recorded it that did not note them. "
                "Such a run can be looked at (lightning history) and forked, not replayed"
            )
        if self._difference is None and self._row.asked:
            if self._record_ends:
                self._pass()  # killed within it, or a live run that is at it
            if self._row.asked and self._difference is None:
                self._differ(None)
        if self._difference is None:
            self._apply(self._row.after)

    @property
    def _record_ends(self) -> bool:
        """Whether nothing follows of what this process of the app did: it was killed, or is at it."""
        return self._next is None or self._next.starts

    def _goes_on(self) -> bool:
        """Whether another pass began in this turn, which came to its end in a later one."""
        following = self._next
        return following is not None and following.went_on is not None and not following.went_on.began

    def _idle(self, idled: f.PassesIdled) -> None:
        """The passes of a time in which nothing changed."""
        times = min(idled.count, MOST_IDLE)
        for each in range(times):
            if self._difference is None:
                assert self._next is not None
                share = each / (times - 1) if times > 1 else 1.0
                self._enter(RecordedTurn(self._next.seq, idled.since + (idled.at - idled.since) * share, ()))
                self._pass()

    # -- the app ----------------------------------------------------------------------------------

    def _begin(self, row: RecordedTurn) -> None:
        """A start or a resume: new objects, joined with what the journal knows."""
        app = self._made_app()
        self._root = app.root
        recorded = {fact.path: fact for fact in row.facts if isinstance(fact, f.Made)}
        known = recorded.get(self._root.name) or self._model.components[self._root.name]
        before, now = known.cls.partition(":")[0], type(self._root).__module__
        self._renaming = Renaming(before.removesuffix("_app"), now)
        if not row.facts:
            self._renaming.model(self._model)
        if self._undone:
            self._undone, self._model = False, self._beginning()
            for turn in self._journal.read(self._first - 1):
                if turn.seq == row.seq:
                    break
                for fact in f.decode_turn(turn.facts):
                    evolve(self._model, self._renaming.fact(fact), turn.at)
        first = not self._model.components
        self._apply(row.facts)
        self._ledger = _Comparing(self._model, self._compare)
        self._ledger.at = row.at
        self._passes = Passes(Works(self._ledger))
        self._mirror = _Mirror(self._passes, self._config, self._let_in, self._port)
        if first:
            self._compare_beginning(recorded)
        if self._difference is None:
            self._joining = True
            try:
                Tree(self._root, self._ledger, self._config, self._mirror).join()
            except PassEnds:
                pass  # it is a difference, and reported
            except LightningError as err:
                self._report("", "another tree of components", str(err))
            self._joining = False

    def _made_app(self) -> LightningApp:
        app = self._build()
        self._time.reach_modules_of({type(each) for each in app.root._walk()})
        return app

    def _compare_beginning(self, recorded: dict[str, f.Made]) -> None:
        """What ``__init__`` sets is compared too, unless it is never the same twice, like a random number."""
        volatile: dict[str, dict[str, Any]] | None = None
        for component in self._root._walk():
            fact = recorded.get(component.name)
            if fact is None:
                continue  # the join says so
            now = made(component, self._config, None)
            for name in [*now.state, *(each for each in fact.state if each not in now.state)]:
                if name in now.state and name in fact.state and alike(now.state[name], fact.state[name]):
                    continue
                if volatile is None:
                    self._time.move(self._now + 1.0)
                    volatile = {
                        each.name: made(each, self._config, None).state
                        for each in self._made_app().root._walk()
                    }
                again = volatile.get(component.name, {})
                if name in now.state and name in again and not same(now.state[name], again[name]):
                    continue
                self._report(
                    "",
                    f"{fact.path}.{name} = {sentences.shown(fact.state[name])}"
                    if name in fact.state
                    else f"{fact.path} has no {name}",
                    f"{fact.path}.{name} = {sentences.shown(now.state[name])} from the start"
                    if name in now.state
                    else f"{fact.path} has no {name} from the start",
                )
                return

    # -- passes -----------------------------------------------------------------------------------

    def _pass(self) -> None:
        """One replay of the root's ``run``, as ``Runtime._pass`` has it."""
        mirror, passes = self._mirror, self._passes
        self._passes_run += 1
        self._ledger.orders.clear()
        passes.begin()
        mirror.begin_pass()
        mirror.over_at = ""
        with suppress(PassEnds):
            try:
                if isinstance(self._root, LightningFlow):
                    self._root.run()
                else:
                    run_once(self._root, passes)
                if self._difference is None and not self._breaks_off():
                    mirror.refuse_caught()
                passes.complete()
            except (PassEnds, KeyboardInterrupt):
                raise
            except SystemExit as err:
                passes.end(exit_code(err), "stopped", exit_message(self._root, err))
            except BaseException as err:
                mirror.over_at = _place_of(err)
                passes.failed(self._root.name, f.Failure(type(err).__name__, str(err)))
        mirror.end_pass()
        if self._due:
            self._due -= 1

    def _breaks_off(self) -> bool:
        """Whether the pass under way was broken off at some point behind the last that it asked for."""
        if not self._due:
            return self._record_ends
        ran = self._row.ran
        return ran is not None and ran.cut and self._due == 1

    def _let_in(self) -> None:
        """The pass reads something again: perhaps here the recorded one took in what had come."""
        row = self._next
        rereads = self._mirror.rereads
        if not self._due and row is not None and row.went_on is not None and row.went_on.rereads == rereads:
            if self._row.asked:
                self._differ(None)
                return
            self._model.careful = True
            try:
                self._apply(self._row.after)
                self._take()
                self._apply(row.before)
            finally:
                self._model.careful = False
            self._passes.closed_turn()
            self._mirror.rereads = 0
        self._pause()

    def _slept(self, seconds: float) -> None:
        self._sleep += seconds
        mirror = self._mirror
        if mirror.in_pass and mirror.over is None:
            self._pause()
            if mirror.over is not None:
                raise mirror.over

    def _pause(self) -> None:
        """The pass under way waits for something: as in the record, or for what does not come any more."""
        row, following = self._row, self._next
        if self._breaks_off() and not row.asked:
            self._mirror.interrupt("the recorded pass ended about here")
            return
        recorded = row.took
        if following is not None:
            recorded = max(recorded, following.at - self._now)
        if (
            self._sleep > 2 * recorded + LONGEST_WAIT
            or perf_counter() - self._since > 2 * recorded + LONGEST_SPIN
        ):
            self._report(self._where(), "the pass went on", "the pass waits here for what does not come")

    def _port(self, work: LightningWork) -> None:
        """A port is looked for on the machine: the recorded one was free then, and another may be now."""
        first = self._row.asked[0] if self._row.asked else None
        if (
            self._mirror.in_pass
            and isinstance(first, f.Wrote)
            and (first.path, first.delta.op, first.delta.path) == (work._path, SET, ("port",))
        ):
            self._passes.write(work._path, first.delta)

    # -- comparing --------------------------------------------------------------------------------

    def _compare(self, fact: f.Fact) -> f.Fact:
        """The flow asks for something. Returns what is recorded of it, if it did so then."""
        row, mirror = self._row, self._mirror
        if self._joining and isinstance(fact, f.Renamed):
            return fact  # the app's file has another name
        if self._joining:
            self._report("", "nothing of the kind", f"{sentences.joined(fact)}, from the start")
        elif self._difference is None:
            recorded = self._renaming.fact(row.asked[0]) if row.asked else None
            if recorded is not None and asks_the_same(recorded, fact):
                row.asked.popleft()
                self._compared += 1
                return recorded
            if row.raised and self._due == 1 and not isinstance(fact, f.EndAsked):
                self._undone = True  # what a pass asked for that raised is not recorded
                return fact
            if not row.asked and self._breaks_off():
                raise mirror.interrupt("the recorded pass ended here")
            self._differ(fact)
        raise mirror.over or PassEnds("the flow has parted from the record")

    def _differ(self, fact: f.Fact | None) -> None:
        """The flow asks for ``fact``, or for nothing where the record has something."""
        first = self._row.asked[0] if self._row.asked else None
        if first is None:
            assert fact is not None
            self._report(self._where(), "nothing more", sentences.asked(fact))
        elif fact is None:
            over = self._mirror.over
            why = f": {over}" if over is not None else ""
            self._report(self._where(), sentences.asked(first), f"nothing more{why}")
        else:
            self._report(self._where(), *sentences.apart(first, fact))

    def _differ_in_waiting(self, row: RecordedTurn) -> None:
        if self._difference is None:
            waited = f"the pass waited, until turn {row.seq} let something in"
            self._report(self._mirror.over_at, waited, "the pass did not wait")

    def _where(self) -> str:
        """The line of the user's code that is at it, or at which the pass has ended."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(OUR_FOLDER):
            if frame.f_code is Replay._pass.__code__:
                break
            frame = frame.f_back
        else:
            if frame is not None and self._mirror.in_pass:
                return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return self._mirror.over_at

    def _report(self, where: str, recorded: str, replayed: str) -> None:
        file, _, number = where.rpartition(":")
        line = linecache.getline(file, int(number)).strip() if file else ""
        self._difference = Difference(self._row.seq, self._now, where, line, recorded, replayed)
        self._mirror.interrupt("the flow has parted from the record")


def _place_of(err: BaseException) -> str:
    """The user's line that raised, the deepest."""
    at, found = err.__traceback__, ""
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(OUR_FOLDER):
            found = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
        at = at.tb_next
    return found
