"""Tracebacks as users want to see them: their own frames, not ours."""

from __future__ import annotations

import os
import traceback

_APP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = (_APP + os.sep, os.path.join(os.path.dirname(_APP), "__init__.py"))


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
            [frame for frame in each.stack if not frame.filename.startswith(_OURS)]
        )
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += each.exceptions or []
    return "".join(told.format())
