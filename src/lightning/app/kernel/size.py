"""How large a packed value is, told for less than it costs to look at its parts one by one."""

from __future__ import annotations

from typing import Any

from msgspec.msgpack import Ext

from lightning.app.kernel.messages import LARGEST_FRAME
from lightning.app.kernel.values import encode

LARGEST_VALUE = LARGEST_FRAME - (64 << 10)
"""Bytes of one value, or of all arguments of one call: what is left is for the message around it."""

FIXED = frozenset({type(None), bool, int, float})
"""Kinds of a few bytes, whatever the value."""

_HEAD = 6  # bytes that say of what kind and how long a text, bytes or an extension are


def size_if_large(packed: Any, allowed: int = LARGEST_VALUE) -> int:
    """The bytes that a value needs, where these are more than allowed; else 0.

    >>> size_if_large("x" * 100, allowed=64)
    102
    """
    kind = type(packed)
    if kind is str:
        if _HEAD + 4 * len(packed) <= allowed:
            return 0
    elif kind is bytes:
        if _HEAD + len(packed) <= allowed:
            return 0
    elif kind is Ext and _HEAD + len(packed.data) <= allowed:
        return 0
    size = len(encode(packed))  # of a few parts in less time than a loop over them would begin
    return size if size > allowed else 0
