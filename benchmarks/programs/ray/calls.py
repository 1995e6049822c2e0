"""Sequential calls of an actor's method. Nothing is durable."""

import os
import time

import ray
from benchprogram import parameters, report

WARM = 20


@ray.remote(num_cpus=0)
class Answerer:
    def run(self, number):
        return os.getpid(), number + 1


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
answerer = Answerer.remote()
made, pids, began = 0, set(), 0.0
while made < WARM + parameters["count"]:
    if made == WARM:
        began = time.monotonic()
    pid, made = ray.get(answerer.run.remote(made))
    pids.add(pid)
seconds = time.monotonic() - began
assert os.getpid() not in pids
report(seconds=seconds, pids=sorted(pids))
ray.shutdown()
