"""A step that has run for a while raises, in a workflow, in one process."""

import time
import traceback

from dbos import DBOS

DBOS(config={"name": "bench", "system_database_url": "sqlite:///bench.sqlite", "log_level": "WARNING"})


@DBOS.step()
def fail():
    time.sleep(0.5)
    raise ValueError(f"raised at {time.monotonic()}")


@DBOS.workflow()
def main():
    fail()


DBOS.launch()
try:
    main()
except ValueError:
    traceback.print_exc()  # before the shutdown, which takes half a second
DBOS.destroy()
