"""Sequential tasks of a flow, in one process, recorded by a server of its own."""

import os
import time

from benchprogram import parameters, report
from prefect import flow, task

WARM = 5


@task
def answer(number):
    return os.getpid(), number + 1


@flow
def main(count):
    made, pids, began = 0, set(), 0.0
    while made < WARM + count:
        if made == WARM:
            began = time.monotonic()
        pid, made = answer(made)
        pids.add(pid)
    return time.monotonic() - began, sorted(pids)


seconds, pids = main(parameters["count"])
report(seconds=seconds, pids=pids)
