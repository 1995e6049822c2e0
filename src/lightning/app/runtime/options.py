"""What one start of an app was asked to be: the command line, or ``app.run()``, as one value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning.app import config, startup

Durability = Literal["full", "process", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Options:
    """How to run the app in ``file``. The defaults are those of ``lightning run app FILE``."""

    file: str
    app_args: Sequence[str] = ()  # the app's sys.argv[1:]
    name: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # set before the app's file is imported
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # likewise, and never shown
    host: str = "127.0.0.1"
    port: int | None = None  # None: 7501, or the next one that is free
    server: bool = True
    open_ui: bool = False
    resume: str | Literal[True] | None = None  # a run's ID; True: the newest interrupted one
    fork: tuple[str, int] | None = None  # begin at that turn of that run's past
    drop_unfit: bool = False  # of a resumed run, leave behind what no longer fits the code
    durability: Durability = "full"
    runs_dir: Path = Path(".lightning/runs")
    storage: str | None = None  # the URL or the folder of the app's store; None: what the configuration says
    until_idle: bool = False
    debug: bool = False
    log_level: LogLevel = "info"
    background: bool = False  # nobody looks at the output: it goes to a file in the run's folder
    started: Callable[[str, str], None] | None = None
    """Called once, with the run's ID and the address of its page ("" without a server), when the app runs."""
    path: str = field(init=False)
    """``file`` from the root: the app may go to another folder."""
    folder: str = field(init=False)
    """The one from which ``file`` is seen."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.path.abspath(self.file))
        object.__setattr__(self, "folder", startup.FOLDER if os.path.isabs(self.file) else os.getcwd())
        if self.storage is not None:
            object.__setattr__(self, "storage", config.place(self.storage, "--storage", Path.cwd()))
        object.__setattr__(self, "runs_dir", Path(os.path.abspath(self.runs_dir)))
