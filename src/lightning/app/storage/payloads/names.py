"""The names of payloads and of versions of files, and finding them in what the journal writes.

A name says by its beginning what it is, so that whoever looks for references needs no key to how values are packed:
a name that is nowhere in the rows of the history, nor in the snapshot before them, is of no use to anybody.
"""

from __future__ import annotations

import re
import secrets

VERSION = "lt-"
"""Begins the name of a version of a file or folder; behind it is the name of its tree."""

_NAME = re.compile(rb"lp-[0-9a-f]{32}")
_MENTIONED = re.compile(rb"lp-[0-9a-f]{32}|lt-[0-9a-f]{40}")
_ANY_NAME = re.compile(rb"(lp|inline)-[0-9a-f]{32}")


def new_name(digest: str | None = None) -> str:
    """A name that nothing else has; or that only what has the same ``digest``, of 32 digits, has."""
    return f"lp-{digest or secrets.token_hex(16)}"


def new_small_name(digest: str | None = None) -> str:
    """The name of one that needs no file, and so is not looked for."""
    return f"inline-{digest or secrets.token_hex(16)}"


def valid(name: str) -> bool:
    """Whether it can be the name of a payload, and so of a file."""
    return _NAME.fullmatch(name.encode()) is not None


def mentions_any(data: bytes) -> bool:
    """Whether it is worth looking for names."""
    return b"lp-" in data or b"lt-" in data


def names_in(data: bytes) -> set[str]:
    """The payloads and versions that are mentioned.

    >>> names_in(b"the payload lp-" + b"0" * 32)
    {'lp-00000000000000000000000000000000'}
    """
    return {name.decode() for name in _MENTIONED.findall(data)} if mentions_any(data) else set()


def without_names(data: bytes) -> bytes:
    """The same, whichever payloads are mentioned. What a file holds is no name: versions stay."""
    return _ANY_NAME.sub(rb"\1-", data)
