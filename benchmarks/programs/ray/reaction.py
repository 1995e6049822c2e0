"""An actor beats at a steady rate into another actor, which notes how old each beat is."""

import time

import ray
from benchprogram import parameters, report


@ray.remote(num_cpus=0)
class Watcher:
    def __init__(self):
        self.lags = []

    def see(self, beat):
        self.lags.append(time.monotonic() - beat)

    def seen(self):
        return self.lags


@ray.remote(num_cpus=0)
class Beater:
    def run(self, rate, count, watcher):
        begin = time.monotonic()
        for n in range(count):
            time.sleep(max(0.0, begin + n / rate - time.monotonic()))
            last = watcher.see.remote(time.monotonic())
        ray.get(last)


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
watcher, beater = Watcher.remote(), Beater.remote()
ray.get(watcher.seen.remote())
ray.get(beater.run.remote(parameters["rate"], parameters["count"], watcher))
report(lags=ray.get(watcher.seen.remote()))
ray.shutdown()
