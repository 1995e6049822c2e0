"""How a refusal leaves the program: one block on stderr, and the exit code that its class names."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lightning.app.errors import LightningError

INTERRUPTED = 130


def reporting(action: Callable[[], int]) -> int:
    """Do ``action`` and give its exit code, or that of the refusal it ends in."""
    try:
        return action()
    except LightningError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def complain(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr, flush=True)
