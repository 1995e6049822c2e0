"""``--like RUN``: the environment of an earlier run, made again with uv.

First everything that was recorded is compared with what is here and what can be had. If something cannot be
recreated, nothing is done and all of it is listed. Else the same Python and the same versions are installed
into ``.lightning/environments/HASH``, once: the hash is of what is in it. Where this very environment is the
same, the app runs in it as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lightning.app.errors import ConflictError, LightningError, NotFoundError
from lightning.app.journal.runs import Run
from lightning.app.runtime.record import (
    Origin,
    Record,
    distributions_of,
    hashed,
    libc,
    platform_of,
    python_version,
    records,
)

ENVIRONMENTS = Path(".lightning/environments")
INSTALL = "pip install 'lightning-apps[environments]'"
_LOCAL = ("editable", "folder")


def recreated(run: Run, app_file: str, present: Collection[str], *, fresh: bool = False) -> str:
    """The Python in which the app runs as in ``run``; empty when that is this one.

    ``present`` are the names of variables that the app will find; with ``fresh`` no cache is used.
    """
    known = records(run.folder)
    if not known:
        raise NotFoundError(
            f"run {run.id} has no record of its environment: it was killed within moments of its start\n"
            "Name another: lightning list runs"
        )
    record = known[-1]
    obstacles = [*_elsewhere(record), *_code(record, app_file), *_variables(record, present)]
    here = _is_here(record)
    made = _Environment(record)
    python = ""
    if not here:
        obstacles += _uninstallable(record)
        if fresh or not made.ready:
            python, why = _found(record, made.uv)
            if why:
                obstacles.append(why)
    if obstacles:
        listed = "".join(f"\n  - {each}" for each in obstacles)
        raise ConflictError(f"the environment of run {run.id} cannot be recreated here:{listed}")
    if here:
        for name, origin in record.origins.items():
            if origin.kind in _LOCAL:
                _say(f"{name} is taken as it is now in {origin.url}")
        return ""
    if python:
        made.make(python, fresh=fresh)
    return made.python


# -- what stands in the way -----------------------------------------------------------------------


def _is_here(record: Record) -> bool:
    this = sys.implementation.name, python_version()
    if (record.implementation, record.python) != this:
        return False
    return distributions_of(sys.path) == (record.distributions, record.origins)


def _elsewhere(record: Record) -> Iterator[str]:
    uname = os.uname()
    here = Record(system=uname.sysname, machine=uname.machine, libc=libc())
    if platform_of(record) != platform_of(here):
        yield f"it ran on {platform_of(record)}, this is {platform_of(here)}: use such a machine"


def _code(record: Record, app_file: str) -> Iterator[str]:
    folder = os.path.dirname(os.path.abspath(app_file))
    changed = [name for name, digest in record.code.items() if hashed(os.path.join(folder, name)) != digest]
    if not changed:
        return
    if record.git is None:
        remedy = "it was under no version control: put back what it was"
    elif record.git.dirty:
        remedy = f"it had changes that commit {record.git.commit[:12]} does not have: put back what it was"
    else:
        remedy = f"git checkout {record.git.commit}"
    yield f"the app's code differs in {', '.join(changed)}: {remedy}"


def _variables(record: Record, present: Collection[str]) -> Iterator[str]:
    if missing := [name for name in record.given if name not in present]:
        yield (
            f"it was given {', '.join(missing)}, which this command does not pass: "
            "--env NAME=VALUE, or --secret NAME"
        )


def _uninstallable(record: Record) -> Iterator[str]:
    if "lightning-apps" not in record.distributions:
        yield "lightning-apps was not installed, but on the path: install it, and start such a run"
    for name, origin in record.origins.items():
        version = record.distributions[name]
        if origin.kind in _LOCAL:
            yield f"{name} {version} was installed from {origin.url} ({origin.kind}), which no index has"
        elif origin.kind == "archive" and (path := _local(origin)) is not None:
            kind, _, digest = origin.mark.partition("=")
            if not path.exists():
                yield f"{name} {version} was installed from {path}, which is gone"
            elif kind == "sha256" and hashed(path) != digest:
                yield f"{name} {version} was installed from {path}, which has changed since"


def _found(record: Record, uv: str) -> tuple[str, str]:
    """A Python of that version: this one, the recorded one, or one of uv's; or why there is none."""
    wanted = record.implementation, record.python
    if wanted == (sys.implementation.name, python_version()):
        return os.path.realpath(sys.executable), ""
    if os.access(record.executable, os.X_OK):
        tell = "import sys; print(sys.implementation.name, sys.version.split()[0].rstrip('+'))"
        if _silent(record.executable, "-c", tell).stdout.split() == [*wanted]:
            return os.path.realpath(record.executable), ""
    request = "@".join(wanted)
    if not _silent(uv, "python", "find", "--no-project", request).returncode:
        return request, ""
    _say(f"asking uv for {' '.join(wanted)}")
    asked = _silent(uv, "python", "install", request)
    if not asked.returncode:
        return request, ""
    why = (asked.stderr.strip().splitlines() or ["it gives no reason"])[0].removeprefix("error: ")
    return "", f"{' '.join(wanted)} is not here, and uv cannot provide it: {why}"


# -- making it ------------------------------------------------------------------------------------


def requirements(record: Record) -> list[str]:
    """What to install, each at the very version."""
    lines = []
    for name, version in record.distributions.items():
        origin = record.origins.get(name)
        if origin is None:
            lines.append(f"{name}=={version}")
        elif origin.kind == "archive":
            digest = f"#{origin.mark}" if origin.mark and _local(origin) is None else ""
            lines.append(f"{name} @ {origin.url}{digest}")
        else:
            lines.append(f"{name} @ {origin.kind}+{origin.url}@{origin.mark}")
    return lines


class _Environment:
    """The place of what a record wants, made or not."""

    def __init__(self, record: Record) -> None:
        self._version = record.python
        self._wanted = requirements(record)
        content = "\n".join([record.implementation, record.python, platform_of(record), *self._wanted])
        self._folder = (ENVIRONMENTS / hashlib.sha256(content.encode()).hexdigest()[:16]).absolute()
        self._done = self._folder / "ready"
        self.python = str(self._folder / "bin" / "python")

    @property
    def ready(self) -> bool:
        return self._done.exists()

    @cached_property
    def uv(self) -> str:
        return _uv()

    def make(self, python: str, *, fresh: bool) -> None:
        """Install everything into it, unless somebody has done so by now."""
        folder = self._folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n")
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who makes it at this moment, makes it for us, too
            if self.ready and not fresh:
                return
            _say(
                f"making the environment of that run: Python {self._version} and {len(self._wanted)} "
                f"distributions, in {os.path.relpath(folder)}"
            )
            listed = Path(f"{folder}.txt")
            listed.write_text("\n".join(self._wanted) + "\n")
            cache = ["--no-cache"] if fresh else []
            _do(
                self.uv, "venv", "--quiet", "--clear", "--no-project", *cache, "--python", python, str(folder)
            )
            # without resolving: the list is whole, and what ran once may run against its own metadata
            install = ("pip", "install", "--quiet", "--no-deps", *cache, "--python", self.python)
            _do(self.uv, *install, "-r", str(listed))
            self._done.touch()


def _say(text: str) -> None:
    print(f"INFO: {text}", file=sys.stderr)


def _uv() -> str:
    if found := shutil.which("uv"):
        return found
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    raise NotFoundError(f"--like makes environments with uv, which is not here\nInstall it: {INSTALL}")


def _do(*command: str) -> None:
    code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
    if code:
        raise LightningError(
            f"the environment could not be made: uv ended with exit code {code}\n"
            "What stood in the way is said above: a version that no index has any more, or no way to the index"
        )


def _silent(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def _local(origin: Origin) -> Path | None:
    parts = urlsplit(origin.url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
