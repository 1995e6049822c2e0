"""One case: an app that is killed again and again by a plan that follows from a seed, resumed each time, judged.

A plan says whom to kill and when: so long after the start, after so many more effects, or at the end. What a
kill hit is counted, because kills that hit nothing prove nothing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from lightning.app.testing import Terminal
from lightning.app.testing.terminal import ended

from .books import Books, Effect, Row, effects, judge, judge_end, promise, rows
from .extent import ONLY, SIDE_BY_SIDE

APP = Path(__file__).parent / "apps" / "everything.py"
GRANDCHILD = "sleep 600"
"""What some works start in sessions of their own."""
DRIVER = Path(__file__).parent / "driver.py"
ENDS_LIFE = {"runtime": -signal.SIGKILL, "supervisor": 1, "everybody": -signal.SIGKILL}
"""Whose death ends the command, and the exit code it then has."""
PHASES = ("before the first commit", "during a pass", "during a call", "between", "after the end")
MOST_KILLS = 12
ENOUGH = 90.0


@dataclass(frozen=True)
class Shot:
    """Whom to kill, and when: ``after`` more effects (None: from the start; -1: at the end), then a moment."""

    victim: str
    after: int | None
    moment: float


@dataclass
class Tally:
    """What was hit."""

    cases: int = 0
    kills: int = 0
    resumed: int = 0
    strays: int = 0
    calls: int = 0
    ticks: int = 0
    victims: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.kills += other.kills
        self.resumed += other.resumed
        self.strays += other.strays
        self.calls += other.calls
        self.ticks += other.ticks
        self.victims += other.victims
        self.phases += other.phases

    def __str__(self) -> str:
        phases = ", ".join(f"{phase} {self.phases[phase]}" for phase in PHASES)
        victims = ", ".join(f"{victim} {number}" for victim, number in sorted(self.victims.items()))
        return (
            f"{self.kills} kills in {self.cases} cases, {self.resumed} resumed, {self.calls} calls, {self.ticks} "
            f"ticks, {self.strays} processes that outlived everybody\n  whom: {victims}\n  when: {phases}"
        )


def plan(seed: int) -> tuple[list[str], list[Shot]]:
    """The options of the case, and its shots."""
    dice = random.Random(f"plan {seed}")
    server = dice.random() < 0.2
    victims = ["runtime"] * 4 + ["work"] * 5 + ["supervisor", "everybody"] + ["server"] * (2 * server)
    shots = []
    for _ in range(dice.randint(4, MOST_KILLS)):
        victim = dice.choice(victims)
        when = dice.random()
        if when < 0.15:
            shots.append(Shot(victim, None, dice.uniform(0.05, 0.3)))
        elif when < 0.9:
            shots.append(
                Shot(victim, dice.choice([1, 1, 2, 3, 5, 8, 13]), dice.choice([0.0, dice.uniform(0, 0.01)]))
            )
        else:
            shots.append(Shot("runtime", -1, dice.uniform(0, 0.03)))
    options = ["--port", "0"] if server else ["--without-server"]
    return [*options, "--durability", dice.choice(["full", "full", "process"])], shots


class Case:
    """One run, from its first start to its end."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        kills: bool = True,
        words: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        eager: bool = False,
    ) -> None:
        self.seed = seed
        self.folder = folder
        self.eager = eager
        self._environment = environment or {}
        self.tally = Tally(cases=1)
        self.killed: set[int] = set()
        self._dice = random.Random(f"order {seed}")
        self._before: list[Row] = []
        self._strays: set[int] = set()
        options, shots = plan(seed) if kills else (["--without-server"], [])
        self._shots = iter(shots)
        self.words = ["run", "app", str(APP), "--open-ui=false", "--log-level", "error"]
        self.words += words or options

    def play(self) -> Tally:
        """All of it; afterwards nothing of it runs any more."""
        try:
            with ExitStack() as terminals:
                self._play(terminals)
        except AssertionError as error:
            raise AssertionError(
                f"CHAOS_SEED={self.seed} replays this case, which was in {self.folder}: {error}\n{self.tally}"
            ) from error
        return self.tally

    def _play(self, terminals: ExitStack) -> None:
        while self._live(self.start(terminals)):
            pass
        self.judge()

    def start(self, terminals: ExitStack, doom: Mapping[str, object] | None = None) -> Terminal:
        """The command, with something wrong in it if there is a doom (``driver.py``)."""
        doom = doom or ({"kind": "eager"} if self.eager else None)
        environment = {"CHAOS_SEED": str(self.seed), **self._environment}
        if doom:
            environment["CHAOS_DOOM"] = json.dumps(doom)
        return terminals.enter_context(
            Terminal(
                *self.words,
                *self._resuming(),
                folder=self.folder,
                environment=environment,
                program=[str(DRIVER)] if doom else ["-m", "lightning.app"],
            )
        )

    def judge_so_far(self) -> tuple[Books, list[Effect]]:
        """Whether the effects follow from what is in the journal."""
        done = effects(self.folder)
        by_themselves = {int(e.words[2]) for e in done if e.what == "begin" and e.words[0] == "root.deadly"}
        return judge(self._before, done, self.killed | by_themselves), done

    def judge(self) -> None:
        """All of it, the end too."""
        books, done = self.judge_so_far()
        judge_end(self.folder, books, done)
        self.tally.calls = len(books.calls)
        self.tally.ticks = sum(map(len, books.ticks.values()))

    def _resuming(self) -> list[str]:
        """Go on with the run, once there is one; one that was killed at its very beginning is begun anew."""
        (self.folder / "pass").unlink(missing_ok=True)
        home = next((self.folder / ".lightning" / "runs").glob("*"), None)
        if home is None:
            return []
        if (home / "meta.json").exists() and (home / "journal.sqlite").exists():
            self.tally.resumed += 1
            return ["--resume"]
        shutil.rmtree(home)
        return []

    def _live(self, terminal: Terminal) -> bool:
        """From a start to a kill that ends it, or to the end of the app; whether it was killed."""
        began = len(effects(self.folder))
        epochs = self._epochs()
        for shot in self._shots:
            if not self.await_shot(terminal, shot, began):
                break
            victims = self._choose(terminal, shot.victim)
            in_a_call = self._in_a_call(began)
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not victims:
                continue
            self.killed.update(victims)
            if shot.victim in ENDS_LIFE:
                code = self.end(terminal, everybody=shot.victim == "everybody")
                promise(code in (0, ENDS_LIFE[shot.victim]), f"exit code {code}; {terminal}")
                if code == 0:
                    return False  # it was faster
                committed = self._epochs() > epochs
            else:
                committed = True
            self._count(shot.victim, committed, in_a_call)
            if shot.victim in ENDS_LIFE:
                return not self.over()
        code = self.end(terminal)
        promise(code == 0, f"exit code {code}; {terminal}")
        return False

    def over(self) -> bool:
        """Whether the run had noted its end already when the kill came."""
        meta = next((self.folder / ".lightning" / "runs").glob("*/meta.json"), None)
        return meta is not None and json.loads(meta.read_bytes())["reason"] == "stopped"

    def await_shot(self, terminal: Terminal, shot: Shot, began: int) -> bool:
        """Wait for the moment of the shot; False when the app has ended before."""
        final = self.folder / "final.json"
        log = self.folder / "effects.log"
        wanted = 0 if shot.after is None else began + max(shot.after, 0)
        by = time.monotonic() + ENOUGH

        def come() -> bool:
            if shot.after == -1:
                return final.exists()
            return not wanted or (log.exists() and log.read_bytes().count(b"\n") >= wanted)

        while not come():
            if terminal.process.poll() is not None:
                return False
            promise(time.monotonic() < by, f"nothing happens any more; {terminal}")
            time.sleep(0.002)
        time.sleep(shot.moment)
        return terminal.process.poll() is None

    def _choose(self, terminal: Terminal, victim: str) -> list[int]:
        if victim == "runtime":
            return [terminal.process.pid]
        kinds: dict[str, list[int]] = {"runtime": [], "supervisor": [], "work": [], "server": []}
        for pid in terminal.processes():
            kinds.get(kind(pid, terminal), []).append(pid)
        if victim == "everybody":
            found = [pid for pids in kinds.values() for pid in pids]
            self._dice.shuffle(found)
            return found
        return [self._dice.choice(kinds[victim])] if kinds[victim] else []

    def end(self, terminal: Terminal, *, everybody: bool = False) -> int:
        """Wait for the end: nothing is left but, when all were killed at once, sessions of their own."""
        code = terminal.process.wait(ENOUGH)
        found = terminal.processes()
        strays = {pid for pid in found if everybody and command(pid) == GRANDCHILD}
        left = [pid for pid in found if pid not in strays and not ended(pid, 2.0)]
        # some have become one just now
        strays |= {pid for pid in left if everybody and command(pid) == GRANDCHILD}
        left = [pid for pid in left if pid not in strays]
        promise(not left, f"left running: {[command(pid) for pid in left]}; {terminal}")
        before = self._epochs()
        self.look()
        if self._epochs() > before:  # so the command has come beyond its look at what is left
            outlived = [pid for pid in self._strays if not ended(pid, 2.0)]
            promise(not outlived, f"the next command left them running: {outlived}")
            self._strays.clear()
        self._strays |= strays
        self.tally.strays += len(strays)
        return code

    def look(self) -> None:
        """Read the journal: what was there before is there still."""
        journal = rows(self.folder)
        promise(journal[: len(self._before)] == self._before, "rows that were there before a kill are gone")
        self._before = journal

    def _epochs(self) -> set[int]:
        """Those that the journal had rows of when it was last read."""
        return {row.epoch for row in self._before}

    def _in_a_call(self, began: int) -> bool:
        """Whether a call that began in this life has not come to its end."""
        going: Counter[str] = Counter()
        for effect in effects(self.folder)[began:]:
            if effect.what in ("begin", "end"):
                going[effect.words[1]] += 1 if effect.what == "begin" else -1
        return any(number > 0 for number in going.values())

    def _count(self, victim: str, committed: bool, in_a_call: bool) -> None:
        tally = self.tally
        tally.kills += 1
        tally.victims[victim] += 1
        mark = self.folder / "pass"
        if not committed:
            phase = "before the first commit"
        elif (self.folder / "final.json").exists():
            phase = "after the end"
        elif victim in ENDS_LIFE and mark.exists() and mark.read_bytes() == b"1":
            phase = "during a pass"
        else:
            phase = "during a call" if in_a_call else "between"
        tally.phases[phase] += 1


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def kind(pid: int, terminal: Terminal) -> str:
    """What a process of a run is, as it calls itself."""
    if pid == terminal.process.pid:
        return "runtime"
    title = command(pid)
    if title.startswith("lightning: root."):
        return "work"
    return next((each for each in ("supervisor", "server") if title.startswith(f"lightning: {each}")), "")


def campaign(kills: int, home: Path, first: int, report: Callable[[str], None] = print) -> Tally:
    """Case after case, some at a time, until so many kills have hit."""
    tally = Tally()
    seeds: Iterator[int] = iter([ONLY]) if ONLY is not None else count(first)

    def play(seed: int) -> Tally:
        folder = home / f"case {seed}"
        folder.mkdir()
        played = Case(seed, folder, eager=seed % 2 == 0).play()
        shutil.rmtree(folder)
        return played

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        while tally.kills < kills and (batch := list(islice(seeds, SIDE_BY_SIDE * 4))):
            before = tally.kills
            for played in pool.map(play, batch):
                tally.add(played)
            if tally.kills // 1000 > before // 1000:
                report(str(tally))
    return tally
