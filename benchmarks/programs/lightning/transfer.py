"""A machine that fetches a payload from another one, into a folder of its own, and drops it. Both are told."""

import sys
import time
from pathlib import Path

from benchprogram import report

from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.peers import fetch

folder, address, name, size = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
depot = Depot(folder / "memory", folder / "disk")
began = time.monotonic()
came = fetch(name, size, depot, [address])
report(seconds=time.monotonic() - began, came=came)
depot.drop([name])
