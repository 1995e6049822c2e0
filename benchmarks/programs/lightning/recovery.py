"""A hundred works, called in turns until the journal is long; then the app is killed in the middle of a pass.

Resumed, it says so in its first pass: the state is there, and the next call is made.
"""

import os
import signal

from benchprogram import parameters, report

import lightning as L
from lightning.app.structures import List


class Worker(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def run(self, number):
        if number % 25 == 0:
            self.seen = number
        return number + 1


class Caller(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.workers = List(*(Worker() for _ in range(parameters["works"])))
        self.made = 0
        self._passes = 0

    def run(self):
        self._passes += 1
        if self._passes == 1 and self.made:
            seen = sum(worker.has_succeeded for worker in self.workers)
            report(made=self.made, works=seen)
            self.stop()
        while True:
            self.made = self.workers[self.made % len(self.workers)].run(self.made)
            if self.made == parameters["count"]:
                os.kill(os.getpid(), signal.SIGKILL)


app = L.LightningApp(Caller())
