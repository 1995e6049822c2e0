"""A work that has run for a while raises."""

import time

import lightning as L


class Faulty(L.LightningWork):
    def run(self):
        time.sleep(0.5)
        raise ValueError(f"raised at {time.monotonic()}")


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.faulty = Faulty()

    def run(self):
        self.faulty.run()


app = L.LightningApp(Root())
