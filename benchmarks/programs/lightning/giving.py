"""A machine that has a payload, and gives it to others until it is interrupted. Its folder and host are told."""

import os
import signal
import sys
from pathlib import Path
from random import Random

from benchprogram import parameters, report

from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import new_name
from lightning.app.storage.payloads.peers import VARIABLE
from lightning.app.storage.payloads.serving import PeerServer

folder, host = Path(sys.argv[1]), sys.argv[2]
depot = Depot(folder / "memory", folder / "disk")
depot.memory.mkdir(parents=True)
name, block = new_name(), Random(1).randbytes(1 << 20)
with open(depot.memory / name, "wb") as file:
    for _ in range(parameters["megabytes"]):
        file.write(block)
signal.pthread_sigmask(
    signal.SIG_BLOCK, [signal.SIGINT]
)  # before there are threads: none of them is to get it
with PeerServer(depot, os.environ[VARIABLE].encode(), (host, 0)) as server:
    report(address=server.address, name=name, size=len(block) * parameters["megabytes"])
    signal.sigwait([signal.SIGINT])
