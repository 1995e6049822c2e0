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
_READY = "ready"


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
    here = _is_here(record)
    uv = "" if here else _uv()
    obstacles = [*_elsewhere(record), *_code(record, app_file), *_variables(record, present)]
    if not here:
        obstacles += [*_uninstallable(record), *_python_wanting(record, uv)]
    if obstacles:
        listed = "".join(f"\n  - {each}" for each in obstacles)
        raise ConflictError(f"the environment of run {run.id} cannot be recreated here:{listed}")
    return "" if here else _made(record, uv, fresh=fresh)


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
        if origin.kind in ("editable", "folder"):
            yield f"{name} {version} was installed from {origin.url} ({origin.kind}), which no index has"
        elif origin.kind == "archive" and (path := _local(origin)) is not None:
            kind, _, digest = origin.mark.partition("=")
            if not path.exists():
                yield f"{name} {version} was installed from {path}, which is gone"
            elif kind == "sha256" and hashed(path) != digest:
                yield f"{name} {version} was installed from {path}, which has changed since"


def _python_wanting(record: Record, uv: str) -> Iterator[str]:
    wanted = _python(record)
    if os.path.isabs(wanted):
        return
    found = _silent(uv, "python", "find", "--no-project", wanted)
    if found.returncode:
        found = _silent(uv, "python", "install", wanted)
    if found.returncode:
        why = (found.stderr.strip().splitlines() or ["no reason given"])[0]
        yield f"{record.implementation} {record.python} is not here, and uv cannot provide it: {why}"


def _python(record: Record) -> str:
    """What uv knows the Python by; this one, where it is the same."""
    if (record.implementation, record.python) == (sys.implementation.name, python_version()):
        return os.path.realpath(sys.executable)
    return f"{record.implementation}@{record.python}"


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


def _made(record: Record, uv: str, *, fresh: bool) -> str:
    wanted = requirements(record)
    content = "\n".join([record.implementation, record.python, platform_of(record), *wanted])
    folder = (ENVIRONMENTS / hashlib.sha256(content.encode()).hexdigest()[:16]).absolute()
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    (folder.parent / ".gitignore").write_text("*\n")
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who makes it at this moment, makes it for us, too
        if fresh or not (folder / _READY).exists():
            listed = Path(f"{folder}.txt")
            listed.write_text("\n".join(wanted) + "\n")
            print(
                f"INFO: making the environment of that run: Python {record.python} and "
                f"{len(wanted)} distributions, in {os.path.relpath(folder)}",
                file=sys.stderr,
            )
            cache = ["--no-cache"] if fresh else []
            _do(
                uv,
                "venv",
                "--quiet",
                "--clear",
                "--no-project",
                *cache,
                "--python",
                _python(record),
                str(folder),
            )
            # without resolving: the list is whole, and what ran once may run against its own metadata
            _do(
                uv,
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                *cache,
                "--python",
                str(python),
                "-r",
                str(listed),
            )
            (folder / _READY).touch()
    return str(python)


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
