"""An app with some of everything, which tells on the side what it really did.

Whoever kills it compares three stories: what the works noted in ``effects.log`` (each line one write to a file
opened for appending, so a line is whole or absent and lines are in their true order), what the journal says, and
what the flow had at its end. Which calls there are follows from the seed alone, so that a resumed run is the
same app.
"""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager

import lightning as L
from lightning.app.structures import List

SHAPE = random.Random(f"shape {os.environ.get('CHAOS_SEED', '0')}")
CHAIN = SHAPE.randint(2, 5)
WORKERS = SHAPE.randint(1, 2)
TASKS = SHAPE.randint(2, 4)
FLAKY = SHAPE.randint(1, 3)
ONCE = SHAPE.randint(1, 3)
ITEMS = SHAPE.randint(5, 25)
TEMPS = SHAPE.randint(1, 3)
PAUSE = float(os.environ.get("CHAOS_PAUSE", SHAPE.choice([0.0, 0.002, 0.01])))
DEADLY = SHAPE.random() < 0.4
GRANDCHILD = SHAPE.random() < 0.3
SPAWNED = "spawn" if SHAPE.random() < 0.15 else None
FILL = int(os.environ.get("CHAOS_FILL", 0))
"""So many bytes of its writings the writer makes heavier, for small disks."""
HOPELESS = 99


def note(*words):
    file = os.open("effects.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def square(x):
    return x * x + 1


@contextmanager
def in_a_pass():
    """Leaves a mark for who looks at the moment of a kill."""
    file = os.open("pass", os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(file, b"1", 0)
    time.sleep(PAUSE / 2)
    try:
        yield
    finally:
        os.pwrite(file, b"0", 0)
        os.close(file)


class Square(L.LightningWork):
    def __init__(self, tag="", **options):
        super().__init__(raise_exception=False, timeout=3600, **options)
        self.tag = tag
        self.done = {}

    def run(self, x):
        note("begin", self.name, self.call_id, os.getpid(), x)
        if GRANDCHILD and x == 0:
            subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(PAUSE)
        self.done[x] = square(x)
        note("end", self.name, self.call_id, os.getpid(), x)
        return square(x)


class Flaky(L.LightningWork):
    """Raises before it succeeds, as often as its argument says."""

    def __init__(self):
        super().__init__(parallel=True, retries=2, raise_exception=False)
        self.tries = {}

    def run(self, x):
        note("begin", self.name, self.call_id, os.getpid(), x)
        self.tries[x] = self.tries.get(x, 0) + 1
        if self.tries[x] <= x:
            raise ValueError(f"not yet {x}")
        note("end", self.name, self.call_id, os.getpid(), x)
        return square(x)


class Deadly(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True, raise_exception=False)

    def run(self, x):
        note("begin", self.name, self.call_id, os.getpid(), x)
        os.kill(os.getpid(), signal.SIGKILL)


class Writer(L.LightningWork):
    """Writes a list, a dictionary and a number. ``echo`` is the flow's: what it echoes, it has seen for good."""

    def __init__(self):
        super().__init__(parallel=True, raise_exception=False, timeout=3600)
        self.items = []
        self.table = {}
        self.count = 0
        self.echo = 0

    def run(self, x):
        note("begin", self.name, self.call_id, os.getpid(), x)
        note("restored", len(self.items), self.echo)
        while len(self.items) < ITEMS:
            k = len(self.items)
            self.items.append(k)
            self.table[k % 5] = k
            self.count = k + 1
            if FILL:
                self.ballast = os.urandom(FILL // ITEMS)
            while self.echo <= k and k % 3:
                time.sleep(0.0005)
            if self.echo:
                note("echoed", self.echo)
        for k in range(ITEMS):
            self.table[k % 5] = k
        self.count = ITEMS
        note("end", self.name, self.call_id, os.getpid(), x)
        return self.count


class Clockwork(L.LightningFlow):
    """A schedule in a flow of its own: its ticks concern nothing else."""

    def __init__(self):
        super().__init__()
        self.chime = Square("chime", parallel=True)

    def run(self):
        if self.schedule("* * * * * *"):
            self.chime.run(1)


class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.chain = Square("chain")
        self.workers = List(*[Square(f"worker {n}", parallel=True) for n in range(WORKERS)])
        self.flaky = Flaky()
        self.once = Square("once", parallel=True, on_crash="fail", start_method=SPAWNED)
        self.deadly = Deadly()
        self.writer = Writer()
        self.clockwork = Clockwork()
        self.results = {}
        self.heard = 0
        self.seen = []
        self.built = 0

    def run(self):
        with in_a_pass():
            self.replay()

    def replay(self):
        over = all(self.over())  # first of all: what is read later in a pass may be newer
        self.hear()
        self.clockwork.run()
        for x in range(TASKS):
            for n, worker in enumerate(self.workers):
                self.keep(f"worker {n} {x}", worker.run(x))
        for x in range(FLAKY):
            self.keep(f"flaky {x}", self.flaky.run(x))
        self.flaky.run(HOPELESS)
        for x in range(ONCE):
            self.keep(f"once {x}", self.once.run(x))
        if DEADLY:
            self.deadly.run(0)
        self.writer.run(0)
        for x in range(CHAIN):
            self.keep(f"chain {x}", self.chain.run(x))
        while self.built < TEMPS:
            if not hasattr(self, "temp"):
                self.temp = Square(tag=f"temp {self.built}")
            self.keep(f"temp {self.built}", self.temp.run(self.built))
            del self.temp
            self.built += 1
        if over:
            self.tell()
            self.stop()

    def hear(self):
        heard = len(self.writer.items)
        if heard > self.heard:
            self.heard = heard
            self.seen.append(heard)
            self.writer.echo = heard

    def keep(self, name, value):
        if value is not None and self.results.get(name) != value:
            self.results[name] = value

    def over(self):
        yield self.writer.num_successes + self.writer.num_failures == 1
        yield self.flaky.num_successes + self.flaky.num_failures == FLAKY + 1
        yield self.once.num_successes + self.once.num_failures == ONCE
        yield not DEADLY or self.deadly.num_failures == 1
        for worker in self.workers:
            yield worker.num_successes + worker.num_failures == TASKS

    def tell(self):
        """What the flow has at its end. A flow's side effects happen at least once: the newest counts."""
        told = {
            "results": dict(self.results),
            "seen": list(self.seen),
            "built": self.built,
            "items": list(self.writer.items),
            "table": sorted(self.writer.table.items()),
            "count": self.writer.count,
            "writer": self.writer.status.stage,
            "deadly": self.deadly.status.message if DEADLY else "",
            "done": {work.name: sorted(work.done.items()) for work in (self.chain, self.once, *self.workers)},
        }
        with open("final.new", "w") as file:
            json.dump(told, file)
        os.replace("final.new", "final.json")


app = L.LightningApp(Flow())
