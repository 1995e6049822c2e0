"""A work beats at a steady rate; the flow notes how old each beat is when it sees it."""

import time

from benchprogram import parameters, report

import lightning as L


class Beater(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.beat = 0.0

    def run(self, rate, count):
        begin = time.monotonic()
        for n in range(count):
            time.sleep(max(0.0, begin + n / rate - time.monotonic()))
            self.beat = time.monotonic()


class Watcher(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.beater = Beater()
        self._last = 0.0
        self._lags = []

    def run(self):
        self.beater.run(parameters["rate"], parameters["count"])
        beat = self.beater.beat
        if beat != self._last:
            self._lags.append(time.monotonic() - beat)
            self._last = beat
        if self.beater.has_succeeded:
            report(lags=self._lags)
            self.stop()


app = L.LightningApp(Watcher())
