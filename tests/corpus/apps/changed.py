"""Calls wait when the run is killed; then the code changes, and no longer takes their arguments."""

import os
import time

import lightning as L


class Worker(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)

    if "CODE_CHANGED" in os.environ:

        def run(self):
            return 0

    else:

        def run(self, x):
            if x == 1:
                print("waits")
                time.sleep(600)


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.worker = Worker()

    def run(self):
        if "CODE_CHANGED" in os.environ:
            self.worker.run()
            if self.worker.has_succeeded:
                self.stop()
        else:
            for x in range(4):
                self.worker.run(x)


app = L.LightningApp(Root())
