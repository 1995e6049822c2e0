"""What is measured: this project and its peers. A peer is installed from PyPI and run, nothing more.

A subject takes part in a row when one of its program folders holds a program of that name. Pins are what was
found to work together on Python 3.11; the report names the versions that really ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Subject:
    """``command`` makes a command line of: the environment's ``bin``, program, scratch folder, durability."""

    name: str
    distribution: str
    requirements: tuple[str, ...]
    folders: tuple[str, ...]
    command: Callable[[Path, Path, Path, str], list[str]]
    help: tuple[str, ...]  # the command that prints its help, the first word in the environment's bin
    imports: str
    environment: dict[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ("shared",)

    def program(self, name: str) -> Path | None:
        candidates = (PROGRAMS / folder / f"{name}.py" for folder in self.folders)
        return next((path for path in candidates if path.exists()), None)


def _script(bin: Path, program: Path, scratch: Path, durability: str) -> list[str]:
    return [str(bin / "python"), str(program)]


def _metaflow(bin: Path, program: Path, scratch: Path, durability: str) -> list[str]:
    return [str(bin / "python"), str(program), "--no-pylint", "run"]


def _predecessor(bin: Path, program: Path, scratch: Path, durability: str) -> list[str]:
    return [str(bin / "lightning_app"), "run", "app", str(program), "--open-ui=false"]


def _ours(bin: Path, program: Path, scratch: Path, durability: str) -> list[str]:
    options = ["--open-ui=false", "--runs-dir", str(scratch / "runs"), "--durability", durability]
    return [str(bin / "lightning"), "run", "app", str(program), *options]


OURS = Subject(
    name="ours",
    distribution="lightning-apps",
    requirements=("numpy", "s3fs>=2025.2", "moto[server]>=5.0"),
    folders=("lightning",),
    command=_ours,
    help=("lightning", "--help"),
    imports="lightning",
)

PEERS = (
    Subject(
        name="predecessor",
        distribution="lightning-app",
        requirements=(
            "lightning-app==2.3.2",
            "uvicorn==0.29.0",
            "fastapi==0.110.0",
            "starlette==0.36.3",
            "setuptools<81",
            "numpy<2",
        ),
        folders=("predecessor", "lightning"),
        command=_predecessor,
        help=("lightning_app", "--help"),
        imports="lightning_app",
        paths=("shared", "predecessor/alias"),
    ),
    Subject(
        name="ray",
        distribution="ray",
        requirements=("ray==2.60.0", "numpy"),
        folders=("ray",),
        command=_script,
        help=("ray", "--help"),
        imports="ray",
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "{temporary}"},
    ),
    Subject(
        name="dask",
        distribution="distributed",
        requirements=("distributed==2026.8.0", "numpy"),
        folders=("dask",),
        command=_script,
        help=("dask", "--help"),
        imports="distributed",
    ),
    Subject(
        name="dbos",
        distribution="dbos",
        requirements=("dbos==3.4.0",),
        folders=("dbos",),
        command=_script,
        help=("dbos", "--help"),
        imports="dbos",
    ),
    Subject(
        name="metaflow",
        distribution="metaflow",
        requirements=("metaflow==2.19.39",),
        folders=("metaflow",),
        command=_metaflow,
        help=("metaflow", "--help"),
        imports="metaflow",
        environment={"USERNAME": "bench"},
    ),
    Subject(
        name="prefect",
        distribution="prefect",
        requirements=("prefect==3.8.8", "fastapi<0.140"),
        folders=("prefect",),
        command=_script,
        help=("prefect", "--help"),
        imports="prefect",
        environment={"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"},
    ),
)
