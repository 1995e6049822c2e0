"""What a payload is held against: one copy of the same bytes into fresh shared memory."""

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TRIES = 2


def source(megabytes: int) -> Any:
    """So much memory, every page of which is there."""
    return np.full(megabytes << 17, 0.5)


def copy_into_fresh_memory(array: Any) -> None:
    """As a program does that shares an array with another: a new file in memory, mapped and filled."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        os.ftruncate(file.fileno(), array.nbytes)
        with mmap.mmap(file.fileno(), array.nbytes) as mapped:
            view = np.frombuffer(mapped, dtype=array.dtype)
            np.copyto(view, array)
            del view


def side_by_side(array: Any, put: Callable[[Any], Any]) -> tuple[float, float, float]:
    """Seconds of a copy, of ``put``, and of ``put`` once more when all that was put away has been freed.

    In turns, the best of each. All is held until then, so that it goes into fresh memory each time.
    """
    copies, puts, held = [], [], []
    for _ in range(TRIES):
        began = time.monotonic()
        copy_into_fresh_memory(array)
        copies.append(time.monotonic() - began)
        began = time.monotonic()
        held.append(put(array))
        puts.append(time.monotonic() - began)
    held.clear()
    time.sleep(0.2)  # some free it in another process
    began = time.monotonic()
    held.append(put(array))
    return min(copies), min(puts), time.monotonic() - began
