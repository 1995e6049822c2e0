"""Running an app from Python: ``MultiProcessRuntime(app).dispatch()``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from lightning.app import startup
from lightning.app.core.app import LightningApp
from lightning.app.errors import LightningError
from lightning.app.runtime import loader
from lightning.app.runtime.options import Options
from lightning.app.runtime.serve import STARTING, StoppedEarly, run, stop_on_signals
from lightning.app.runtime.signals import leave_undisturbed
from lightning.app.runtime.streams import complain, have_streams, leave_streams, say


class MultiProcessRuntime:
    """Runs an app on this machine, each work in a process of its own."""

    def __init__(self, app: LightningApp, **options: Any) -> None:
        self.app = app
        options.setdefault("app_args", tuple(sys.argv[1:]))
        options.setdefault("runs_dir", os.path.join(startup.FOLDER, Options.runs_dir))
        self.options = Options(file=os.path.join(startup.FOLDER, app.defined_at[0]), **options)

    def dispatch(self) -> None:
        """Run to the end, then exit with the app's exit code.

        In a file that ``lightning run app`` loads, this only says which app it is.
        """
        loading = loader.loading()
        if loading is not None:
            loading.ran.append(self.app)
            return
        try:
            code = self._run()
        except StoppedEarly:
            code = 0
        with suppress(StoppedEarly):
            leave_streams()
        leave_undisturbed(code)
        sys.exit(code)

    def _run(self) -> int:
        stop_on_signals()
        have_streams()
        try:
            say(STARTING)
            return run(self.app, self.options)
        except LightningError as err:
            complain(f"Error: {err}")
            return err.exit_code
