"""What happened in a run, one event after the other, in the words of who wrote the app.

Read turn by turn: a run of any length takes no more memory than its longest turn, and may be live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lightning.app.journal.journal import Turn
from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import SET
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import unpack
from lightning.app.runtime import sentences
from lightning.app.runtime.past import plain


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    turn: int
    at: float
    by: str  # "flow", "page", "work", "runtime", "start"
    kind: str  # "changed", "called", "returned" ...
    component: str
    text: str
    attribute: str = ""  # of a change
    value: Any = None  # what was set or returned, as JSON has it
    call: int | None = None
    conflict: bool = False  # it overwrote what its writer had not seen

    def told(self) -> dict[str, Any]:
        """As JSON has it; what does not apply is left out."""
        row: dict[str, Any] = {
            "turn": self.turn,
            "at": self.at,
            "by": self.by,
            "kind": self.kind,
            "component": self.component,
            "text": self.text,
        }
        if self.attribute:
            row |= {"attribute": self.attribute, "conflict": self.conflict}
        if self.attribute or self.kind == "returned":
            row["value"] = self.value
        if self.call is not None:
            row["call"] = self.call
        return row


class History:
    """The events of a run, or of one component and what is below it, or of one attribute."""

    def __init__(self, about: str = "") -> None:
        self.about = about
        self.components: set[str] = set()  # all that the turns read so far tell of
        self.known: set[str] = set()  # and their attributes

    def events(self, turns: Iterable[Turn], since: float | None = None) -> Iterator[Event]:
        for turn in turns:
            if since is not None and turn.at < since:
                continue
            for fact in f.decode_turn(turn.facts):
                for event in self._events(turn.seq, turn.at, fact):
                    if self._wanted(event):
                        yield event

    def _wanted(self, event: Event) -> bool:
        about, component = self.about, event.component
        if event.attribute:
            attribute = f"{component}.{event.attribute}"
            self.known.add(attribute)
            if attribute == about:
                return True
            if event.kind == "initial":
                return False  # who asks for a component is told that it was made
        else:
            self.components.add(component)
            self.known.add(component)
        return not about or component == about or component.startswith(about + ".")

    def _events(self, turn: int, at: float, fact: f.Fact) -> Iterator[Event]:
        path = getattr(fact, "path", "root")

        def event(by: str, kind: str, text: str, **more: Any) -> Event:
            return Event(turn, at, by, kind, path, text, **more)

        def changed(by: str, delta: Delta, conflict: bool = False, kind: str = "changed") -> Event:
            value = plain(unpack(delta.value))
            text = sentences.change(path, delta)
            return event(by, kind, text, attribute=str(delta.path[0]), value=value, conflict=conflict)

        match fact:
            case f.EpochBegan():
                yield event(
                    "runtime", "started", "the run starts" if fact.epoch == 1 else "the run is resumed"
                )
            case f.Made():
                yield event("start" if fact.origin is None else "flow", "made", sentences.asked(fact))
                for name, value in fact.state.items():
                    yield changed("start", Delta(SET, (name,), value), kind="initial")
            case f.Deleted():
                yield event("start" if fact.by == "code" else "flow", "deleted", sentences.asked(fact))
            case f.Configured():
                yield event("start", "configured", f"{path} has other options: {fact.options}")
            case f.Wrote():
                yield changed(fact.by, fact.delta)
            case f.Changed():
                for position, delta in enumerate(fact.deltas):
                    yield changed("work", delta, position in fact.conflicts)
            case f.Called():
                yield event("flow", "called", sentences.asked(fact), call=fact.number)
            case f.Dispatched():
                yield event("runtime", "began", f"{path}: call {fact.number} begins", call=fact.number)
            case f.Returned():
                text = f"{path}: call {fact.number} returns {sentences.shown(fact.value)}"
                yield event("work", "returned", text, call=fact.number, value=plain(unpack(fact.value)))
            case f.CallFailed():
                yield event("work" if fact.seq else "runtime", "failed", _failed(fact), call=fact.number)
            case f.Forgotten():
                text = f"{path}: call {fact.number} is dropped, as it no longer fits the code"
                yield event("start", "forgotten", text, call=fact.number)
            case f.Rebound():
                now = sentences.call(path, fact.args, fact.kwargs)
                text = f"{path}: call {fact.number} is {now} now, as the code has changed"
                yield event("start", "rebound", text, call=fact.number)
            case f.ClockSet():
                yield event(
                    "machine",
                    "clock",
                    f"the clock was set {'on' if fact.by > 0 else 'back'} by {abs(fact.by):.3f} s",
                )
            case f.Renamed():
                yield event("start", "renamed", f"{path} is a {fact.cls} now")
            case f.Placed():
                on = f" with GPU {', '.join(map(str, fact.devices))}" if fact.devices else ""
                yield event("runtime", "placed", f"{path}: a process is started{on}")
            case f.Up():
                yield event("work", "up", f"{path}: process {fact.pid} is ready")
            case f.Gone():
                why = f": {fact.reason}" if fact.reason else ""
                yield event("runtime", "gone", f"{path}: its process has ended{why}")
            case f.StartAsked():
                yield event("flow", "start", sentences.asked(fact))
            case f.StopAsked():
                if fact.cancel:
                    yield event(fact.by, "stop", sentences.asked(fact))
                else:
                    yield event("runtime", "stop", f"{path}: its process is told to end")
            case f.Ticked():
                if fact.active:
                    path = fact.key.partition("|")[0]
                    yield event("runtime", "ticked", sentences.asked(fact))
            case f.CursorMoved():
                yield event("flow", "iterated", sentences.asked(fact))
            case f.EndAsked():
                yield event("flow", "end", sentences.asked(fact))
            case f.Ended():
                message = f": {fact.message}" if fact.message else ""
                text = f"the app has ended, {fact.reason}, exit code {fact.code}{message}"
                yield event("runtime", "ended", text)


def _failed(fact: f.CallFailed) -> str:
    call = f"{fact.path}: call {fact.number}"
    if fact.failure.kind == "Interrupted":
        return f"{call}: {fact.failure.message}" + ("; it runs again" if fact.again else "")
    again = "; it runs again" if fact.again else ""
    return f"{call} fails: {fact.failure.kind}: {fact.failure.message}{again}"
