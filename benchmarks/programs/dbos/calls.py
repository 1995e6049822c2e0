"""Sequential steps of a workflow, durable in SQLite, in one process: no call leaves it."""

import os
import time

from benchprogram import parameters, report
from dbos import DBOS

WARM = 20

DBOS(config={"name": "bench", "system_database_url": "sqlite:///bench.sqlite", "log_level": "WARNING"})


@DBOS.step()
def answer(number):
    return os.getpid(), number + 1


@DBOS.workflow()
def main(count):
    made, pids, began = 0, set(), 0.0
    while made < WARM + count:
        if made == WARM:
            began = time.monotonic()
        pid, made = answer(made)
        pids.add(pid)
    return time.monotonic() - began, sorted(pids)


DBOS.launch()
seconds, pids = main(parameters["count"])
report(seconds=seconds, pids=pids)
DBOS.destroy()
