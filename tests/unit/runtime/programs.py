"""Random flows: a program of statements, drawn from a seed, that a flow's ``run`` goes through in each pass."""

from __future__ import annotations

import random
import time
from typing import Any

import lightning as L
from lightning.app.structures import List

NAMES = ("a", "b", "c", "d")
LINES = ("* * * * *", "*/5 * * * *", "hourly")


class Step(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x = 0
        self.seen: list[int] = []

    def run(self, number: int) -> int:
        for each in range(number):
            self.x += 1
            self.seen.append(each)
        if number == 4:
            raise ValueError(f"not {number}")
        return number


class Programmed(L.LightningFlow):
    """Goes through its program in each pass."""

    def __init__(self, program: list[Any], options: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        for name in NAMES:
            setattr(self, name, Step(**options[name]))
        self.made = List()
        self.count = 0
        self.results: list[Any] = []
        self._program = program
        self._passes = 0

    def run(self) -> None:
        self._passes += 1
        for statement in self._program:
            self.do(statement)

    def do(self, statement: tuple[Any, ...]) -> None:
        match statement:
            case ("call", name, number):
                getattr(self, name).run(number)
            case ("result", name, number):
                value = getattr(self, name).run(number)
                if value is not None and len(self.results) < 20:
                    self.results.append([name, value])
            case ("call of", name, other):
                getattr(self, name).run(getattr(self, other).x % 4)
            case ("count", most):
                if self.count < most:
                    self.count += 1
            case ("write", name, value):
                getattr(self, name).x = value
            case ("when", name, least, then):
                if getattr(self, name).x >= least:
                    self.do(then)
            case ("once in", times, then):
                if self._passes % times == 0:
                    self.do(then)
            case ("wait", name, least):
                for _ in range(3):
                    if getattr(self, name).x >= least:
                        break
                    time.sleep(0.0011)
            case ("schedule", line, then):
                if self.schedule(line):
                    self.do(then)
            case ("start", name):
                getattr(self, name).start()
            case ("stop", name):
                getattr(self, name).stop()
            case ("status", name):
                self.results = [getattr(self, name).status.stage, getattr(self, name).num_failures]
            case ("make", most):
                if len(self.made) < most:
                    self.made.append(Step(parallel=True))
                    self.made[-1].run(2)
            case ("take away",):
                if len(self.made):
                    self.made.pop(0)
            case ("iterate", items, name):
                for item in self.experimental_iterate(items, user_key=str(items)):
                    getattr(self, name).run(item)
            case ("end", word, least):
                if self.count >= least:
                    {"stop": self.stop, "fail": self.fail, "raise": self.refuse}[word](f"at {least}")

    def refuse(self, message: str) -> None:
        self.count += 100  # did not happen
        raise RuntimeError(message)


def drawn(rng: random.Random) -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """A program, and the options of its works."""
    options = {
        name: {
            "parallel": rng.random() < 0.5,
            "cache_calls": rng.random() < 0.85,
            "raise_exception": rng.random() < 0.1,
            "retries": rng.choice((0, 0, 1)),
            "timeout": rng.choice((None, None, 50.0)),
            "on_crash": rng.choice(("rerun", "fail")),
        }
        for name in NAMES
    }
    return [statement(rng) for _ in range(rng.randint(1, 8))], options


def statement(rng: random.Random, depth: int = 0) -> tuple[Any, ...]:
    name = rng.choice(NAMES)
    match rng.randrange(16 if depth < 2 else 11):
        case 0 | 1:
            return ("call", name, rng.randrange(6))
        case 2:
            return ("result", name, rng.randrange(4))
        case 3:
            return ("call of", name, rng.choice(NAMES))
        case 4:
            return ("count", rng.randrange(1, 30))
        case 5:
            return ("write", name, rng.randrange(4))
        case 6:
            return ("wait", name, rng.randrange(1, 4))
        case 7:
            return ("start", name)
        case 8:
            return rng.choice((("make", rng.randrange(1, 4)), ("take away",)))
        case 9:
            return ("iterate", [rng.randrange(4) for _ in range(3)], name)
        case 10:
            return rng.choice(
                (("status", name), ("end", rng.choice(("stop", "fail", "raise")), rng.randrange(30)))
            )
        case 11 | 12:
            return ("when", name, rng.randrange(5), statement(rng, depth + 1))
        case 13:
            return ("once in", rng.randrange(2, 5), statement(rng, depth + 1))
        case 14:
            return ("schedule", rng.choice(LINES), statement(rng, depth + 1))
        case _:
            return ("when", name, rng.randrange(5), ("stop", rng.choice(NAMES)))
