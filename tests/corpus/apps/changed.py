"""Calls wait when the run is killed; then the code changes: signatures, the name of a class, a child that goes."""

import os
import time

import lightning as L

CHANGED = "CODE_CHANGED" in os.environ


class Worker(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)


class Extended(Worker):
    if CHANGED:

        def run(self, x, scale=1):
            return x * scale

    else:

        def run(self, x):
            if x == 1:
                print("waits")
                time.sleep(600)
            return x


class Narrowed(Worker):
    if CHANGED:

        def run(self):
            return 0

    else:

        def run(self, x):
            time.sleep(600)


if CHANGED:

    class After(L.LightningWork):
        pass

else:

    class Before(L.LightningWork):
        pass


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.extended = Extended()
        self.narrowed = Narrowed()
        self.renamed = After() if CHANGED else Before()
        if CHANGED:
            self.come = 1
        else:
            self.gone = Before()

    def run(self):
        if not CHANGED:
            self.narrowed.run(1)
        for x in range(4):
            self.extended.run(x)
        if CHANGED:
            self.narrowed.run()
            if self.narrowed.has_succeeded and self.extended.num_successes >= 4:
                self.stop()


app = L.LightningApp(Root())
