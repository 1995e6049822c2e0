"""Many works, each of which needs numpy; when the flow has seen all of them, the app stays as it is."""

import os
import time

import numpy
from benchprogram import parameters, report

import lightning as L


class Member(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.pid = 0
        self.total = 0.0

    def run(self):
        self.total = float(numpy.ones(8).sum())
        self.pid = os.getpid()


class Fleet(L.LightningFlow):
    def __init__(self):
        super().__init__()
        for n in range(parameters["count"]):
            setattr(self, f"member{n}", Member())
        self._began = 0.0
        self._told = False

    def run(self):
        self._began = self._began or time.monotonic()
        members = self.works()
        for member in members:
            member.run()
        if not self._told and all(member.pid and member.has_succeeded for member in members):
            self._told = True
            seconds = time.monotonic() - self._began
            report(seconds=seconds, pids=[member.pid for member in members])


app = L.LightningApp(Fleet())
