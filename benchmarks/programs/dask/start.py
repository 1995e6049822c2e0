"""From nothing to the first line of a task in a worker's process."""

import os


def hello():
    print(f'BENCH {{"pid": {os.getpid()}}}', flush=True)


if __name__ == "__main__":
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.submit(hello).result()
