"""From nothing to the first line of a workflow's first step, which runs in the same process."""

import os

from dbos import DBOS

DBOS(config={"name": "bench", "system_database_url": "sqlite:///bench.sqlite"})


@DBOS.step()
def hello():
    print(f'BENCH {{"pid": {os.getpid()}}}', flush=True)


@DBOS.workflow()
def main():
    hello()


DBOS.launch()
main()
DBOS.destroy()
