"""A flow that waits for what a work writes, pass after pass; resumed, it raises."""

from __future__ import annotations

import os
import time

import lightning as L


class Count(L.LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)
        self.x = 0

    def run(self) -> None:
        while True:
            self.x += 1
            time.sleep(0.02)


class Waits(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.count = Count()
        self._passes = 0

    def run(self) -> None:
        if os.environ.get("PASSES") == "raise":
            raise ValueError("not again")
        self.count.run()
        if self._passes > 2:
            self.again = self.count.x
        least = self.count.x + 2
        while self.count.x < least:
            time.sleep(0.001)
        self._passes += 1
        if self._passes == 3:
            print("waits", flush=True)


app = L.LightningApp(Waits())
