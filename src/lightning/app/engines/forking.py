"""May this process be forked? A fork carries one thread over, and every lock as it stood at that moment.

What must not be forked: a process in which another Python thread lives, one that has a GPU open, one with
threads of gRPC or of libgomp. What may: one with the idle pools that ``import numpy`` alone starts, since
BLAS libraries rebuild theirs in the child.

That a library is mapped says nothing: scikit-learn maps libgomp and never calls it. But every pool shows
itself by its threads, and whose they are can be read: the C library keeps, in each thread's descriptor, the
function the thread was started with, and the kernel tells where the descriptor lies (it holds the head of
the thread's list of robust futexes). The first pointer into a library's code behind that head is the start
function. A libgomp that was used has threads that start in libgomp.so, which wait for work forever; forked,
they are missing and the next parallel loop hangs. No such threads: no pool, no danger.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import sys
import threading

_HARMLESS = re.compile(r"openblas|libmkl|libblis|libiomp5|libomp\b")  # they look after their pools in a fork
_DEVICES = ("/dev/nvidia", "/dev/kfd")
_GET_ROBUST_LIST = {"x86_64": 274, "aarch64": 100}.get(platform.machine())
_DESCRIPTOR_SIZE = 2048  # enough to reach the start function in every glibc so far

_Code = list[tuple[int, int, str]]


def obstacle() -> str:
    """Why this process must not be forked; empty when it may be."""
    return _python_threads() or _gpu() or _native_threads()


def _python_threads() -> str:
    mine = threading.get_ident()
    others = [ident for ident in sys._current_frames() if ident != mine]
    if not others:
        return ""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    shown = ", ".join(sorted(names.get(ident, "a nameless thread") for ident in others))
    return f"a thread lives: {shown}" if len(others) == 1 else f"threads live: {shown}"


def _gpu() -> str:
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if path.startswith(_DEVICES):
            return f"a GPU is open: {path}"
    return ""


def _native_threads() -> str:
    """Names the library of the first thread that is of no harmless pool."""
    me = threading.get_native_id()
    threads = [thread for thread in map(int, os.listdir("/proc/self/task")) if thread != me]
    if not threads:
        return ""
    code = _code()
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for thread in threads:
            library = _started_in(thread, memory, code)
            if library is None:
                return "a native thread lives, and its library cannot be told"
            if library and not _HARMLESS.search(library):
                return f"threads of {library} live"
    finally:
        os.close(memory)
    return ""


def _code() -> _Code:
    """Where the code of each library lies, without the C library's own and the program's."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            area, rights, *_, path = line.rstrip("\n").split(None, 5) if line.count("/") else (line, "", "")
            library = os.path.basename(path)
            if "x" in rights and not re.match(r"(libc|libpthread|ld-linux[^.]*)[.-]", library):
                start, _, end = area.partition("-")
                found.append((int(start, 16), int(end, 16), library))
    return found


def _started_in(thread: int, memory: int, code: _Code) -> str | None:
    """The library in which a thread began; None when it cannot be told, empty when the thread has ended."""
    if _GET_ROBUST_LIST is None:
        return None
    head, size = ctypes.c_uint64(), ctypes.c_size_t()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_GET_ROBUST_LIST, thread, ctypes.byref(head), ctypes.byref(size)) != 0:
        return None if os.path.exists(f"/proc/self/task/{thread}") else ""
    try:
        descriptor = os.pread(memory, _DESCRIPTOR_SIZE, head.value)
    except OSError:
        return None if os.path.exists(f"/proc/self/task/{thread}") else ""
    for (word,) in struct.iter_unpack("=Q", descriptor[: len(descriptor) // 8 * 8]):
        for start, end, library in code:
            if start <= word < end:
                return library
    return None
