"""Tracebacks as users want to see them: their own frames, not ours."""

from __future__ import annotations

import difflib
import os
import sys
import traceback

_APP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUR_FOLDER = _APP + os.sep
OURS = (OUR_FOLDER, os.path.join(os.path.dirname(_APP), "__init__.py"))
"""With which the names of this package's files begin."""


def user_traceback(error: BaseException) -> str:
    """The formatted traceback of ``error`` and its causes, without the frames of this package."""
    told = traceback.TracebackException.from_exception(error, capture_locals=False)
    seen: set[int] = set()
    waiting = [told]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each.stack = traceback.StackSummary.from_list(
            [frame for frame in each.stack if not frame.filename.startswith(OURS)]
        )
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += each.exceptions or []
    text = "".join(told.format())
    meant = _meant(error)
    return f"{text.rstrip()}{meant}\n" if meant else text


def _meant(error: BaseException) -> str:
    """What an attribute that is not there may have meant. Python suggests names by itself since 3.12."""
    if not isinstance(error, AttributeError) or not error.name:
        return ""
    try:
        close = difflib.get_close_matches(error.name, dir(error.obj), n=1)
    except Exception:  # what the object says of itself may fail as well
        return ""
    if close:
        return f". Did you mean: {close[0]!r}?" if sys.version_info < (3, 12) else ""
    if hasattr(type(error.obj), "_kind"):  # one of our components
        return f". Give it a first value in __init__, such as self.{error.name} = None"
    return ""
