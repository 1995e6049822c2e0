"""Keeps secrets out of what is kept: their values become ``***`` wherever they stand.

A value is also found as Python and JSON would write it in quotes, and a value of several lines by each of
them, since tracebacks indent and quote. What is masked as it arrives may end in the middle of a secret: then
those bytes are held back until more has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import AnyStr

MASK = "***"
_MASK = MASK.encode()
_SHORTEST_LINE = 8  # of a value of several lines: shorter ones, such as "}", tell nothing


class Mask:
    """
    >>> Mask(["xyzzy"])("the token is xyzzy")
    'the token is ***'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._texts = sorted(forms)
        self._forms = [form.encode(errors="surrogateescape") for form in self._texts]

    def __call__(self, text: str) -> str:
        return _masked(text, self._texts, MASK)

    def whole(self, data: bytes) -> bytes:
        """All of it masked, where nothing follows."""
        return _masked(data, self._forms, _MASK)

    def cut(self, data: bytes) -> tuple[bytes, bytes]:
        """What can be let go, masked, and the end that may be the beginning of a secret."""
        cut = self._promising(data, 0)
        while (across := self._across(data, cut)) is not None:
            cut = self._promising(data, across)
        return self.whole(data[:cut]), data[cut:]

    def _promising(self, data: bytes, start: int) -> int:
        """Where the longest end of ``data`` begins that is the beginning of a secret, not before ``start``."""
        first = len(data)
        for form in self._forms:
            at = data.find(form[:1], max(start, len(data) - len(form) + 1))
            while 0 <= at < first:
                if form.startswith(data[at:]):
                    first = at
                    break
                at = data.find(form[:1], at + 1)
        return first

    def _across(self, data: bytes, cut: int) -> int | None:
        """The end of a whole secret that a cut there would take apart."""
        if cut == len(data):
            return None
        for form in self._forms:
            begin = data.find(form, max(0, cut - len(form) + 1), cut + len(form) - 1)
            if 0 <= begin < cut:
                return begin + len(form)
        return None


def _masked(data: AnyStr, forms: list[AnyStr], mask: AnyStr) -> AnyStr:
    """What is covered by secrets becomes one mask, also where one begins inside another."""
    places = []
    for form in forms:
        at = data.find(form)
        while at >= 0:
            places.append((at, at + len(form)))
            at = data.find(form, at + 1)
    if not places:
        return data
    pieces: list[AnyStr] = []
    after = 0
    places.sort()
    for begin, end in places:
        if begin >= after:
            pieces += [data[after:begin], mask]
        after = max(after, end)
    pieces.append(data[after:])
    return data[:0].join(pieces)


def _forms(secret: str) -> Iterable[str]:
    import json  # only those who have secrets pay for it

    bare = secret.strip()
    if not bare:
        return
    yield bare
    yield repr(bare)[1:-1]
    yield json.dumps(bare)[1:-1]
    yield json.dumps(bare, ensure_ascii=False)[1:-1]
    lines = bare.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE)
