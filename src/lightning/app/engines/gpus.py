"""Which GPUs this machine has, told from files: asking CUDA would open a device, and then nobody may fork."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from lightning.app.errors import UsageError


def devices(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> list[int]:
    """Their numbers, as ``CUDA_VISIBLE_DEVICES`` takes them: those the caller may see, in the caller's order.

    ``LIGHTNING_GPUS=2`` says that there are two, whatever is here.
    """
    said = environ.get("LIGHTNING_GPUS")
    if said:
        if not (said.isascii() and said.isdigit()):
            raise UsageError(f"LIGHTNING_GPUS must be how many GPUs there are, such as 2, not {said!r}")
        return list(range(int(said)))
    names = _names(root)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    return list(range(len(names))) if visible is None else _visible(visible, names)


def _names(root: Path) -> list[str]:
    """The unique names of the GPUs that this machine, or this container, may open, by their slots.

    A name is empty where the driver does not tell it.
    """
    minors = {
        int(node.name.removeprefix("nvidia"))
        for node in root.glob("dev/nvidia[0-9]*")
        if node.name.removeprefix("nvidia").isdigit()
    }
    told = {}
    for information in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        try:
            text = information.read_text()
        except OSError:
            continue  # it was taken away while we looked
        minor = re.search(r"^Device Minor:\s*(\d+)", text, re.MULTILINE)
        name = re.search(r"^GPU UUID:\s*(\S+)", text, re.MULTILINE)
        if minor and int(minor[1]) in minors:  # a container sees every GPU told, and may open some
            told[int(minor[1])] = name[1] if name else ""
    return list(told.values()) + [""] * len(minors - told.keys())


def _visible(listed: str, names: list[str]) -> list[int]:
    """What CUDA makes of the list: it ends at the first entry that means nothing, as "-1" does."""
    seen: list[int] = []
    for entry in listed.split(","):
        word = entry.strip()
        if word.isascii() and word.isdigit():
            number = int(word)
        else:  # the beginning of a name, if it is of one alone
            found = [at for at, name in enumerate(names) if word and name.startswith(word)]
            number = found[0] if len(found) == 1 else len(names)
        if number >= len(names) or number in seen:
            break
        seen.append(number)
    return seen
