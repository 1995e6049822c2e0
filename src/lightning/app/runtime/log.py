"""What the runtime itself has to say: lines on stderr, by level. Components' output is not touched."""

from __future__ import annotations

from lightning.app.errors import UsageError
from lightning.app.runtime.streams import complain

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Writes ``WARNING: ...`` lines to stderr."""

    def __init__(self, level: str = "info") -> None:
        if level.lower() not in LEVELS:
            raise UsageError(f"log level {level!r}: it is one of {', '.join(LEVELS)}")
        self.level = LEVELS[level.lower()]

    def debug(self, text: str) -> None:
        self._say("debug", text)

    def info(self, text: str) -> None:
        self._say("info", text)

    def warning(self, text: str) -> None:
        self._say("warning", text)

    def error(self, text: str) -> None:
        self._say("error", text)

    def _say(self, level: str, text: str) -> None:
        if LEVELS[level] >= self.level:
            complain(f"{level.upper()}: {text}")
