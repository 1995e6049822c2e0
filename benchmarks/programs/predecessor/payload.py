"""An array is made in one work and summed in another: a payload there is an attribute that another work is given."""

import time

import benchcopies
from benchprogram import parameters, report
from lightning_app.storage import Payload

import lightning as L


class Make(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.payload = None
        self.began = 0.0

    def run(self, megabytes):
        array = benchcopies.source(megabytes)
        self.began = time.monotonic()
        self.payload = Payload(array)


class Sum(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.ended = self.found = 0.0

    def run(self, payload):
        self.found = float(payload.value.sum())
        self.ended = time.monotonic()


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.make, self.sum = Make(), Sum()

    def run(self):
        self.make.run(parameters["megabytes"])
        if self.make.has_succeeded:
            self.sum.run(self.make.payload)
        if self.sum.has_succeeded:
            report(whole=self.sum.ended - self.make.began, found=self.sum.found)
            self.stop()


app = L.LightningApp(Root())
