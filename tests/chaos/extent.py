"""How far the tests of this folder go: a short form with every ``make test``, the long one by ``make chaos``.

``CHAOS=long`` asks for the long form. ``CHAOS_SEED=N`` replays the one case that a failure has named.
"""

from __future__ import annotations

import os
from typing import TypeVar

LONG = os.environ.get("CHAOS") == "long"
ONLY = int(os.environ["CHAOS_SEED"]) if "CHAOS_SEED" in os.environ else None
SIDE_BY_SIDE = 4
"""So many runs at a time: they mostly wait for one another's processes to start and end."""
HOURS = 6 * 3600.0

T = TypeVar("T")


def either(short: T, long: T) -> T:
    """What the short form takes, or the long one.

    >>> either("a few", "all") in ("a few", "all")
    True
    """
    return long if LONG else short
