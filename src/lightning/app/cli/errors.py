"""How a refusal leaves the program: one block on stderr, and the exit code that its class names."""

from __future__ import annotations

from collections.abc import Callable

from lightning.app.errors import LightningError
from lightning.app.runtime import streams

INTERRUPTED = 130


def reporting(action: Callable[[], int]) -> int:
    """Do ``action`` and give its exit code, or that of the refusal it ends in."""
    streams.have_streams()
    try:
        return action()
    except LightningError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        streams.leave_streams()


def complain(message: str) -> None:
    streams.complain(f"Error: {message}")
