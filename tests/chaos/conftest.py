"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: here a real sync makes nothing safer, only slower."""
    home = Path("/dev/shm")
    with TemporaryDirectory(dir=home if home.is_dir() else None) as folder:
        yield Path(folder)
