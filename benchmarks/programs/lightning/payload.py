"""An array is made in one work and summed in another. What putting it away costs is measured before that."""

import time

import benchcopies
from benchprogram import parameters, report

import lightning as L
from lightning.app.storage import Payload


class Make(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.copying = self.putting = self.again = self.began = 0.0

    def run(self, megabytes):
        array = benchcopies.source(megabytes)
        self.copying, self.putting, self.again = benchcopies.side_by_side(array, Payload)
        self.began = time.monotonic()
        return Payload(array)


class Sum(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.opening = self.ended = 0.0

    def run(self, payload):
        began = time.monotonic()
        value = payload.value
        self.opening = time.monotonic() - began
        found = float(value.sum())
        self.ended = time.monotonic()
        return found


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.make, self.sum = Make(), Sum()

    def run(self):
        self.sum.start()
        found = self.sum.run(self.make.run(parameters["megabytes"]))
        report(
            copying=self.make.copying,
            putting=self.make.putting,
            again=self.make.again,
            opening=self.sum.opening,
            whole=self.sum.ended - self.make.began,
            found=found,
        )
        self.stop()


app = L.LightningApp(Root())
