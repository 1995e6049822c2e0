"""Running an app from Python: ``MultiProcessRuntime(app).dispatch()``."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from lightning.app.core.app import LightningApp
from lightning.app.runtime.options import Options


class MultiProcessRuntime:
    """Runs an app on this machine, each work in a process of its own."""

    def __init__(self, app: LightningApp, **options: Any) -> None:
        self.app = app
        self.options = Options(file=app.defined_at[0], **options)

    def dispatch(self) -> NoReturn:
        """Run to the end, then exit with the app's exit code."""
        from lightning.app.cli.errors import reporting
        from lightning.app.runtime.serve import STARTING, run, say

        say(STARTING)
        sys.exit(reporting(lambda: run(self.app, self.options)))
