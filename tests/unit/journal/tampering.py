"""What someone else did to a journal's file while nobody had it open."""

from __future__ import annotations

from pathlib import Path

import apsw


def tamper(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()
