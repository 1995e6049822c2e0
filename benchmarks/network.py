"""A network of the bench's own: nothing but loopback, so that no subject listens to, asks or tells the world.

It also keeps apps that happen to run on this machine from holding the ports that a subject would take.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def leave() -> str:
    """Move this process, and so all it starts, off the network. Empty, or why that was not possible.

    Only for a process of one thread: a namespace belongs to the thread that enters it.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if user == 0 else CLONE_NEWNET | CLONE_NEWUSER) != 0:
        return os.strerror(ctypes.get_errno())
    if user != 0:
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"{user} {user} 1")
        (own / "gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    return ""


class Place(NamedTuple):
    """One end of a cable. A command behind ``prefix`` runs there."""

    prefix: list[str]
    host: str


@contextmanager
def pair() -> Iterator[tuple[Place, Place]]:
    """Two networks with a cable between them, and nothing else. Needs root and the program ``ip``."""
    ends = [f"bench{os.getpid()}{side}" for side in "ab"]
    hosts = ["10.201.9.1", "10.201.9.2"]
    try:
        for name in ends:
            _ip("netns", "add", name)
        _ip("link", "add", "one", "netns", ends[0], "type", "veth", "peer", "name", "other", "netns", ends[1])
        for name, link, host in zip(ends, ("one", "other"), hosts, strict=True):
            _ip("-n", name, "address", "add", f"{host}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
        one, other = (
            Place(["ip", "netns", "exec", name], host) for name, host in zip(ends, hosts, strict=True)
        )
        yield one, other
    finally:
        for name in ends:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
