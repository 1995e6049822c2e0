"""A work makes many small payloads at a steady rate, one after the other in the same attribute."""

import time

from benchprogram import parameters, report

import lightning as L
from lightning.app.storage import Payload

BATCH = 100


class Maker(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.payload = None
        self.seconds = 0.0

    def run(self, rate, count):
        began = due = time.monotonic()
        for n in range(count):
            if n % BATCH == 0:
                time.sleep(max(0.0, due - time.monotonic()))
                due += BATCH / rate
            self.payload = Payload(n.to_bytes(8, "big") * 125)
        self.seconds = time.monotonic() - began


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.maker = Maker()
        self._seen = 0

    def run(self):
        self.maker.run(parameters["rate"], parameters["count"])
        if self.maker.payload is not None and not self._seen:
            self._seen = 1
            report(began=time.monotonic())
        if self.maker.seconds:
            report(seconds=self.maker.seconds)
            self.stop()


app = L.LightningApp(Root())
