"""A tree that changes: components made, replaced and deleted in run, structures, schedules, iterations."""

import os
import time

import lightning as L
from lightning.app.structures import Dict, List


class Step(L.LightningWork):
    def __init__(self, label, **options):
        super().__init__(**options)
        self.label = label
        self.seen = []

    def run(self, x):
        self.seen.append(x)
        if self.label == "long" and not os.path.exists("go on"):
            print("waits")
            while not os.path.exists("go on"):
                time.sleep(0.002)
        return x * 10


class Branch(L.LightningFlow):
    def __init__(self, label, scale=1):
        super().__init__()
        self.label = label
        self.scale = scale

    def run(self):
        if not hasattr(self, "leaf"):
            self.leaf = Step(f"{self.label}/leaf")
        return self.leaf.run(5)


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.tree = Dict()
        self.rows = List()
        self.first = Step("first")
        self.long = Step("long", parallel=True, retries=int(os.environ.get("LONG_RETRIES", "0")))
        self.hourly = Step("hourly")
        self.items = []

    def run(self):
        self.first.run(1)
        if self.schedule("hourly"):
            self.hourly.run(0)
        if "a" not in self.tree:
            self.tree["a"] = Branch("a", scale=2)
            self.tree["b"] = Branch("b")
            self.rows.append(Step("row 0"))
            self.rows.append(Step("row 1"))
            del self.first
            self.first = Step("another")
            del self.tree["b"]
        self.tree["a"].run()
        self.rows[0].run(7)
        for item in self.experimental_iterate(range(4)):
            if item == 2:
                for x in (1, 2, 3):
                    self.long.run(x)
                if self.long.num_successes < 3:
                    return
            self.items.append(self.first.run(item))
        self.stop("all done")


app = L.LightningApp(Root())
