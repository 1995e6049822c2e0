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
from lightning.app.errors import (
    CodeChangedError,
    ConflictError,
    EngineError,
    JournalError,
    LightningError,
    NotFoundError,
)
from lightning.app.journal.journal import Journal
from lightning.app.journal.masking import Mask
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.output import FOLDER as OUTPUT
from lightning.app.journal.runs import JUST_BEGUN, Meta, Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.messages import Moved
from lightning.app.runtime import loader
from lightning.app.runtime.aside import Aside
from lightning.app.runtime.keeper import Keeper
from lightning.app.runtime.log import Log
from lightning.app.runtime.loop import Runtime
from lightning.app.runtime.options import Options
from lightning.app.runtime.signals import on_signals
from lightning.app.runtime.streams import mask, say
from lightning.app.storage import mounts, progress
from lightning.app.storage.home import FLOW, Home, be
from lightning.app.storage.stores.opening import check as check_store

PORT = 7501
SWEPT = 20
"""So many of the newest runs are looked at for leftovers at each start."""
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
        if options.secrets:
            mask(Mask(options.secrets.values()))
        app = loader.load_app(options.file, list(options.app_args))
        return run(app, options, loader.app_module(options.path))
    except StoppedEarly:
        return 0


def run(app: LightningApp, options: Options, module: str = "__main__") -> int:
    """Run an app that is loaded, as ``module``."""
    log = Log(options.log_level)
    config = Config.load(Path(options.path).resolve().parent)
    storage = options.storage or config.storage
    if storage is not None:
        check_store(storage)
    runs = Runs(options.runs_dir)
    interrupted = _sweep_after_killed(runs, options)
    if options.fork is not None:
        opened = _forked(runs, options, module, log)
    elif options.resume is None:
        opened = runs.create(options.file, options.app_args, options.name or "", options.folder)
        if interrupted is not None:
            log.info(
                f"run {interrupted.id} of this app was interrupted. "
                f"To go on with it instead: {interrupted.resuming(options.file)}"
            )
    else:
        opened = _to_resume(runs, options, interrupted)
    opened.lock()  # before the engine: what ends with it bears the run's name, as a live run's works do
    if options.resume is not None and options.storage is None:
        storage = opened.meta.storage or None  # where what it has put is
    elif storage is not None:
        opened.note_storage(storage)
    home = Home.of_run(opened.id, opened.folder, storage)
    home.enter()
    be(FLOW)
    place = None
    try:
        if options.resume is not None:
            _say_changes(opened, options, log)
        place = _Place(app, opened, options)
        place.keep_output(config.runs.output)
        code, reason = _run(app, options, module, opened, place, log, config, home)
        opened.note_end(code, reason)
        return code
    except StoppedEarly:
        opened.note_end(0, "signal")
        raise
    except (EngineError, JournalError, CodeChangedError):
        _note_end(opened, "killed")  # no fault of the app: --resume goes on from here
        raise
    except BaseException:
        _note_end(opened, "failed")
        raise
    finally:
        if place is not None:
            place.leave()
        mounts.sweep(home)  # what works that were killed have left
        opened.release()  # when its processes are gone and what they printed is written


def _run(
    app: LightningApp,
    options: Options,
    module: str,
    opened: Run,
    place: _Place,
    log: Log,
    config: Config,
    home: Home,
) -> tuple[int, str]:
    journal: Journal
    keeper = Keeper(log, home, history=options.durability != "off")
    keeper.take_over()
    if options.durability == "off":
        journal = MemoryJournal(keep=False)
    else:
        journal = SqliteJournal.open(
            opened.journal_path, durability=options.durability, history=config.history
        )
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
        drop_unfit=options.drop_unfit,
        mask=Mask(options.secrets.values()) if options.secrets else None,
        keeper=keeper,
    )
    runtime.performer.app_file = options.path
    runtime.performer.app_module = module
    progress.listener = lambda event: runtime.performer.moved(event.component, Moved(*event[1:]))
    runtime.start()
    if options.resume is not None or options.fork is not None:
        keeper.resume(opened.journal_path)
    say(STARTED.format(url=url) if url else STARTED_UNSEEN)
    place.take_over()
    if options.started is not None:
        options.started(opened.id, url)
    aside = Aside(opened, options, config.runs, journal.epoch)
    try:
        code = runtime.run()
    finally:
        progress.listener = None
        aside.finish()
    assert runtime.ended is not None
    journal.close()
    return code, runtime.ended.reason


def _note_end(opened: Run, reason: str) -> None:
    with suppress(JournalError):  # what is being raised already is the cause of this one, too
        opened.note_end(1, reason)


def _say_changes(run: Run, options: Options, log: Log) -> None:
    """Name the files that are not what they were when the run was started or resumed last."""
    from lightning.app.runtime import record  # only a resume pays for it

    known = record.records(run.folder)
    if not known:
        return
    before = known[-1].code
    now = record.code_of(options.path, before)
    if changed := [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]:
        log.info(f"{', '.join(changed)} changed since run {run.id} began: going on with the new code")


def _sweep_after_killed(runs: Runs, options: Options) -> Run | None:
    """End what runs that were killed have left: processes that had made sessions of their own.

    Gives the newest run of this app that can be resumed.
    """
    newest = None
    for run in runs.all()[:SWEPT]:
        meta = run.meta
        # Once there is a journal it has been locked: without the lock its process is gone.
        begins = not run.journal_path.exists() and time.time() - meta.started_at < JUST_BEGUN
        if meta.state == "running" and not begins and not run.live:
            with suppress(LightningError):  # somebody resumes it at this moment, or it is not ours
                run.lock()
                orphans.sweep(run.id)
                _note_end(run, "killed")
                run.release()
        if newest is None and _is_of(meta, options) and run.interrupted:
            newest = run
    return newest


def _is_of(meta: Meta, options: Options) -> bool:
    """Whether it is a run of the app that is to be started. What lost its note may be."""
    known = meta.app_file
    same = os.path.abspath(os.path.join(meta.folder, known)) == options.path
    return not known or known == options.file or same


def _forked(runs: Runs, options: Options, module: str, log: Log) -> Run:
    """A new run with the past of another."""
    from lightning.app.runtime.fork import fork  # only a fork pays for it

    assert options.fork is not None
    source, turn = runs.find(options.fork[0]), options.fork[1]
    run = fork(
        runs, source, turn, app_file=options.file, module=module,
        arguments=tuple(options.app_args), name=options.name or "", folder=options.folder,
    )  # fmt: skip
    log.info(f"run {run.id} goes on from turn {turn} of {source.id}")
    return run


def _to_resume(runs: Runs, options: Options, newest: Run | None) -> Run:
    """The run that is meant, if there is something in it to go on with."""
    file = options.file
    if options.resume is True:
        run = newest or next((each for each in runs.interrupted() if _is_of(each.meta, options)), None)
        if run is not None:
            return run
        others = ", ".join(f"{each.id} ({each.meta.app_file})" for each in runs.interrupted()[:SWEPT])
        raise NotFoundError(
            f"{runs.folder}: no run of {file} was interrupted; start a new one (without --resume)"
            + (f"\nOf other apps: {others}. To go on with one of these: --resume ID" if others else "")
        )
    run = runs.find(options.resume)
    meta = run.meta
    if run.live:
        return run  # whose lock says who has it
    if meta.state == "ended" and meta.reason == "stopped":
        raise ConflictError(
            f"run {run.id} has come to its end (exit code {meta.exit_code}): nothing in it is left to go on with\n"
            f"Start a new run: lightning run app {file}"
        )
    if not run.journal_path.exists():
        raise NotFoundError(
            f"run {run.id} has no journal to go on from: it ran with --durability off, or ended before its "
            f"first turn\nStart a new run: lightning run app {file}"
        )
    return run


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

    def keep_output(self, bound: int) -> None:
        """Keep what is printed in the run's folder; where the terminal is a file in there, masked as well."""
        if self._processes is not None and bound:
            secrets = list(self._options.secrets.values())
            self._processes.keep_output(
                str(self._run.folder / OUTPUT), bound, secrets, masks=self._options.background
            )

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
