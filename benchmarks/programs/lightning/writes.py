"""A work writes one attribute many times; the second call begins when all of that has been taken in."""

import time

from benchprogram import parameters, report

import lightning as L


class Writer(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.value = -1
        self.began = 0.0
        self.written = 0.0
        self.arrived = 0.0

    def run(self, count):
        if not count:
            self.arrived = time.monotonic()
            return
        began = time.monotonic()
        for n in range(count):
            self.value = n
        self.written = time.monotonic()
        self.began = began


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.writer = Writer()

    def run(self):
        self.writer.run(parameters["count"])
        self.writer.run(0)
        began = self.writer.began
        report(writing=self.writer.written - began, arriving=self.writer.arrived - began)
        self.stop()


app = L.LightningApp(Root())
