"""A year in the life of an app, by a clock turned by hand: an hourly schedule, and a work that is called some times
an hour and writes as it goes.

The loop, the rules and the journal are the real ones. Says how large the journal's file was at the end of each
month, and how long it took to read it again.
"""

import os
import sys
import time
from pathlib import Path

from benchprogram import parameters, report

import lightning as L
from lightning.app.journal.recovery import recover
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.testing import Harness

MONTHS = 12
HOURS = 730  # of a month


class Measurement(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.values = []

    def run(self, step):
        for each in range(4):
            self.values.append(step + each / 7)
        del self.values[:-24]


class Station(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.measurement = Measurement()

    def run(self):
        if self.schedule("hourly"):
            for step in range(parameters["steps"]):
                self.measurement.run(step)


path = Path(sys.argv[1]) / "journal.sqlite"
journal = SqliteJournal.open(path, "process", history=parameters["history"])
app = Harness(Station(), journal=journal)
began = time.monotonic()
sizes, turns, firsts = [], [], []
for _ in range(MONTHS):
    for _ in range(HOURS):
        app.advance(hours=1)
    sizes.append(sum(os.path.getsize(f"{path}{suffix}") for suffix in ("", "-wal")))
    turns.append(journal.last)
    firsts.append(journal.first)
took = time.monotonic() - began
calls = app.root.measurement.num_successes
app.runtime.abandon()
journal.close()
began = time.monotonic()
reader = SqliteJournal.reader(path)
model = recover(reader).model
recovered = time.monotonic() - began
assert model.works["root.measurement"].successes == calls >= MONTHS * HOURS * parameters["steps"]
report(sizes=sizes, turns=turns, firsts=firsts, seconds=took, recovered=recovered, calls=calls)
