"""``python -m tests.chaos.fuzz TARGET [-runs=N] [libFuzzer's own options] [folder of a corpus]``.

An input that takes a second of the processor (a busy machine is no hang), or a process that grows beyond what a
few inputs of 64 MB explain, ends it like a broken promise does; the input is kept in a file and named.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

import atheris

SLOW = 1.0
"""Seconds of work on one input that count as a hang."""


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"an input that takes longer than {SLOW:g} s")


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(
        include=["lightning.app.kernel", "lightning.app.engines.channel", "lightning.app.core"]
    ):
        from tests.chaos.fuzz.targets import TARGETS
    target = TARGETS[name]
    signal.signal(signal.SIGVTALRM, too_slow)

    def timed(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
        target(data)

    options = ["-timeout=60", "-rss_limit_mb=1024", "-print_final_stats=1", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
