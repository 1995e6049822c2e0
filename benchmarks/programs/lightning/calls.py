"""A flow calls a work, again and again; each answer proves its number and comes from another process."""

import os
import time

from benchprogram import parameters, report

import lightning as L

WARM = 20  # the first calls wait for the work's process


class Answerer(L.LightningWork):
    def run(self, number):
        return [os.getpid(), number + 1]


class Caller(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.answerer = Answerer()
        self.made = 0
        self._pids = set()
        self._began = 0.0

    def run(self):
        while self.made < WARM + parameters["count"]:
            if self.made == WARM and not self._began:
                self._began = time.monotonic()
            pid, following = self.answerer.run(self.made)
            self._pids.add(pid)
            self.made = following
        assert os.getpid() not in self._pids
        report(seconds=time.monotonic() - self._began, pids=sorted(self._pids))
        self.stop()


app = L.LightningApp(Caller())
