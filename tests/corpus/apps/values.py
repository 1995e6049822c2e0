"""State values of every kind, changed in every way; the run is ended by Ctrl-C while a call is under way."""

import time
from datetime import date, datetime, timedelta, timezone
from pathlib import PurePosixPath

import lightning as L


class Writer(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.numbers = [3, 1, 2]

    def run(self, names, when=None):
        self.text = "Grüße \N{SNOWMAN}"
        self.blob = b"\x00\xff"
        self.big = 2**80
        self.nan = float("nan")
        self.low = float("-inf")
        self.none = None
        self.flag = True
        self.moment = datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=2)))
        self.day = date(2024, 2, 29)
        self.span = timedelta(days=1, microseconds=5)
        self.path = PurePosixPath("a/b")
        self.pair = (1, ("two", 3.0))
        self.group = {3, 1, 2}
        self.frozen = frozenset({"x", "y"})
        self.table = {1: "one", "two": 2, (3, 4): [5, {"deep": [6]}]}
        self.table["two"] = 22
        self.table[(3, 4)][1]["deep"].append(7)
        self.numbers.insert(0, 9)
        self.numbers[1:3] = [4, 5, 6]
        self.numbers.reverse()
        self.group.discard(3)
        self.group.update({10, 11})
        self.gone = 1
        del self.gone
        self.cleared = {"a": 1}
        self.cleared.clear()
        print("written")
        time.sleep(600)


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.writer = Writer()
        self.config = {"lr": 0.1, "layers": [64, 64]}

    def run(self):
        self.config["layers"].append(10) if len(self.config["layers"]) < 3 else None
        self.writer.run({"b", "a"}, when=date(2024, 1, 1))
        self.writer.run({"c"})


app = L.LightningApp(Root())
