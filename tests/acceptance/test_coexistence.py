"""Beside PyPI's ``lightning``, installed before or after: both keep their names, and apps run.

The environments stand on one with torch in it, which is made once, under ``.cache/coexistence``, and made
anew only when what it holds has changed. pip is given no index afterwards: the rest is local.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache" / "coexistence"
OTHERS = ["lightning==2.6.6", "pytorch-lightning==2.6.6"]
UNDERNEATH = [
    "torch==2.13.0", "torchmetrics", "lightning-utilities", "fsspec", "packaging", "PyYAML", "tqdm",
    "typing-extensions",
]  # fmt: skip

APP = """
import lightning as L

class Train(L.LightningWork):
    def run(self):
        print("trained with", L.Trainer.__name__)

class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.train = Train(cloud_compute=L.CloudCompute("gpu"))

    def run(self):
        self.train.run()
        self.stop()

app = L.LightningApp(Root())
"""


def run(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """An environment with torch, and all that both distributions need but themselves."""
    ours = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    content = repr((sys.version, UNDERNEATH, OTHERS, ours))
    made = CACHE / hashlib.sha256(content.encode()).hexdigest()[:12]
    made.mkdir(parents=True, exist_ok=True)
    with open(made / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "ready").exists():
            run(sys.executable, "-m", "venv", "--clear", made / "base")
            pip = [made / "base/bin/python", "-m", "pip", "--disable-pip-version-check"]
            run(*pip, "install", "--quiet", UNDERNEATH[0])
            run(*pip, "install", "--quiet", *UNDERNEATH, *ours)
            run(*pip, "download", "--quiet", "--no-deps", "--dest", made / "wheels", *OTHERS)
            (made / "ready").touch()
        yield made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, PROJECT)
    return next(folder.glob("*.whl"))


def environment(folder: Path, base: Path, wheels: list[Path]) -> Path:
    """The ``bin`` folder of an environment in which ``wheels`` were installed in this order."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    [site] = folder.glob("lib/python*/site-packages")
    [underneath] = base.glob("base/lib/python*/site-packages")
    (site / "base.pth").write_text(f"{underneath}\n")
    for wheel in wheels:
        pip = [
            base / "base/bin/python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            folder / "bin/python",
        ]
        run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    return folder / "bin"


@pytest.fixture(scope="module", params=["before", "after"])
def both(
    request: pytest.FixtureRequest, base: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    theirs = next(base.glob("wheels/lightning-2*.whl"))
    wheels = [theirs, wheel] if request.param == "before" else [wheel, theirs]
    return environment(tmp_path_factory.mktemp(f"theirs_{request.param}") / "venv", base, wheels)


@pytest.fixture(scope="module")
def with_pytorch_lightning(base: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels = [next(base.glob("wheels/pytorch_lightning-*.whl")), wheel]
    return environment(tmp_path_factory.mktemp("parts") / "venv", base, wheels)


def test_both_keep_their_names(both: Path) -> None:
    program = """
from lightning.app import LightningApp, LightningFlow, LightningWork
import lightning as L
import lightning.pytorch
assert L.LightningWork is LightningWork, "the names of apps are in L"
assert L.Trainer is lightning.pytorch.Trainer
assert issubclass(L.Fabric, lightning.fabric.Fabric)
assert isinstance(L.__version__, str)
try:
    L.Nonsense
except AttributeError:
    print("fine")
"""
    assert run(both / "python", "-c", program) == "fine\n"


@pytest.mark.parametrize("command", ["python -m lightning.app", "lightning-app"])
def test_an_app_runs(both: Path, command: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    program, *words = command.split()
    said = run(both / program, *words, "run", "app", "app.py", "--open-ui=false", folder=tmp_path)
    assert said.splitlines()[2:] == ["trained with Trainer"]


def test_training_names_are_those_of_pytorch_lightning(with_pytorch_lightning: Path) -> None:
    program = """
import lightning as L
import lightning.pytorch.callbacks
import lightning.fabric.utilities.seed
from lightning.pytorch import LightningModule
import lightning_fabric, pytorch_lightning
assert lightning.pytorch is pytorch_lightning and lightning.fabric is lightning_fabric
assert lightning.pytorch.callbacks is pytorch_lightning.callbacks, "no module is there twice"
assert LightningModule is L.LightningModule is pytorch_lightning.LightningModule
assert pytorch_lightning.__spec__.name == "pytorch_lightning"
assert L.Trainer and L.LightningDataModule and L.Callback and L.Fabric and L.seed_everything
print("fine")
"""
    assert run(with_pytorch_lightning / "python", "-W", "error::ImportWarning", "-c", program) == "fine\n"


@pytest.mark.parametrize(
    "line",
    [
        "L.Trainer",
        "L.Fabric",
        "L.pytorch",
        "from lightning import Trainer",
        "import lightning.pytorch.callbacks",
    ],
)
def test_without_pytorch_lightning_the_error_names_what_to_install(line: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import lightning as L\n{line}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.splitlines()[-1].endswith(
        "comes with PyTorch Lightning: pip install 'lightning-apps[train]'"
    )
