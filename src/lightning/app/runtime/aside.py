"""What is done for a run beside it: its record is written, old runs are deleted. Nobody waits for that.

A thread begins a moment after the app has started: the first line of the first work is out by then, and what
takes the interpreter's lock later takes it from nobody who hurries.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from lightning.app.config import Kept
from lightning.app.journal.runs import Run, Runs
from lightning.app.runtime.options import Options

BEGIN_AFTER = 0.3
FINISH_WITHIN = 1.0


class Aside:
    """Begins by itself; ``finish`` when the app has ended."""

    def __init__(self, run: Run, options: Options, kept: Kept, epoch: int) -> None:
        self._run = run
        self._options = options
        self._kept = kept
        self._epoch = epoch
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lightning-aside", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """The app has ended: what is still to do is done now, unless it takes long."""
        self._ending.set()
        self._thread.join(FINISH_WITHIN)

    def _work(self) -> None:
        self._ending.wait(BEGIN_AFTER)
        with suppress(OSError):  # a record that cannot be written is no reason to stop an app
            self._record()
        Runs(self._run.folder.parent).prune(self._kept.keep, self._kept.keep_days)

    def _record(self) -> None:
        from lightning.app.runtime import record  # here, where nobody waits for it

        options, folder = self._options, self._run.folder
        before = record.records(folder)
        mine = record.taken(
            options.path,
            epoch=self._epoch,
            arguments=options.app_args,
            given={*options.env, *options.secrets},
            also=before[-1].code if before else (),
        )
        record.write(folder, mine)
        known = record.with_git(mine, os.path.dirname(options.path))
        if known.git is not None:
            record.write(folder, known)
