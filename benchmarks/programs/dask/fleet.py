"""Many worker processes, each of which needs numpy; when all have answered, they stay."""

import contextlib
import os
import time


def member():
    import numpy

    return os.getpid(), float(numpy.ones(8).sum())


if __name__ == "__main__":
    from benchprogram import parameters, report
    from distributed import Client, LocalCluster

    began = time.monotonic()
    with (
        LocalCluster(n_workers=parameters["count"], threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(parameters["count"])
        answers = client.run(member)
        seconds = time.monotonic() - began
        report(seconds=seconds, pids=[pid for pid, _ in answers.values()])
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(3600)
