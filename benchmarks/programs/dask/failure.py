"""A task that has run for a while raises; the client asks for its result."""

import time
import traceback


def fail():
    time.sleep(0.5)
    raise ValueError(f"raised at {time.monotonic()}")


if __name__ == "__main__":
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        try:
            client.submit(fail).result()
        except ValueError:
            traceback.print_exc()  # before the shutdown, which takes its time
