"""What a run was made of: code, Python, platform, distributions, arguments, variables' names, git's commit.

``environment.json`` in the run's folder has a record for the start and one for every resume. It is taken aside,
once the app runs, so that nobody waits for it; git, which may be slow or absent, has a time limit and comes
last. Values of variables are never recorded.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from lightning.app import __version__

FILE = "environment.json"
GIT_SECONDS = 5.0
KEPT = 50
"""So many records of a run stay: the first and the newest."""

_OTHERS = ("site-packages", "dist-packages")
_PASSWORD = re.compile(r"(?<=//)[^/@]*@")


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a distribution came from that came from no index: PEP 610's ``direct_url.json``, in short."""

    kind: str  # "editable", "folder", "archive", or the version control's name
    url: str
    mark: str = ""  # an archive's "sha256=...", a repository's commit


class Git(msgspec.Struct, frozen=True):
    """The commit that was checked out. ``dirty``: tracked files, or the app's own, differed from it."""

    commit: str
    branch: str  # empty when none was
    dirty: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One start or resume of a run."""

    epoch: int = 1
    at: float = 0.0
    lightning: str = ""
    python: str = ""
    implementation: str = ""
    executable: str = ""
    system: str = ""
    release: str = ""
    machine: str = ""
    libc: str = ""
    arguments: tuple[str, ...] = ()
    given: tuple[str, ...] = ()  # names of what --env and --secret passed
    variables: tuple[str, ...] = ()  # names of all variables of the environment
    code: dict[str, str] = {}  # by file, relative to the app's folder
    code_hash: str = ""
    distributions: dict[str, str] = {}  # name: version
    origins: dict[str, Origin] = {}
    git: Git | None = None


def taken(
    app_file: str,
    *,
    epoch: int,
    arguments: Sequence[str] = (),
    given: Iterable[str] = (),
    also: Iterable[str] = (),
) -> Record:
    """The record of this process, without git's part. ``also``: files that an earlier record names."""
    code = code_of(app_file, also)
    distributions, origins = distributions_of(sys.path)
    system, _, release, _, machine = os.uname()
    return Record(
        epoch=epoch,
        at=time.time(),
        lightning=__version__,
        python=python_version(),
        implementation=sys.implementation.name,
        executable=sys.executable,
        system=system,
        release=release,
        machine=machine,
        libc=libc(),
        arguments=tuple(arguments),
        given=tuple(sorted(given)),
        variables=tuple(sorted(os.environ)),
        code=code,
        code_hash=code_hash(code),
        distributions=distributions,
        origins=origins,
    )


def python_version() -> str:
    """``3.12.1``, also of a pre-release: ``3.14.0rc1``."""
    return sys.version.split()[0].rstrip("+")


def libc() -> str:
    """``glibc 2.39``; empty where the C library does not say."""
    with suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return ""


def code_of(app_file: str | os.PathLike[str], also: Iterable[str] = ()) -> dict[str, str]:
    """The app's file and what has been imported from its folder, each with its hash.

    Names are relative to the folder. ``also`` are names to look at besides, imported or not.

    >>> code_of("examples/hello/app.py").keys()
    dict_keys(['app.py'])
    """
    file = os.path.abspath(app_file)
    folder = os.path.dirname(file)
    files = {file, *(os.path.join(folder, name) for name in also)}
    for name, module in list(sys.modules.items()):
        source = getattr(module, "__dict__", {}).get("__file__")  # no attribute: that could import
        if isinstance(source, str) and name.partition(".")[0] != "lightning":
            source = os.path.abspath(source)
            if source.startswith(folder + os.sep) and source.endswith(".py") and not _installed(source):
                files.add(source)
    found = {os.path.relpath(source, folder): hashed(source) for source in sorted(files)}
    return {name: digest for name, digest in found.items() if digest}


def hashed(file: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def code_hash(code: Mapping[str, str]) -> str:
    """One hash for all of it."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(code.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def _installed(source: str) -> bool:
    return source.startswith(sys.prefix + os.sep) or any(
        f"{os.sep}{part}{os.sep}" in source for part in _OTHERS
    )


def distributions_of(path: Iterable[str]) -> tuple[dict[str, str], dict[str, Origin]]:
    """The installed distributions with their versions, told by the names of their folders, and the origins of
    those that came from no index."""
    found: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for folder in dict.fromkeys(os.path.abspath(each) for each in path):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for entry in names:
            stem, dot, kind = entry.rpartition(".")
            if dot and kind in ("dist-info", "egg-info"):
                name, _, rest = stem.partition("-")
                name = normalized(name)
                if name not in found and rest:  # what comes first on the path is what is imported
                    found[name] = rest.partition("-")[0]
                    if (origin := _origin(os.path.join(folder, entry))) is not None:
                        origins[name] = origin
    return dict(sorted(found.items())), dict(sorted(origins.items()))


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class _DirectUrl(msgspec.Struct):
    url: str = ""
    dir_info: dict[str, object] | None = None
    vcs_info: dict[str, object] | None = None
    archive_info: dict[str, object] | None = None


def _origin(folder: str) -> Origin | None:
    try:
        with open(os.path.join(folder, "direct_url.json"), "rb") as file:
            told = msgspec.json.decode(file.read(), type=_DirectUrl)
    except (OSError, msgspec.MsgspecError):
        return None
    url = _PASSWORD.sub("", told.url)
    if told.vcs_info is not None:
        return Origin(str(told.vcs_info.get("vcs", "git")), url, str(told.vcs_info.get("commit_id", "")))
    if told.archive_info is not None:
        return Origin("archive", url, _digest(told.archive_info))
    editable = bool(told.dir_info and told.dir_info.get("editable"))
    return Origin("editable" if editable else "folder", url)


def _digest(archive: Mapping[str, object]) -> str:
    hashes = archive.get("hashes")
    if isinstance(hashes, dict):
        for kind, digest in hashes.items():
            return f"{kind}={digest}"
    return str(archive.get("hash", ""))


def git_of(folder: str, files: Iterable[str]) -> Git | None:
    """What git says of ``folder``; None where it is absent, slow, or knows nothing of it."""
    told = _git(folder, "--branch", "--untracked-files=no")
    if told is None:
        return None
    about = dict(line[2:].split(" ", 1) for line in told.splitlines() if line.startswith("# branch."))
    commit = about.get("branch.oid", "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return None  # there is no commit yet
    branch = about.get("branch.head", "")
    dirty = any(not line.startswith("#") for line in told.splitlines())
    if not dirty:
        dirty = bool(_git(folder, "--untracked-files=all", "--ignored", "--", *files))
    return Git(commit, "" if branch == "(detached)" else branch, dirty)


def _git(folder: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, "-c", "core.fsmonitor=false", "status", "--porcelain=v2", *arguments],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


# -- in the run's folder --------------------------------------------------------------------------


def records(folder: Path) -> list[Record]:
    """Every record of a run, the oldest first; none where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Record])
    except (OSError, msgspec.MsgspecError):
        return []


def write(folder: Path, record: Record) -> None:
    """Add it to the run's records, in place of one of the same epoch; whole or not at all."""
    kept = [each for each in records(folder) if each.epoch != record.epoch] + [record]
    kept = kept[:1] + kept[1:][1 - KEPT :]
    fresh = folder / f"{FILE}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    os.replace(fresh, folder / FILE)


def with_git(record: Record, folder: str) -> Record:
    return msgspec.structs.replace(record, git=git_of(folder, record.code))


# -- comparing ------------------------------------------------------------------------------------


def differences(old: Record, new: Record) -> list[str]:
    """What changed from one record to a later one, a line each."""
    found = []
    for what, before, after in (
        ("lightning-apps", old.lightning, new.lightning),
        ("Python", f"{old.implementation} {old.python}", f"{new.implementation} {new.python}"),
        ("platform", platform_of(old), platform_of(new)),
        ("arguments", " ".join(old.arguments), " ".join(new.arguments)),
        ("git", _commit(old), _commit(new)),
    ):
        if before != after:
            found.append(f"{what}: {before or 'none'} -> {after or 'none'}")
    found += _changed("code", old.code, new.code, lambda digest: digest[:12])
    found += _changed("distribution", old.distributions, new.distributions, str)
    found += _changed("variable", dict.fromkeys(old.variables, ""), dict.fromkeys(new.variables, ""), str)
    return found


def platform_of(record: Record) -> str:
    """What programs built for one machine need of another."""
    return " ".join(filter(None, (record.system, record.machine, record.libc)))


def _commit(record: Record) -> str:
    return f"{record.git.commit[:12]}{' and changes' if record.git.dirty else ''}" if record.git else ""


def _changed(
    what: str, old: Mapping[str, str], new: Mapping[str, str], shown: Callable[[str], str]
) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if after is None:
            yield f"{what} {name}: gone"
        elif before is None:
            yield f"{what} {name}: new"
        elif before != after:
            yield f"{what} {name}: {shown(before)} -> {shown(after)}"
