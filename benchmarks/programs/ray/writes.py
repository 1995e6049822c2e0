"""An actor sends many values to another, without waiting for each."""

import time

import ray
from benchprogram import parameters, report


@ray.remote(num_cpus=0)
class Keeper:
    def __init__(self):
        self.value = -1

    def keep(self, value):
        self.value = value


@ray.remote(num_cpus=0)
class Writer:
    def run(self, count, keeper):
        began = time.monotonic()
        for n in range(count):
            last = keeper.keep.remote(n)
        written = time.monotonic()
        ray.get(last)
        return written - began, time.monotonic() - began


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
keeper, writer = Keeper.remote(), Writer.remote()
ray.get(keeper.keep.remote(-1))
writing, arriving = ray.get(writer.run.remote(parameters["count"], keeper))
report(writing=writing, arriving=arriving)
ray.shutdown()
