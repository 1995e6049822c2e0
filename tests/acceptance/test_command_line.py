"""The command ``lightning`` as it is typed: what it prints where, and the code it ends with."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import os, sys
from lightning.app import LightningApp, LightningWork

class Root(LightningWork):
    def run(self):
        print(sys.argv[1:], os.environ.get("MODEL"), os.environ.get("TOKEN"))

app = LightningApp(Root())
"""

FOREVER = """
from lightning.app import LightningApp, LightningFlow

class Root(LightningFlow):
    def run(self):
        pass

app = LightningApp(Root())
"""


def lightning(*words: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lightning.app", *words],
        cwd=folder,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(code: int, *words: str, folder: Path | None = None) -> str:
    """What a refused command says: on stderr, in one block, and nothing on stdout."""
    done = lightning(*words, folder=folder)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


# -- help, version, completion ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["--help", "-h", "run --help", "run app --help", "run app -h", "completion -h"]
)
def test_every_command_has_help_with_a_line_that_works(words: str) -> None:
    done = lightning(*words.split())
    assert done.returncode == 0
    assert "lightning" in done.stdout
    assert done.stderr == ""


def test_the_help_loads_no_more_than_it_shows() -> None:
    program = (
        "import sys; from lightning.app.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.splitlines())
    assert "click" in loaded
    assert not {"msgspec", "apsw", "uvicorn", "rich", "asyncio", "cronsim", "cloudpickle", "socket"} & loaded
    ours = {name for name in loaded if name.startswith("lightning")}
    assert ours == {
        "lightning", "lightning.app", "lightning.app.cli", "lightning.app.cli.errors", "lightning.app.errors",
        "lightning.app.runtime", "lightning.app.runtime.streams", "lightning.app.startup",
    }  # fmt: skip


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import lightning; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert loaded == {"lightning"}


def test_the_version_is_that_of_the_distribution() -> None:
    done = lightning("--version")
    assert done.stdout.startswith("lightning-apps ")
    assert done.returncode == 0


def test_a_bare_command_shows_its_help_and_is_misused() -> None:
    done = lightning()
    assert done.returncode == 2
    assert "Usage: lightning" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_learns_to_complete(shell: str) -> None:
    assert "_LIGHTNING_COMPLETE" in lightning("completion", shell).stdout


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("lightning run app --dur", "--durability"),
        ("lightning list ", "runs"),
        ("lightning show ", "run"),
        ("lightning delete ", "run"),
    ],
)
def test_commands_and_options_are_completed(words: str, known: str) -> None:
    done = lightning(
        _LIGHTNING_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    assert done.stdout.split() == [f"plain,{known}"]


# -- what is refused ----------------------------------------------------------------------------------


def test_a_misspelled_command_is_corrected() -> None:
    assert "Did you mean: lightning run\n" in refusal(2, "rnu")


def test_a_file_in_place_of_a_command_is_understood() -> None:
    assert "Did you mean: lightning run app app.py" in refusal(2, "run", "app.py")


def test_a_misspelled_option_is_corrected() -> None:
    assert "Did you mean '--durability'?" in refusal(2, "run", "app", "app.py", "--durablity=off")


def test_a_missing_file_is_not_found(app: Path) -> None:
    done = lightning("run", "app", "ap.py", folder=app)
    assert done.returncode == 3
    assert f"Error: no file ap.py in {app}\nDid you mean app.py?\n" in done.stderr


def test_a_missing_argument_is_misuse() -> None:
    assert "Missing argument 'FILE'" in refusal(2, "run", "app")


def test_without_a_cluster_cloud_says_so() -> None:
    assert "no cluster: this version runs apps on this machine only" in refusal(
        3, "run", "app", "app.py", "--cloud"
    )
    assert "no cluster 'lab'" in refusal(3, "run", "app", "app.py", "--cloud", "lab")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--storage=s4://bucket", "there is no kind of storage 's4'; write a folder, or a URL such as s3://"),
        ("--storage=s3:/bucket", "--storage: 's3:/bucket' is no URL; write one as 's3://bucket/prefix'"),
        ("--storage=s3://key:secret@bucket", "--storage has a name or a password in it"),
        ("--env=MODEL", "'MODEL' is not NAME=VALUE"),
        ("--port=70000", "70000 is not in the range"),
        ("--blocking=perhaps", "'perhaps' is not a valid boolean"),
        ("--durability=some", "'some' is not one of 'full', 'process', 'off'"),
        ("--json", "--json goes with --blocking false"),
        ("--secret=NOBODY_SET_THIS", "export NOBODY_SET_THIS=..."),
    ],
)
def test_an_option_that_cannot_be_followed_says_why(words: str, said: str) -> None:
    assert said in refusal(2, "run", "app", "app.py", words)


def test_a_secret_never_stands_in_an_error(app: Path) -> None:
    done = lightning("run", "app", "no.py", "--secret", "TOKEN", folder=app, TOKEN="xyzzy")
    assert done.returncode == 3
    assert "xyzzy" not in done.stdout + done.stderr


# -- what is followed ---------------------------------------------------------------------------------


def test_arguments_variables_and_secrets_reach_the_app(app: Path) -> None:
    done = lightning(
        *["run", "app", "app.py", "--open-ui=false", "--env", "MODEL=small", "--secret", "TOKEN=MINE"],
        *["--app_args", "--lr", "0.1"],
        folder=app,
        MINE="xyzzy",
    )
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1] == "['--lr', '0.1'] small xyzzy"


def test_setup_installs_first_and_leaves_stdout_to_the_app(app: Path) -> None:
    (app / "requirements.txt").write_text("click\n")
    done = lightning("run", "app", "app.py", "--setup", folder=app)
    assert done.returncode == 0, done
    assert "Requirement already satisfied: click" in done.stderr
    assert done.stdout.startswith("Your Lightning App is starting.")


def test_setup_that_fails_stops_the_command(app: Path) -> None:
    (app / "requirements.txt").write_text("./no/such/folder\n")
    done = lightning("run", "app", "app.py", "--setup", folder=app)
    assert done.returncode == 1
    assert "the app's requirements could not be installed" in done.stderr


def test_without_blocking_the_app_lives_on_and_says_where(app: Path) -> None:
    (app / "app.py").write_text(FOREVER)
    done = lightning("run", "app", "app.py", "--blocking", "false", "--json", folder=app)
    assert done.returncode == 0, done
    place = json.loads(done.stdout)
    watched = os.pidfd_open(place["pid"])
    try:
        assert place["url"].startswith("http://127.0.0.1:")
        assert "Your Lightning App is starting." in (app / place["output"]).read_text()
    finally:
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        ended = _wait(watched)
    assert ended, "the app did not end in order within 30 s"


def test_without_blocking_an_app_that_cannot_start_is_said_at_once(app: Path) -> None:
    (app / "app.py").write_text("1 / 0\n")
    done = lightning("run", "app", "app.py", "--blocking=false", folder=app)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert not list(app.glob(".lightning/runs/starting-*"))


def _wait(watched: int) -> bool:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    ended = bool(poll.poll(30_000))
    if not ended:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
    os.close(watched)
    return ended
