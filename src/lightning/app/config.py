"""What a user configures once for a project or a machine, and how it is found and checked.

The nearest ``lightning.toml``, or ``[tool.lightning]`` of a ``pyproject.toml``, from the app's folder
upward; environment variables ``LIGHTNING_*`` over it. A key that is misspelled or of the wrong kind is an
error that names the file and the key: settings that silently do nothing cost people days.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.app.errors import NotAllowedError, UsageError

_UNITS = {
    "": 1000**3,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "MIB": 1024**2,
    "GIB": 1024**3,
    "TIB": 1024**4,
}
_SIZE = r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)"


@dataclass(frozen=True)
class Resources:
    """What a work needs of a machine. None: whatever there is."""

    cpus: float | None = None
    gpus: int = 0
    memory: int | None = None  # bytes
    accelerator: str | None = None  # "A100"


@dataclass(frozen=True)
class Kept:
    """How much of the past stays in the folder of runs. None: all of it."""

    keep: int | None = 100  # runs
    keep_days: float | None = 90.0
    output: int = 64 * 1000**2  # bytes of each run; 0: none is kept


@dataclass(frozen=True)
class Config:
    """One reading of the configuration.

    >>> Config.load(Path("my_project")).timezone
    'Europe/Berlin'
    """

    timezone: str = "UTC"
    compute: Mapping[str, Resources] = field(default_factory=dict)
    history: int = 100_000  # turns of a run that stay readable, at least
    runs: Kept = field(default_factory=Kept)
    file: Path | None = None

    @staticmethod
    def load(folder: Path, environ: Mapping[str, str] = os.environ) -> Config:
        """The configuration of an app whose file lies in ``folder``."""
        file, table = _find(folder)
        own = file is not None and file.name == "lightning.toml"
        where = f"{file}: " if own else f"{file}: tool.lightning."
        unknown(table, ("timezone", "compute", "journal", "runs"), where)
        timezone = environ.get("LIGHTNING_TIMEZONE")
        if timezone:
            timezone = _timezone(timezone, "LIGHTNING_TIMEZONE")
        elif "timezone" in table:
            timezone = _timezone(table["timezone"], f"{where}timezone")
        return Config(
            timezone=timezone or local_timezone(environ),
            compute=_compute(table.get("compute", {}), where),
            history=_history(table.get("journal", {}), f"{where}journal"),
            runs=_kept(table.get("runs", {}), f"{where}runs"),
            file=file,
        )


def local_timezone(environ: Mapping[str, str] = os.environ) -> str:
    """The name of the zone this machine lives in, UTC where it has no name."""
    named = environ.get("TZ", "").removeprefix(":")
    linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    return next((name for name in (named, linked, _text("/etc/timezone")) if _known_zone(name)), "UTC")


def unknown(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse the first key of ``given`` that is not ``known``."""
    for key in given:
        if key not in known:
            raise UsageError(
                f"{where}{key} is not a setting{guess(key, known)}: it can be {', '.join(known)}"
            )


def guess(name: str, known: tuple[str, ...] | list[str]) -> str:
    """``" (did you mean 'timezone'?)"``, or nothing."""
    from difflib import get_close_matches  # only those who err pay for it

    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def cpus(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{where} must be a number above 0, such as 4 or 0.5, not {value!r}")
    return value


def gpus(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{where} must be a whole number, 0 or more, not {value!r}")
    return value


def memory(value: object, where: str) -> int:
    """Bytes of ``16`` (gigabytes), ``"512MB"`` or ``"16 GiB"``."""
    match = re.fullmatch(_SIZE, str(value)) if isinstance(value, int | float | str) else None
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or float(match[1]) == 0:
        raise UsageError(
            f"{where} must be gigabytes, such as 16, or a size such as '512MB' or '16GiB', not {value!r}"
        )
    return round(float(match[1]) * unit)


def accelerator(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where} must be the name of a kind of GPU, such as 'A100', not {value!r}")
    return value


KINDS: dict[str, Callable[[object, str], Any]] = {
    "cpus": cpus,
    "gpus": gpus,
    "memory": memory,
    "accelerator": accelerator,
}
"""What `Resources` are made of, and how each is checked. The same words are arguments of ``CloudCompute``."""


def _find(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        file = place / "lightning.toml"
        if (table := _read(file)) is not None:
            return file, table
        file = place / "pyproject.toml"
        tool = (_read(file) or {}).get("tool")
        if isinstance(tool, dict) and "lightning" in tool:
            return file, _table(tool["lightning"], f"{file}: tool.lightning")
    return None, {}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as err:
        raise NotAllowedError(f"cannot read the configuration {file}: {err.strerror}") from err
    import tomllib  # only those who have a file pay for its parser

    try:
        return tomllib.loads(text.decode())
    except ValueError as err:  # tomllib's, or bytes that are not UTF-8
        raise UsageError(f"{file} is not valid TOML: {err}") from err


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table of settings, not {value!r}")
    return value


def _compute(table: object, where: str) -> dict[str, Resources]:
    definitions = {}
    for name, given in _table(table, f"{where}compute").items():
        here = f"{where}compute.{name}"
        unknown(_table(given, here), tuple(KINDS), f"{here}.")
        definitions[name] = Resources(**{key: KINDS[key](given[key], f"{here}.{key}") for key in given})
    return definitions


def _history(table: object, where: str) -> int:
    unknown(_table(table, where), ("history",), f"{where}.")
    value = table.get("history", Config.history) if isinstance(table, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{where}.history must be a whole number of turns, such as 100000, not {value!r}")
    return value


def _kept(table: object, where: str) -> Kept:
    given = _table(table, where)
    unknown(given, tuple(_KEPT), f"{where}.")
    return Kept(**{key: _KEPT[key](given[key], f"{where}.{key}") for key in given})


def _runs_kept(value: object, where: str) -> int | None:
    if value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where} must be a number of runs, 1 or more, or 'all', not {value!r}")
    return value


def _days_kept(value: object, where: str) -> float | None:
    if value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{where} must be a number of days above 0, or 'all', not {value!r}")
    return value


def _output_kept(value: object, where: str) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else memory(value, where)


_KEPT: dict[str, Callable[[object, str], Any]] = {
    "keep": _runs_kept,
    "keep_days": _days_kept,
    "output": _output_kept,
}


def _timezone(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} must be the name of a time zone, such as 'Europe/Berlin', not {value!r}")
    if not _known_zone(value):
        from zoneinfo import available_timezones

        hint = guess(value, sorted(available_timezones()))
        raise UsageError(
            f"{where}: there is no time zone {value!r}{hint}; write one as 'Europe/Berlin' or 'UTC' "
            "(if this machine knows none: pip install tzdata)"
        )
    return value


def _known_zone(name: str) -> bool:
    if not name:
        return False
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        return False
    return True


def _text(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except (OSError, ValueError):
        return ""
