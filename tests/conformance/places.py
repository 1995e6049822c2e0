"""Object stores for tests: servers of their own on this machine, and a bad line to them.

S3 is moto's server. GCS is gcp-storage-emulator: the other one there is, Google's storage-testbench, is not on
PyPI. It keeps to all that the conformance suite asks, but ignores preconditions: of two writers at the same moment
GCS itself would refuse one, the emulator keeps the later.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from urllib.request import Request, urlopen

import aiohttp
from fsspec import asyn

# Nothing may dial out: no instance's metadata is asked for, no credentials of this machine are used.
CLOUD = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    "GCE_METADATA_HOST": "127.0.0.1:9",
    "NO_GCE_CHECK": "true",
}


@contextmanager
def server(*arguments: str, ready: str) -> Iterator[int]:
    """A server in a process of its own; gives its port. ``{port}`` in the arguments is where it listens."""
    port = free_port()
    started = subprocess.Popen(
        [sys.executable, *(each.format(port=port) for each in arguments)],
        env={**os.environ, **CLOUD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = monotonic() + 60
        while True:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5):
                break
            assert started.poll() is None, f"{arguments} ended with {started.returncode}"
            assert monotonic() < until, f"{arguments} does not answer"
            with suppress(subprocess.TimeoutExpired):
                started.wait(0.05)  # it ends, or it is asked again
        yield port
    finally:
        started.kill()
        started.wait()


@contextmanager
def s3() -> Iterator[int]:
    with server("-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}", ready="/moto-api/data.json") as port:
        yield port


def make_bucket(port: int) -> None:
    """The bucket ``bucket`` of the S3 server at ``port``."""
    request = Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
    scope = "testing/20260101/us-east-1/s3/aws4_request"
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={scope}")
    urlopen(request).close()


@contextmanager
def gcs() -> Iterator[int]:
    arguments = ("start", "--host=127.0.0.1", "--port={port}", "--in-memory", "--default-bucket=bucket")
    with server("-m", "gcp_storage_emulator", *arguments, ready="/storage/v1/b") as port:
        yield port


def end_threads() -> None:
    """End the thread that fsspec keeps: tests that come later fork, and nobody may fork beside a thread."""
    loop, thread = asyn.loop[0], asyn.iothread[0]
    if loop is None or thread is None:
        return
    for each in threading.enumerate():
        if each.name.startswith("storage"):  # of a transfer that was given up; it needs the loop to end
            each.join()
    gc.collect()  # most clients end their sessions when they go, in this very thread
    # Asked of their types: torch has objects that warn when they are asked themselves.
    for session in [each for each in gc.get_objects() if issubclass(type(each), aiohttp.ClientSession)]:
        asyncio.run_coroutine_threadsafe(session.close(), loop).result()
    asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    asyn.loop[0] = asyn.iothread[0] = None
    gc.collect()
    assert asyn.iothread[0] is None, "a client came to its end too late, and began a thread for that"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@dataclass
class BadLine:
    """A proxy that does to some connections what networks do to them.

    Which connection suffers what is decided by the seed. ``faults`` counts what was done.
    """

    target: int
    seed: int = 0
    share: float = 0.3  # of the connections suffer
    kinds: tuple[str, ...] = ("drop", "reset", "truncate", "delay")
    faults: dict[str, int] = field(default_factory=dict)
    port: int = 0
    after: int = 20_000  # bytes at most that come through before a connection breaks
    _over: threading.Event = field(default_factory=threading.Event)
    _cut: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> BadLine:
        self._random = Random(self.seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="bad line")]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Nothing comes through any more."""
        self.share, self.kinds = 1.0, ("drop",)
        self._cut.set()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            kind = self._random.choice(self.kinds) if self._random.random() < self.share else ""
            limit = self._random.randrange(200, self.after)
            if kind:
                self.faults[kind] = self.faults.get(kind, 0) + 1
            thread = threading.Thread(target=self._carry, args=(client, kind, limit), name="bad line")
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, kind: str, limit: int) -> None:
        with client:
            if kind == "drop":
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with server, selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ, server)
                selector.register(server, selectors.EVENT_READ, client)
                with suppress(OSError):
                    self._pump(selector, client, kind, limit)

    def _pump(self, selector: selectors.BaseSelector, client: socket.socket, kind: str, limit: int) -> None:
        carried = 0
        while not self._over.is_set() and not self._cut.is_set():
            for ready, _ in selector.select(0.1):
                source = ready.fileobj
                assert isinstance(source, socket.socket)
                block = source.recv(4096 if kind else 1 << 16)
                if not block:
                    return
                if kind == "delay" and carried == 0:
                    self._over.wait(0.2)
                carried += len(block)
                if kind in ("reset", "truncate") and carried > limit:
                    if kind == "reset":
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if kind == "flip" and carried > limit:
                    block, kind = bytes([block[0] ^ 1]) + block[1:], ""
                ready.data.sendall(block)
