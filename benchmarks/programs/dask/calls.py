"""Sequential calls of an actor's method. Nothing is durable."""

import os
import time

WARM = 20


class Answerer:
    def run(self, number):
        return os.getpid(), number + 1


if __name__ == "__main__":
    from benchprogram import parameters, report
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        answerer = client.submit(Answerer, actor=True).result()
        made, pids, began = 0, set(), 0.0
        while made < WARM + parameters["count"]:
            if made == WARM:
                began = time.monotonic()
            pid, made = answerer.run(made).result()
            pids.add(pid)
        seconds = time.monotonic() - began
        assert os.getpid() not in pids
        report(seconds=seconds, pids=sorted(pids))
