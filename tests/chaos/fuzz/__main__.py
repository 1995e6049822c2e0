"""``python -m tests.chaos.fuzz TARGET [-runs=N] [libFuzzer's own options] [folder of a corpus]``.

An input that takes a second, or a process that grows beyond what a few inputs of 64 MB explain, ends it like a
broken promise does; the input is kept in a file and named.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(
        include=["lightning.app.kernel", "lightning.app.engines.channel", "lightning.app.core"]
    ):
        from tests.chaos.fuzz.targets import TARGETS
    target = TARGETS[name]
    options = ["-timeout=1", "-rss_limit_mb=1024", "-print_final_stats=1", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
