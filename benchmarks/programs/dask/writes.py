"""A task sends many values to the client's event handler, without waiting for each."""

import threading
import time


def write(count):
    from distributed import get_worker

    worker = get_worker()
    began = time.monotonic()
    for n in range(count):
        worker.log_event("values", n)
    return began, time.monotonic()


if __name__ == "__main__":
    from benchprogram import parameters, report
    from distributed import Client, LocalCluster

    arrived, done = [], threading.Event()

    def keep(event):
        if event[1] == parameters["count"] - 1:
            arrived.append(time.monotonic())
            done.set()

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.subscribe_topic("values", keep)
        began, written = client.submit(write, parameters["count"]).result()
        done.wait(60)
        report(writing=written - began, arriving=arrived[0] - began)
