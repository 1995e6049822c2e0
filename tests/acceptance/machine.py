"""One machine of a run, in a process of its own: does what it is told, line by line, and answers in lines.

Its folder is its own; nothing is shared with the others but the token, and the object store where there is one.

    make SIZE         a payload of so many bytes; answers its name, the size of its file, and its pointer
    serve HOST        gives its payloads to others; answers the address
    sent              the bytes of payloads given so far
    put NAME          puts a payload into the object store
    fetch NAME SIZE   brings a payload here, tells how far it is, piece by piece, and at last whether it came
    open POINTER      the checksum of the payload's value; or the error
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path
from random import Random

from lightning.app.errors import LightningError
from lightning.app.kernel.values import decode, encode, pack, unpack
from lightning.app.storage import home
from lightning.app.storage.home import Home
from lightning.app.storage.payload import Payload
from lightning.app.storage.payloads import peers
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.serving import PeerServer


def main(folder: Path, url: str, *addresses: str) -> None:
    (folder / "memory").mkdir(mode=0o700, parents=True, exist_ok=True)
    here = Home("run", folder, folder / "memory" / "run", url or None, addresses)
    here.enter()
    home.be("root.work")
    depot = Depot(here.memory, folder / "payloads")
    servers: list[PeerServer] = []
    for line in sys.stdin:
        match line.split():
            case ["make", size]:
                before = depot.names()
                pointer = encode(pack(Payload(Random(1).randbytes(int(size)))))
                [name] = depot.names() - before
                say(name, depot.path(name).stat().st_size, pointer.hex())
            case ["serve", host]:
                servers.append(PeerServer(depot, peers.token_of(here), (host, 0)))
                say(servers[-1].address)
            case ["sent"]:
                say(sum(server.sent for server in servers))
            case ["put", name]:
                here.store.put(f"payloads/{name}", depot.path(name))
                say("put")
            case ["fetch", name, size]:
                say("came", peers.fetch(name, int(size), depot, progress=lambda done, _: say(done)))
            case ["open", pointer]:
                try:
                    say(blake2b(unpack(decode(bytes.fromhex(pointer))).value).hexdigest())
                except LightningError as err:
                    say(err)
    for server in servers:
        server.close()


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")  # in one piece: threads say how far they are
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
