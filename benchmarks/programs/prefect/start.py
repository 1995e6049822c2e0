"""From nothing to the first line of a flow's first task, which runs in the same process."""

import os

from prefect import flow, task


@task
def hello():
    print(f'BENCH {{"pid": {os.getpid()}}}', flush=True)


@flow
def main():
    hello()


main()
