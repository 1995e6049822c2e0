"""The same calls for a framework whose ``run`` returns nothing: the answer is an attribute."""

import os
import time

from benchprogram import parameters, report

import lightning as L

WARM = 2


class Answerer(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.pid = 0
        self.answer = 0

    def run(self, number):
        self.pid = os.getpid()
        self.answer = number + 1


class Caller(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.answerer = Answerer()
        self.made = 0
        self._began = 0.0

    def run(self):
        while self.made < WARM + parameters["count"]:
            if self.made == WARM and not self._began:
                self._began = time.monotonic()
            self.answerer.run(self.made)
            self.made += 1
        assert self.answerer.pid != os.getpid()
        report(seconds=time.monotonic() - self._began, pids=[self.answerer.pid])
        self.stop()


app = L.LightningApp(Caller())
