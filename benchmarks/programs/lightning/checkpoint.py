"""A second checkpoint, in which one percent is changed: the bytes that go to the store, and from there to a consumer.

Maker and consumer share nothing but the store: a folder, or an S3 server behind a relay that counts what it carries.
"""

import json
import os
import random
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

from lightning.app.storage import versions
from lightning.app.storage.home import Home

SIZE = json.loads(os.environ["BENCH_PARAMETERS"])["megabytes"] * 1_000_000
PLACES = {"one": 1, "tensors": 4, "scattered": 40}
WAY = {"up": 0, "down": 0}


def main() -> None:
    found: dict[str, float] = {}
    with s3() as port, relay(port) as counted:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{counted}"
        for name, places in PLACES.items():
            found |= {
                f"{name}_s3_{key}": value for key, value in second(f"s3://bucket/{name}", places).items()
            }
            folder = Path("store", name)
            found |= {
                f"{name}_folder_{key}": value for key, value in second(str(folder.absolute()), places).items()
            }
    print("BENCH", json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # fsspec has a thread


def second(url: str, places: int) -> dict[str, float]:
    """What the second version moves, as a share of its size, and the seconds it takes."""
    content = bytearray(random.Random(1).randbytes(SIZE))
    for left in ("homes", "store"):  # by a round before this one
        shutil.rmtree(left, ignore_errors=True)
    source, target = Path("homes/source"), Path("homes/target")
    source.parent.mkdir()
    source.write_bytes(content)
    with at("maker", url):
        version = versions.publish(str(source), "root.make", "lit://checkpoint")
    with at("consumer", url):
        versions.bring(version, target / version, "checkpoint")
    change(content, places)
    source.write_bytes(content)
    before, stored, began = dict(WAY), size_of(url), time.monotonic()
    with at("maker", url):
        version = versions.publish(str(source), "root.make", "lit://checkpoint")
    between, middle = dict(WAY), time.monotonic()
    with at("consumer", url):
        versions.bring(version, target / version, "checkpoint")
    ended = time.monotonic()
    if (target / version).read_bytes() != content:
        raise SystemExit("what arrived is not what was sent")
    timed = {"put_s": middle - began, "get_s": ended - middle}
    if not url.startswith("s3:"):
        return {"put": 100 * (size_of(url) - stored) / SIZE, **timed}
    put = sum(between.values()) - sum(before.values())
    got = sum(WAY.values()) - sum(between.values())
    return {"put": 100 * put / SIZE, "get": 100 * got / SIZE, **timed}


def change(content: bytearray, places: int) -> None:
    chosen, each = random.Random(1000 + places), SIZE // 100 // places
    for number in range(places):
        begin = number * SIZE // places
        at = chosen.randrange(begin, begin + SIZE // places - each)
        content[at : at + each] = chosen.randbytes(each)


@contextmanager
def at(machine: str, url: str) -> Iterator[None]:
    """Be on a machine of its own: it has nothing but what it fetched."""
    home = Home("bench", Path("homes", machine).absolute(), Path("homes", machine, "memory").absolute(), url)
    home.memory.parent.mkdir(parents=True, exist_ok=True)
    home.enter()
    yield


def size_of(url: str) -> int:
    return sum(each.stat().st_size for each in Path(url).rglob("*") if each.is_file())


@contextmanager
def s3() -> Iterator[int]:
    """A server of S3, with a bucket."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys, AWS_EC2_METADATA_DISABLED="true", no_proxy="127.0.0.1")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        bucket = Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        bucket.add_header(
            "Authorization", "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/s3/aws4_request"
        )
        while True:
            with suppress(OSError), urlopen(bucket, timeout=5):
                break
            time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def relay(port: int) -> Iterator[int]:
    """Carry what comes to the server and back, and count it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            one, _ = listener.accept()
            threading.Thread(
                target=carry, args=(one, socket.create_connection(("127.0.0.1", port))), daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]


def carry(client: socket.socket, server: socket.socket) -> None:
    with client, server, selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, (server, "up"))
        ready.register(server, selectors.EVENT_READ, (client, "down"))
        while True:
            for key, _ in ready.select():
                other, way = key.data
                try:
                    block = key.fileobj.recv(1 << 18)
                    other.sendall(block)
                except OSError:
                    return
                if not block:
                    return
                WAY[way] += len(block)


main()
