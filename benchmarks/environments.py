"""The virtual environments that subjects run in, one each, made once and kept under ``.cache/bench``."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.subjects import OURS, Subject

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "bench"
STAMP = "bench-installed"
VERSIONS = (
    "import json, importlib.metadata as m;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


class InstallFailed(Exception):
    """An environment could not be made. The message ends with the installer's last lines."""


def prepare(subject: Subject) -> Path:
    """The ``bin`` folder of the subject's environment, made or renewed when it is not as it should be."""
    home = CACHE / subject.name
    stamp = home / STAMP
    wanted = _fingerprint(subject)
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"installing {subject.name} into {home.relative_to(ROOT)}", file=sys.stderr)
        if not (home / "bin" / "python").exists():
            venv.create(home, with_pip=True, clear=True)
        if subject is OURS:
            # the build folder of an earlier state must not lend files to this one
            shutil.rmtree(ROOT / "build", ignore_errors=True)
            _pip(home, "--upgrade", str(ROOT), *subject.requirements)
            _pip(home, "--force-reinstall", "--no-deps", str(ROOT))
        else:
            _pip(home, *subject.requirements)
        stamp.write_text(wanted)
    return home / "bin"


def versions(python: Path) -> dict[str, str]:
    """Every distribution in an environment, so that a result can be told apart from the next year's."""
    found = subprocess.run([python, "-I", "-c", VERSIONS], capture_output=True, text=True, check=True).stdout
    return dict(sorted(json.loads(found).items()))


def _pip(home: Path, *arguments: str) -> None:
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        raise InstallFailed(f"{' '.join(command)} ended with exit code {done.returncode}:\n{tail}")


def _fingerprint(subject: Subject) -> str:
    digest = hashlib.sha256(repr((sys.version, subject.requirements)).encode())
    if subject is OURS:
        for path in [ROOT / "pyproject.toml", *sorted((ROOT / "src").rglob("*"))]:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.read_bytes())
    return digest.hexdigest()
