"""Rules about works: their processes, their calls, and what they say. Input: messages, exits, the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel.delta import SET
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import Phase, Process
from lightning.app.kernel.model import Call, WorkLife, conflicting, forget_seen
from lightning.app.kernel.orders import EndApp, Notice, Place, Send, StopWorker

DEATHS_ALLOWED = 3
"""A call whose process died so often is not tried again: it may be what kills it."""


CRASHES = frozenset({"WorkDied", "Interrupted"})
"""Kinds of failures that are no exception of the call's: its process or the whole run ended under it."""

NEVER = 2**63 - 1
"""The number of a message that no host can have seen."""


class Lost(NamedTuple):
    """A call that had returned, but something that it made has not outlived the machine."""

    path: str
    call: Call
    why: str


class Works:
    """Decides for all works of a run."""

    def __init__(self, ledger: Ledger, run: str = "run", devices: Sequence[int] = ()) -> None:
        self.ledger = ledger
        self.run = run
        self.devices = tuple(devices)
        self.ending = False
        self._touched: dict[str, None] = {}  # works to look at when the turn settles, in order
        self._timed: set[str] = set()
        self._waiting: dict[str, None] = {}  # works that wait for a device
        self._take: dict[type[m.Message], Callable[[str, WorkLife, int, Any], None]] = {
            m.Ready: self._ready,
            m.Changed: self._changed,
            m.Returned: self._returned,
            m.Raised: self._raised,
            m.Broken: self._broken,
            m.Noticed: self._noticed,
            m.Left: self._left,
        }

    # -- the tree ---------------------------------------------------------------------------------

    def begin_epoch(self, lost: Iterable[Lost] = ()) -> None:
        """Start or resume: what ran when the last epoch ended goes back to the queue or fails, by ``on_crash``.

        So does what had returned, but what it made is ``lost``.
        """
        self.ledger.enter(f.EpochBegan(self.ledger.model.epoch + 1))
        for path, call, why in lost:
            if self.ledger.model.works[path].options.on_crash == "rerun":
                self.ledger.enter(
                    f.Forgotten(path, call.number)
                )  # the flow asks for it again, with its arguments
            else:
                self._broken_off(path, self.ledger.model.works[path], call, why)
        for path, life in self.ledger.model.works.items():
            if life.running is not None:
                self._interrupted(path, life, life.running)
            if life.options.raise_exception:
                self._take_up(path, life)
            self.watch(path)

    def _take_up(self, path: str, life: WorkLife) -> None:
        """Calls whose failure ended the app run again, but for one that may run at most once: it ends it anew."""
        for call in [each for each in life.latest.values() if each.phase is Phase.FAILED]:
            assert call.failure is not None
            if (
                life.options.on_crash == "fail"
                and call.failure.kind in CRASHES
                and Phase.RUNNING in call.story
            ):
                self.end(1, "failed", work=path, failure=call.failure)
            else:
                self.ledger.enter(f.CallFailed(path, 0, call.number, call.failure, again=True))

    def watch(self, path: str) -> None:
        """A work came or its options changed."""
        life = self.ledger.model.works[path]
        if life.options.timeout is not None or life.options.idle_timeout is not None:
            self._timed.add(path)
        self._touched[path] = None

    def touch(self, path: str) -> None:
        self._touched[path] = None

    # -- what works say ---------------------------------------------------------------------------

    def take(self, path: str, incarnation: int, seq: int, acknowledged: int, message: m.Message) -> None:
        """One message of a work's host. What an older process says is refused, what was seen is dropped."""
        life = self.ledger.model.works.get(path)
        if (
            life is None
            or life.incarnation != incarnation
            or seq <= life.seen
            or life.process is Process.ABSENT
        ):
            return
        if life.unseen:
            forget_seen(life, acknowledged)
        self._take[type(message)](path, life, seq, message)

    def acknowledged(self, path: str, incarnation: int, acknowledged: int) -> None:
        """A work's host has nothing to say but what it has seen."""
        life = self.ledger.model.works.get(path)
        if life is not None and life.incarnation == incarnation and life.unseen:
            forget_seen(life, acknowledged)

    def _ready(self, path: str, life: WorkLife, seq: int, message: m.Ready) -> None:
        if life.process is not Process.STARTING:
            return  # it is being stopped
        self.ledger.enter(f.Up(path, seq, message.pid))
        self.ledger.fresh = True
        self._touched[path] = None

    def _changed(self, path: str, life: WorkLife, seq: int, message: m.Changed) -> None:
        deltas = message.deltas
        conflicts = conflicting(life, deltas) if life.unseen else []
        if message.overtaken:
            conflicts = sorted({*conflicts, *message.overtaken})
        self.ledger.enter(f.Changed(path, seq, deltas, conflicts))
        self.ledger.fresh = True

    def _returned(self, path: str, life: WorkLife, seq: int, message: m.Returned) -> None:
        if life.running is None or life.running.number != message.call:
            return  # cancelled meanwhile
        self.ledger.enter(f.Returned(path, seq, message.call, message.value))
        self.ledger.fresh = True
        self._touched[path] = None

    def _raised(self, path: str, life: WorkLife, seq: int, message: m.Raised) -> None:
        call = life.running
        if call is None or call.number != message.call:
            return
        self._failed(path, life, call, f.Failure(message.kind, message.message, message.traceback), seq=seq)

    def _broken(self, path: str, life: WorkLife, seq: int, message: m.Broken) -> None:
        if life.process is not Process.STARTING:
            return  # it is being stopped: what waits is for the next one
        failure = f.Failure(message.kind, message.message, message.traceback)
        if life.queue:
            self._failed(path, life, life.queue[0], failure, seq=seq, retry=False)
        else:
            self._give_up(path, life, failure)

    def _noticed(self, path: str, life: WorkLife, seq: int, message: m.Noticed) -> None:
        self.ledger.order(Notice(path, message.message))

    def _left(self, path: str, life: WorkLife, seq: int, message: m.Left) -> None:
        """The process will be gone in a moment: that is what counts."""

    # -- failures ---------------------------------------------------------------------------------

    def _failed(
        self,
        path: str,
        life: WorkLife,
        call: Call,
        failure: f.Failure,
        *,
        seq: int = 0,
        died: bool = False,
        timeout: bool = False,
        retry: bool = True,
    ) -> None:
        if died:
            again = life.options.on_crash == "rerun" and call.deaths + 1 < DEATHS_ALLOWED
        else:
            again = retry and call.attempts < life.options.retries
        self.ledger.enter(f.CallFailed(path, seq, call.number, failure, again, died, timeout))
        self.ledger.fresh = True
        self._touched[path] = None
        if not again and life.options.raise_exception:
            self.end(1, "failed", work=path, failure=failure)

    def _interrupted(self, path: str, life: WorkLife, call: Call) -> None:
        """The whole run was killed while the call ran: not the call's fault, so it is no death of its process."""
        self._broken_off(path, life, call, "the run was interrupted while this call ran")

    def _broken_off(self, path: str, life: WorkLife, call: Call, why: str) -> None:
        again = life.options.on_crash == "rerun"
        reason = why + ("" if again else ", and on_crash is 'fail'")
        self.ledger.enter(f.CallFailed(path, 0, call.number, f.Failure("Interrupted", reason), again))

    def exited(self, path: str, incarnation: int, reason: str) -> None:
        """The process is gone, and everything that it had said has been taken in."""
        model = self.ledger.model
        known = model.works.get(path)
        before = known.process if known is not None else Process.ABSENT
        life = self._ended(path, incarnation, reason)
        if life is None or self.ending:
            return
        self._touched[path] = None
        if model.components[path].state.get("url"):  # whatever listened there went with the process
            self.ledger.enter(f.Wrote(path, m.Delta(SET, ("url",), ""), "runtime"))
        told = reason or "it left by itself"
        if life.running is not None:
            call = life.running
            failure = f.Failure("WorkDied", f"the process of {path} died while run was going on: {told}")
            if call.deaths + 1 >= DEATHS_ALLOWED:
                failure = f.Failure(
                    "WorkDied", f"{failure.message} (death {call.deaths + 1}: not tried again)"
                )
            self._failed(path, life, call, failure, died=True)
            if call.phase is Phase.WAITING:
                self.ledger.order(Notice(path, f"{failure.message}; the same call runs again"))
        elif before is Process.STARTING and life.start_deaths >= DEATHS_ALLOWED:
            failure = f.Failure(
                "WorkDied", f"the process of {path} died {life.start_deaths} times at its start: {told}"
            )
            if life.queue:
                self._failed(path, life, life.queue[0], failure, retry=False)
            else:
                self._give_up(path, life, failure)

    def _ended(self, path: str, incarnation: int, reason: str) -> WorkLife | None:
        """Enter the end of a process, if it is news. The work's life, if the process was its current one."""
        model = self.ledger.model
        life = model.works.get(path)
        current = life is not None and life.incarnation == incarnation and life.process is not Process.ABSENT
        if not current and incarnation not in model.held:
            return None
        self.ledger.enter(f.Gone(path, incarnation, reason))
        self.ledger.fresh = True
        self._touched.update(self._waiting)
        self._waiting.clear()
        return life if current else None

    def _give_up(self, path: str, life: WorkLife, failure: f.Failure) -> None:
        """Nobody waits for a call, but ``start()`` asked for a process that cannot be had."""
        self.ledger.enter(f.StopAsked(path, cancel=False, by="runtime"))
        if life.options.raise_exception:
            self.end(1, "failed", work=path, failure=failure)

    def could_not_start(self, path: str, incarnation: int, failure: f.Failure) -> None:
        """The object could not be sent, or no process could be had: the next try would fare no better."""
        life = self._ended(path, incarnation, failure.message)
        if life is None or self.ending:
            return
        if life.queue:
            self._failed(path, life, life.queue[0], failure, retry=False)
        elif life.wanted:
            self._give_up(path, life, failure)

    # -- what flow and page ask -------------------------------------------------------------------

    def write(self, path: str, delta: m.Delta, by: str) -> None:
        """Somebody else than the work writes its state: it learns of it."""
        self.ledger.enter(f.Wrote(path, delta, by))
        life = self.ledger.model.works.get(path)
        if life is not None and life.process in (Process.STARTING, Process.READY):
            self._send(path, life, m.Write([delta]))
            life.unseen.append((life.sent, delta))
        elif (
            life is not None and life.process is Process.STOPPING
        ):  # it is told nothing more, and may still write
            life.unseen.append((NEVER, delta))
        if by != "flow":
            self.ledger.fresh = True

    def start(self, path: str) -> None:
        life = self.ledger.model.works[path]
        if not life.wanted and life.process not in (Process.STARTING, Process.READY):
            self.ledger.enter(f.StartAsked(path))
            self._touched[path] = None

    def stop(self, path: str) -> None:
        """Cancel its calls and end its process."""
        life = self.ledger.model.works[path]
        if life.stage == "stopped":
            return
        alive = life.process in (Process.STARTING, Process.READY)
        self.ledger.enter(f.StopAsked(path))
        if alive:
            self.ledger.order(StopWorker(path, life.incarnation))

    def delete(self, path: str) -> None:
        """A component leaves the tree, with all below it."""
        model = self.ledger.model
        for each in model.below(path):
            life = model.works.get(each)
            if life is not None and life.process in (Process.STARTING, Process.READY):
                self.ledger.order(StopWorker(each, life.incarnation))
            self._timed.discard(each)
        self.ledger.enter(f.Deleted(path))

    def end(
        self, code: int, reason: str, message: str = "", work: str = "", failure: f.Failure | None = None
    ) -> None:
        """The app is to end; the first who says so decides how."""
        if not self.ending:
            self.ending = True
            self.ledger.order(EndApp(code, reason, message, work, failure))

    def stop_all(self) -> None:
        """End every process. Calls that run stay as they are: a resumed run takes them up again."""
        self.ending = True
        for path, life in self.ledger.model.works.items():
            if life.process in (Process.STARTING, Process.READY):
                self.ledger.enter(f.StopAsked(path, cancel=False, by="runtime"))
                self.ledger.order(StopWorker(path, life.incarnation))

    # -- time -------------------------------------------------------------------------------------

    def elapsed(self) -> None:
        """Time went by: calls that take too long, processes that idle too long."""
        for path in self._timed:
            life = self.ledger.model.works[path]
            if life.process is not Process.READY:
                continue
            timeout, idle = life.options.timeout, life.options.idle_timeout
            if life.running is not None:
                if timeout is not None and self.ledger.at - life.running.since >= timeout:
                    told = f"{path}.run took longer than its timeout of {timeout:g} s"
                    self._failed(path, life, life.running, f.Failure("TimeoutError", told), timeout=True)
                    self._stop_process(path, life)
            elif not life.queue and idle is not None and self.ledger.at - life.idle_since >= idle:
                self._stop_process(path, life)

    def clock_set(self, by: float) -> None:
        """The clock was set on (or back) by so many seconds: whoever is being timed is not to notice."""
        self.ledger.enter(f.ClockSet(by))

    def _stop_process(self, path: str, life: WorkLife) -> None:
        self.ledger.enter(f.StopAsked(path, cancel=False, by="runtime"))
        self.ledger.order(StopWorker(path, life.incarnation))

    # -- the end of a turn ------------------------------------------------------------------------

    def settle(self) -> None:
        """Start the processes that are needed, and give each idle one its next call."""
        if not self._touched or self.ending:
            return
        touched, self._touched = self._touched, {}
        works = self.ledger.model.works
        for path in touched:
            life = works.get(path)
            if life is None:
                continue
            if life.process is Process.READY:
                if life.running is None and life.queue:
                    self._dispatch(path, life)
            elif life.process is Process.ABSENT and (life.queue or life.wanted):
                self._place(path, life)

    def _dispatch(self, path: str, life: WorkLife) -> None:
        call = life.queue[0]
        self.ledger.enter(f.Dispatched(path, call.number))
        self._send(path, life, m.Call(call.number, f"{self.run}.{call.number}", call.args, call.kwargs))

    def _place(self, path: str, life: WorkLife) -> None:
        model = self.ledger.model
        wanted = min(life.options.gpus, len(self.devices))
        devices: tuple[int, ...] = ()
        if wanted:
            taken = {device for held in model.held.values() for device in held}
            free = [device for device in self.devices if device not in taken]
            if len(free) < wanted:
                self._waiting[path] = None
                return
            devices = tuple(free[:wanted])
        incarnation = model.incarnations + 1
        self.ledger.enter(f.Placed(path, incarnation, list(devices)))
        life.sent = 1  # the object itself, sent when this order is performed
        self.ledger.order(Place(path, incarnation, devices, life.options.gpus > len(self.devices)))

    def _send(self, path: str, life: WorkLife, message: m.Message) -> None:
        life.sent += 1
        self.ledger.order(Send(path, message))

    @property
    def busy(self) -> bool:
        """Whether any call is unfinished."""
        return any(life.running is not None or life.queue for life in self.ledger.model.works.values())
