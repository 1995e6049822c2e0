"""From a command line to an exit code: load the app, open its run, place it on an engine, turn the loop.

The order matters: the supervisor is forked right after the app's import, before any thread, socket or
database of ours exists; the port is bound before the line that names it is printed.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.engines import orphans
from lightning.app.engines.engine import Engine, Exited, Started
from lightning.app.engines.gpus import devices
from lightning.app.errors import EngineError, JournalError, LightningError
from lightning.app.journal.journal import Journal
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.runtime import loader
from lightning.app.runtime.log import Log
from lightning.app.runtime.loop import Runtime
from lightning.app.runtime.options import Options
from lightning.app.runtime.signals import on_signals
from lightning.app.runtime.streams import say

PORT = 7501
SWEPT = 20
"""So many of the newest runs are looked at for leftovers at each start."""
JUST_BEGUN = 10.0
"""Seconds in which a run without a lock is one that somebody is about to lock."""
STARTING = "Your Lightning App is starting. This won't take long."
STARTED = "INFO: Your app has started. View it in your browser: {url}"
STARTED_UNSEEN = "INFO: Your app has started."


class StoppedEarly(KeyboardInterrupt):
    """A signal came before the app ran: what there is, is taken down in order."""


def stop_on_signals() -> None:
    """Until the loop takes signals itself, each of the three ends the start."""

    def stop(number: int, frame: object) -> None:
        raise StoppedEarly

    on_signals(stop)


def serve(options: Options) -> int:
    """Load the app of ``options.file`` and run it to its end. Returns the exit code."""
    stop_on_signals()
    try:
        say(STARTING)
        os.environ.update(options.env)
        os.environ.update(options.secrets)
        app = loader.load_app(options.file, list(options.app_args))
        return run(app, options, loader.app_module(options.file))
    except StoppedEarly:
        return 0


def run(app: LightningApp, options: Options, module: str = "__main__") -> int:
    """Run an app that is loaded, as ``module``."""
    log = Log(options.log_level)
    config = Config.load(Path(options.file).resolve().parent)
    runs = Runs(options.runs_dir)
    _sweep_after_killed(runs)
    if options.resume is None:
        opened = runs.create(options.file, options.app_args, options.name or "")
    else:
        opened = runs.open(None if options.resume is True else options.resume)
    place = _Place(app, opened, options)
    try:
        opened.lock()
        try:
            code, reason = _run(app, options, module, opened, place, log, config)
        except StoppedEarly:
            opened.end(0, "signal")
            raise
        except (EngineError, JournalError):
            _note_end(opened, "killed")  # no fault of the app: --resume goes on from here
            raise
        except BaseException:
            _note_end(opened, "failed")
            raise
        opened.end(code, reason)
        return code
    finally:
        place.leave()


def _run(
    app: LightningApp, options: Options, module: str, opened: Run, place: _Place, log: Log, config: Config
) -> tuple[int, str]:
    journal: Journal
    if options.durability == "off":
        journal = MemoryJournal(keep=False)
    else:
        journal = SqliteJournal.open(opened.journal_path, durability=options.durability)
    url = place.listen()
    runtime = Runtime(
        app,
        journal,
        place.engine,
        run_id=opened.id,
        config=config,
        log=log,
        devices=tuple(devices()),
        until_idle=options.until_idle,
    )
    runtime.performer.app_file = os.path.abspath(options.file)
    runtime.performer.app_module = module
    runtime.start()
    say(STARTED.format(url=url) if url else STARTED_UNSEEN)
    place.take_over()
    if options.started is not None:
        options.started(opened.id, url)
    code = runtime.run()
    assert runtime.ended is not None
    journal.close()
    return code, runtime.ended.reason


def _note_end(opened: Run, reason: str) -> None:
    with suppress(JournalError):  # what is being raised already is the cause of this one, too
        opened.end(1, reason)


def _sweep_after_killed(runs: Runs) -> None:
    """End what runs that were killed have left: processes that had made sessions of their own."""
    for run in runs.all()[:SWEPT]:
        meta = run.meta
        # Once there is a journal it has been locked: without the lock its process is gone.
        begins = not run.journal_path.exists() and time.time() - meta.started_at < JUST_BEGUN
        if meta.state == "ended" or begins or run.live:
            continue
        try:
            run.lock()
        except LightningError:
            continue  # somebody resumes it at this moment, or it is not ours
        orphans.sweep(run.id)
        _note_end(run, "killed")


class _Place:
    """Where the works of this run live: processes of their own, or with ``--debug`` this one."""

    def __init__(self, app: LightningApp, opened: Run, options: Options) -> None:
        self._options = options
        self._run = opened
        self._listener: socket.socket | None = None
        self._token: str | None = None  # what opens the page to other machines
        if options.debug:
            from lightning.app.engines.inline import InlineEngine

            self._make: Callable[..., Engine] = InlineEngine
            self._processes = None
        else:
            from lightning.app import pdb
            from lightning.app.engines.process import ProcessEngine

            pdb.install()  # for the flow; each work does it in its own process
            self._processes = ProcessEngine(self._report, opened.id, app=app)
        self._reports: Callable[[Started | Exited], None] | None = None

    def _report(self, event: Started | Exited) -> None:
        if self._reports is not None:
            self._reports(event)

    def engine(self, report: Callable[[Started | Exited], None]) -> Engine:
        if self._processes is None:
            return self._make(report)
        self._reports = report
        return self._processes

    def listen(self) -> str:
        """Bind the port, so that the line which names it is true."""
        if not self._options.server:
            return ""
        from lightning.app.runtime.listen import bind

        self._listener = listener = bind(
            self._options.host, PORT if self._options.port is None else self._options.port
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        if host.startswith("127.") or host == "::1":
            return f"http://{shown}:{port}/view"
        self._token = secrets.token_urlsafe()
        return f"http://{shown}:{port}/view?token={self._token}"

    def take_over(self) -> None:
        """From here on output goes through the supervisor, and the page is served."""
        if self._processes is not None:
            self._processes.take_output()
            if self._listener is not None:
                self._processes.serve(
                    self._listener,
                    "lightning.app.server.process:main",
                    {"run_id": self._run.id, "token": self._token},
                )
                self._listener.close()

    def leave(self) -> None:
        if self._processes is not None:
            self._processes.close(0)
