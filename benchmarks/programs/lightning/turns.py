"""A step changes one key of the flow's state and one of the work's, whatever else the state holds."""

import time

from benchprogram import parameters, report

import lightning as L

SIZE, STEPS = parameters["size"], parameters["steps"]


class Holder(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.table = {f"key{n}": n for n in range(SIZE)}

    def run(self, step):
        self.table[f"key{step % SIZE}"] = -step


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.holder = Holder()
        self.table = {f"key{n}": n for n in range(SIZE)}
        self.step = 0
        self._stamps = []

    def run(self):
        while self.step <= STEPS:
            self.table[f"key{self.step % SIZE}"] = -self.step
            self.holder.run(self.step)
            self._stamps.append(time.monotonic())
            self.step += 1
        report(stamps=self._stamps)
        self.stop()


app = L.LightningApp(Root())
