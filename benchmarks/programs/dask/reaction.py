"""A task beats at a steady rate into the client's event handler, which notes how old each beat is."""

import threading
import time

LAST = 0.0  # a beat that says: that was all


def beat(rate, count):
    from distributed import get_worker

    worker = get_worker()
    begin = time.monotonic()
    for n in range(count):
        time.sleep(max(0.0, begin + n / rate - time.monotonic()))
        worker.log_event("beats", time.monotonic())
    worker.log_event("beats", LAST)


if __name__ == "__main__":
    from benchprogram import parameters, report
    from distributed import Client, LocalCluster

    lags, done = [], threading.Event()

    def see(event):
        _, stamp = event
        if stamp == LAST:
            done.set()
        else:
            lags.append(time.monotonic() - stamp)

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.subscribe_topic("beats", see)
        client.submit(beat, parameters["rate"], parameters["count"]).result()
        done.wait(30)
        report(lags=lags)
