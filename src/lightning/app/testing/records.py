"""Recorded runs as regression tests: what the fixture ``lightning_replay`` does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.errors import NotFoundError
from lightning.app.journal.journal import Reader
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.runtime.replay import Build, of_file, replay
from lightning.app.runtime.report import Report


class Records:
    """Replays within one test. What loading an app changes in this process is put back at its end."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._monkeypatch.setattr(sys, "argv", list(sys.argv))
        self._monkeypatch.setattr(sys, "path", list(sys.path))
        self._modules = dict(sys.modules)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.close()
        for name in set(sys.modules) - set(self._modules):
            if "site-packages" not in (getattr(sys.modules[name], "__file__", None) or "site-packages"):
                del sys.modules[name]

    def replay(
        self,
        record: str | Path | MemoryJournal,
        app: str | Path | Callable[[], Any],
        *,
        arguments: Sequence[str] = (),
        timezone: str | None = None,
    ) -> Report:
        """What the replay came to; an AssertionError tells the first difference."""
        build: Build
        if isinstance(app, (str, Path)):
            build, config = of_file(app, arguments), Config.load(Path(app).resolve().parent)
        else:
            build, config = _maker(app), Config()
        if timezone is not None:
            config = replace(config, timezone=timezone)
        report = replay(self._opened(record), build, config)
        if report.difference is not None:
            pytest.fail(
                report.told("The record" if isinstance(record, MemoryJournal) else str(record)), pytrace=False
            )
        return report

    def _opened(self, record: str | Path | MemoryJournal) -> Reader:
        if isinstance(record, MemoryJournal):
            return record
        path = Path(record)
        path = path / "journal.sqlite" if path.is_dir() else path
        if not path.is_file():
            raise NotFoundError(
                f"{path}: there is no record of a run; name a run's folder, or its journal.sqlite"
            )
        copy = self._folder / f"recorded-{len(list(self._folder.iterdir()))}"  # readers leave files beside it
        copy.mkdir()
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, copy)
        reader = SqliteJournal.reader(copy / path.name)
        self._stack.callback(reader.close)
        return reader


def _maker(make: Callable[[], Any]) -> Build:
    def build() -> LightningApp:
        made = make()
        return made if isinstance(made, LightningApp) else LightningApp(made)

    return build
