"""An independent judge of a run: it reads the effects, the journal's rows and the end, and knows what was promised.

Nothing of the product's code is used. The rows are read as a stranger would, by SQLite and msgpack, and the
facts by their numbers, which a journal never gives a new meaning. What the end should be follows from the app.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import apsw
import msgspec

EPOCH_BEGAN, MADE, DELETED, CHANGED = 1, 2, 4, 6
CALLED, DISPATCHED, RETURNED, CALL_FAILED, UP, STOP_ASKED, TICKED, ENDED = 7, 8, 9, 10, 12, 15, 16, 19
"""The numbers of the facts, as they stand first in each."""
DEATHS_ALLOWED = 3


class Row(NamedTuple):
    seq: int
    at: float
    epoch: int
    facts: bytes

    def told(self) -> list[list[Any]]:
        told: list[list[Any]] = msgspec.msgpack.decode(self.facts)
        return told


class Effect(NamedTuple):
    """A line of the effects: what a work did, truly and in this order."""

    what: str
    words: list[str]


class Verdict(AssertionError):
    """A promise was broken."""


def promise(kept: bool, said: str) -> None:
    if not kept:
        raise Verdict(said)


def rows(folder: Path) -> list[Row]:
    """The rows of the only run below ``folder``, read from a copy so that looking changes nothing."""
    homes = sorted((folder / ".lightning" / "runs").glob("*/journal.sqlite"))
    if not homes:
        return []
    (home,) = homes
    with TemporaryDirectory() as aside:
        for suffix in ("", "-wal"):
            source = home.with_name(home.name + suffix)
            if source.exists():
                shutil.copy(source, Path(aside) / source.name)
        kept = read_rows(Path(aside) / home.name)
    return _with_compacted(kept, folder / "turns.log")


def read_rows(path: Path) -> list[Row]:
    connection = apsw.Connection(str(path))
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'turns'").get:
            return []
        selected = connection.execute("SELECT seq, at, epoch, facts FROM turns ORDER BY seq")
        return [Row(*row) for row in selected]
    finally:
        connection.close()


def _with_compacted(kept: list[Row], log: Path) -> list[Row]:
    """All rows there have ever been, if somebody noted each before it was committed; ``kept`` decides."""
    if not log.exists() or not kept:
        return kept
    noted: dict[int, Row] = {}
    data = memoryview(log.read_bytes())
    while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
        row = Row(*msgspec.msgpack.decode(data[4:end]))
        noted[row.seq] = row  # written again by a later epoch, if it had not been committed
        data = data[end:]
    for row in kept:
        promise(row == noted[row.seq], f"row {row.seq} is not what was written")
    return [noted[seq] for seq in range(1, kept[-1].seq + 1)]


def effects(folder: Path) -> list[Effect]:
    path = folder / "effects.log"
    if not path.exists():
        return []
    text = path.read_text()
    promise(not text or text.endswith("\n"), "a line of the effects is torn")
    return [Effect(words[0], words[1:]) for words in map(str.split, text.splitlines())]


@dataclass
class CallBook:
    """What the journal and the effects tell of one call."""

    path: str
    number: int
    on_crash: str
    dispatched: int = 0
    deaths: int = 0
    failures: int = 0  # exceptions
    interrupted: int = 0
    over: str = ""  # "returned" or "failed"
    message: str = ""
    cancelled: bool = False
    begun: int = 0
    ended: int = 0


@dataclass
class Books:
    """All calls of a run, by their numbers, as its journal has them."""

    calls: dict[int, CallBook] = field(default_factory=dict)
    ticks: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    called_at_tick: Counter[tuple[str, bytes, str]] = field(default_factory=Counter)
    pids: dict[str, int] = field(default_factory=dict)
    died: list[int] = field(default_factory=list)  # processes that are said to have died under a call
    on_crash: dict[str, str] = field(default_factory=dict)
    running: dict[str, CallBook] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    ended: bool = False

    def __post_init__(self) -> None:
        self._rules = {
            EPOCH_BEGAN: self._epoch_began,
            MADE: self._made,
            CALLED: self._called,
            DISPATCHED: self._dispatched,
            RETURNED: self._returned,
            CALL_FAILED: self._call_failed,
            UP: self._up,
            DELETED: self._deleted,
            STOP_ASKED: self._stop_asked,
            TICKED: self._ticked,
            ENDED: self._ended,
        }

    @classmethod
    def of(cls, journal: Sequence[Row]) -> Books:
        books = cls()
        for row in journal:
            for tag, *fact in row.told():
                rule = books._rules.get(tag)
                if rule is not None:
                    rule(*fact)  # what later versions have added stands behind what is known here
        return books

    def _epoch_began(self, epoch: int, *_: Any) -> None:
        promise(not self.epochs or epoch > self.epochs[-1], f"epoch {epoch} came after {self.epochs[-1:]}")
        self.epochs.append(epoch)
        self.pids.clear()
        self.ended = False

    def _made(self, path: str, kind: str, cls: str, state: Any, options: Any = None, *_: Any) -> None:
        if options is not None:
            self.on_crash[path] = options[5]

    def _deleted(self, path: str, *_: Any) -> None:
        for each in [each for each in self.running if each == path or each.startswith(f"{path}.")]:
            self.running.pop(each).cancelled = True

    def _called(
        self, path: str, number: int, key: bytes, args: Any, kwargs: Any, tick: str = "", *_: Any
    ) -> None:
        promise(number == len(self.calls) + 1, f"call {number} came after {len(self.calls)} calls")
        self.calls[number] = CallBook(path, number, self.on_crash[path])
        if tick:
            self.called_at_tick[path, key, tick] += 1

    def _dispatched(self, path: str, number: int, *_: Any) -> None:
        call = self.calls[number]
        promise(not call.over, f"call {number} of {path} has {call.over} and is dispatched again")
        promise(path not in self.running, f"call {number} of {path} is dispatched beside another")
        call.dispatched += 1
        self.running[path] = call

    def _returned(self, path: str, seq: int, number: int, value: Any, *_: Any) -> None:
        call = self.running.pop(path)
        promise(call.number == number, f"call {number} of {path} returned while {call.number} ran")
        call.over = "returned"

    def _call_failed(
        self, path: str, seq: int, number: int, failure: list[str], again: bool,
        died: bool = False, timeout: bool = False, *_: Any,
    ) -> None:  # fmt: skip
        call = self.calls[number]
        promise(call.over != "returned", f"call {number} of {path} has returned and fails")
        self.running.pop(path, None)
        if died:
            call.deaths += 1
            self.died.append(self.pids.get(path, 0))
            promise(
                again is (call.on_crash == "rerun" and call.deaths < DEATHS_ALLOWED),
                f"call {number} of {path}: death {call.deaths}, and again is {again}",
            )
        elif failure[0] == "Interrupted":
            call.interrupted += 1
            promise(
                again is (call.on_crash == "rerun"), f"call {number} of {path}: interrupted, again {again}"
            )
        else:
            call.failures += 1
        if not again:
            call.over, call.message = "failed", failure[1]
            promise(bool(failure[1]), f"call {number} of {path} failed without a reason")

    def _up(self, path: str, seq: int, pid: int, *_: Any) -> None:
        self.pids[path] = pid

    def _stop_asked(self, path: str, cancel: bool = True, *_: Any) -> None:
        if cancel and path in self.running:
            self.running.pop(path).cancelled = True

    def _ticked(self, key: str, ticks: Any, active: bool, *_: Any) -> None:
        if active:
            self.ticks[key].append(ticks[0] if isinstance(ticks, list) else ticks)

    def _ended(self, *_: Any) -> None:
        self.ended = True


def judge(journal: Sequence[Row], done: Sequence[Effect], killed: Collection[int]) -> Books:
    """Hold the effects against the journal. ``killed`` are the processes that somebody has killed."""
    promise(
        [row.seq for row in journal] == list(range(1, len(journal) + 1)), "the rows are not numbered 1, 2, 3"
    )
    books = Books.of(journal)
    _count_effects(books, done)
    for call in books.calls.values():
        where = f"call {call.number} of {call.path}"
        promise(
            call.begun <= call.dispatched,
            f"{where} ran {call.begun} times, dispatched {call.dispatched} times",
        )
        if call.on_crash == "fail":
            promise(call.begun <= 1, f"{where} ran {call.begun} times, and on_crash is 'fail'")
        if call.over == "returned":
            promise(call.ended >= 1, f"{where} returned, and never came to its end")
        if call.over == "failed" and call.deaths >= DEATHS_ALLOWED:
            promise(
                "death 3" in call.message, f"{where} failed at its third death, and says {call.message!r}"
            )
        promise(call.deaths <= DEATHS_ALLOWED, f"{where} died {call.deaths} times")
    strangers = [pid for pid in books.died if pid not in killed]
    promise(not strangers, f"said to have died, and nobody killed them: {strangers}")
    for key, numbers in books.ticks.items():
        promise(len(set(numbers)) == len(numbers), f"schedule {key}: a tick was true twice: {numbers}")
    for (path, _, tick), times in books.called_at_tick.items():
        promise(times == 1, f"{path} was called {times} times at tick {tick}")
    _check_echoes(done)
    return books


def _count_effects(books: Books, done: Sequence[Effect]) -> None:
    for effect in done:
        if effect.what in ("begin", "end"):
            path, call_id, *_ = effect.words
            number = int(call_id.rpartition(".")[2])
            promise(number in books.calls, f"call {number} of {path} ran, and the journal does not know it")
            call = books.calls[number]
            promise(call.path == path, f"call {number} ran in {path}, and was asked of {call.path}")
            if effect.what == "begin":
                call.begun += 1
            else:
                call.ended += 1


def _check_echoes(done: Sequence[Effect]) -> None:
    """What the flow had echoed was committed before: a process of later must find all of it."""
    echoed = 0
    for effect in done:
        if effect.what == "echoed":
            echoed = max(echoed, int(effect.words[0]))
        elif effect.what == "restored":
            there, echo = map(int, effect.words)
            promise(there >= echoed, f"{echoed} items were acknowledged, and {there} were restored")
            promise(echo >= echoed, f"the flow's {echoed} was seen by the work, and {echo} restored")


def judge_end(folder: Path, books: Books, done: Sequence[Effect]) -> None:
    """Hold the end that the flow told against what follows from the app and from which calls returned."""
    promise(books.ended, "the run ended, and its journal does not say so")
    told = json.loads((folder / "final.json").read_text())
    expected: dict[str, int] = {}
    for name, call in _named_calls(books, done):
        promise(bool(call.over), f"{name} (call {call.number} of {call.path}) is not over")
        if call.over == "returned":
            x = int(name.rpartition(" ")[2])
            expected[name] = x * x + 1
    promise(told["results"] == expected, f"results are {told['results']}, expected {expected}")
    for call in books.calls.values():
        if call.over == "failed":
            _justify(call)
    seen = told["seen"]
    promise(seen == sorted(set(seen)), f"the flow saw {seen}")
    echoed = {int(effect.words[0]) for effect in done if effect.what == "echoed"}
    promise(echoed <= set(seen), f"echoed {sorted(echoed)}, and the flow saw {seen} only")
    items = told["items"]
    promise(items == list(range(len(items))), f"the items are {items}")
    if told["writer"] == "succeeded":
        promise(told["count"] == len(items), f"the count is {told['count']} of {items}")
        table = {k % 5: k for k in range(len(items))}
        promise(dict(map(tuple, told["table"])) == table, f"the table is {told['table']}, expected {table}")
    for path, pairs in told["done"].items():
        returned = {
            _argument(done, call)
            for call in books.calls.values()
            if call.path == path and call.over == "returned"
        }
        promise(returned <= {x for x, _ in pairs}, f"{path} returned for {returned}, and has done {pairs}")
        promise(all(value == x * x + 1 for x, value in pairs), f"{path} has done {pairs}")
    if told["deadly"]:
        promise(
            "death 3" in told["deadly"] and "SIGKILL" in told["deadly"], f"deadly says {told['deadly']!r}"
        )


def _justify(call: CallBook) -> None:
    """A call fails for a reason that the app or a kill has given, and for no other."""
    fatal = call.deaths >= (DEATHS_ALLOWED if call.on_crash == "rerun" else 1)
    cut = call.on_crash == "fail" and call.interrupted > 0
    hopeless = call.path == "root.flaky" and call.failures == 3
    promise(
        fatal or cut or hopeless, f"call {call.number} of {call.path} failed without need: {call.message}"
    )


def _argument(done: Sequence[Effect], call: CallBook) -> int:
    return next(
        int(effect.words[3])
        for effect in done
        if effect.what == "begin" and int(effect.words[1].rpartition(".")[2]) == call.number
    )


def _named_calls(books: Books, done: Sequence[Effect]) -> Iterator[tuple[str, CallBook]]:
    """The calls whose results the flow keeps, by the names under which it does."""
    for call in books.calls.values():
        if not call.begun:
            continue
        x = _argument(done, call)
        _, _, place = call.path.partition(".")
        if place.startswith("workers."):
            yield f"worker {place.partition('.')[2]} {x}", call
        elif place in ("once", "chain", "temp") or (place == "flaky" and x != 99):
            yield f"{place} {x}", call
