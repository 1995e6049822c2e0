"""Many actors, each of which needs numpy; when all have answered, they stay."""

import contextlib
import os
import time

import ray
from benchprogram import parameters, report


@ray.remote(num_cpus=0)
class Member:
    def run(self):
        import numpy

        return os.getpid(), float(numpy.ones(8).sum())


ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
began = time.monotonic()
members = [Member.remote() for _ in range(parameters["count"])]
answers = ray.get([member.run.remote() for member in members])
seconds = time.monotonic() - began
report(seconds=seconds, pids=[pid for pid, _ in answers])
with contextlib.suppress(KeyboardInterrupt):
    time.sleep(3600)
ray.shutdown()
