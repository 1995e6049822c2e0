"""Runs as a user meets them: listed, looked at, followed, resumed, deleted."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lightning.app.journal.output import OutputReader
from lightning.app.journal.runs import Run, Runs

from .conftest import RunApp
from .terminal import Terminal
from .test_command_line import lightning, refusal

WriteApp = Callable[[str], Path]

SHORT = """
import sys
import lightning as L

class Train(L.LightningWork):
    def run(self, epochs):
        for epoch in range(epochs):
            print("epoch", epoch)
        print("to stderr", file=sys.stderr)

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.train = Train()

    def run(self):
        self.train.run(3)
        print("the flow is done")
        self.stop()

app = L.LightningApp(Flow())
"""

LONG = """
import os
import time
import lightning as L

class Work(L.LightningWork):
    def run(self):
        print("work", os.getpid())
        while not os.path.exists("go"):
            time.sleep(0.02)
        print("work ends")

app = L.LightningApp(Work())
"""


def only_run(folder: Path) -> Run:
    (run,) = Runs(folder / ".lightning" / "runs").all()
    return run


def told(folder: Path, *words: str) -> str:
    done = lightning(*words, folder=folder)
    assert done.returncode == 0, done
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def type_command(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Any command on a terminal of its own, which ends with the test."""
    with ExitStack() as stack:
        yield lambda *words: stack.enter_context(Terminal(*words, folder=tmp_path))


@pytest.fixture
def short(write_app: WriteApp, run_app: RunApp) -> Path:
    """The folder of an app that has run to its end."""
    folder = write_app(SHORT).parent
    run_app("app.py", "--app_args", "--lr", "0 1").end(0)
    return folder


# -- looking ------------------------------------------------------------------------------------------


def test_a_run_that_ended_is_listed_shown_and_its_output_is_there(short: Path) -> None:
    run = only_run(short)
    heading, line = told(short, "list", "runs").splitlines()
    assert heading.split() == ["ID", "NAME", "STATE", "STARTED", "DURATION", "SIZE"]
    assert line.split()[:3] == [run.id, "app", "ended"]
    (listed,) = json.loads(told(short, "list", "runs", "--json"))
    assert (listed["id"], listed["state"], listed["exit_code"]) == (run.id, "ended", 0)

    shown = told(short, "show", "run")
    assert re.search(r"^state +ended, exit code 0$", shown, re.MULTILINE)
    assert re.search(r"^arguments +--lr '0 1'$", shown, re.MULTILINE)
    assert re.search(r"^ +root\.train +succeeded +1 +1 +0 ", shown, re.MULTILINE)
    assert re.search(r"^code +[0-9a-f]{12}  app\.py$", shown, re.MULTILINE)
    known = json.loads(told(short, "show", "run", run.id[:10], "--json"))
    assert known["arguments"] == ["--lr", "0 1"]
    assert known["works"][0]["statuses"][-1]["stage"] == "succeeded"
    assert list(known["environments"][0]["code"]) == ["app.py"]
    assert "lightning-apps" in known["environments"][0]["distributions"]

    lines = [json.loads(line) for line in told(short, "logs", "--json").splitlines()]
    printed = [(line["component"], line["text"]) for line in lines if line["stream"] == "out"]
    assert printed == [
        ("root.train", "epoch 0"),
        ("root.train", "epoch 1"),
        ("root.train", "epoch 2"),
        ("flow", "the flow is done"),
    ]
    assert ("root.train", "err", "to stderr") in [
        (line["component"], line["stream"], line["text"]) for line in lines
    ]


def test_lines_are_chosen_by_component_words_number_and_time(short: Path) -> None:
    def texts(*words: str) -> list[str]:
        return [line.partition("  ")[2] for line in told(short, "logs", *words).splitlines()]

    assert texts("flow") == texts("--search", "fl.w") == ["the flow is done"]
    assert texts("train", "--search", "epoch", "--tail", "2") == ["epoch 1", "epoch 2"]
    assert texts("root.train", "flow", "--tail", "0") == []
    assert len(texts("--since", "1h")) == 5
    assert texts("--since", "2099-01-01") == []


def test_what_is_misspelled_is_said(short: Path) -> None:
    run = only_run(short).id
    assert "no component 'tran' has printed anything (did you mean 'train'?)" in refusal(
        3, "logs", run, "tran", folder=short
    )
    assert f"has no run '1999'. Known, newest first: {run}" in refusal(3, "logs", "1999", folder=short)
    assert "has no run 'nope'" in refusal(3, "show", "run", "nope", folder=short)
    assert "has no run 'nope'" in refusal(3, "delete", "run", "nope", folder=short)
    assert "has no run 'nope'" in refusal(3, "run", "app", "app.py", "--like", "nope", folder=short)
    assert "'(' is not a regular expression" in refusal(2, "logs", "--search", "(", folder=short)
    assert "'soon' is not a time: write 10m (ago)" in refusal(2, "logs", "--since", "soon", folder=short)
    assert "is not a span of time, such as 90s" in refusal(
        2, "delete", "run", "--older-than", "old", folder=short
    )
    assert "Did you mean: lightning show run" in refusal(2, "show", "rnu")
    assert "Did you mean: lightning logs" in refusal(2, "log")


def test_without_runs_commands_say_how_to_get_one(tmp_path: Path) -> None:
    for words in (["show", "run"], ["logs"]):
        assert "has no runs yet\nStart one: lightning run app app.py" in refusal(3, *words, folder=tmp_path)
    done = lightning("list", "runs", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "has no runs yet. Start one" in done.stderr
    assert told(tmp_path, "list", "runs", "--json") == "[]\n"


def test_a_shell_completes_runs(short: Path) -> None:
    run = only_run(short).id
    for words in (
        "show run 2",
        "logs 2",
        "delete run 2",
        "run app app.py --resume 2",
        "run app app.py --like 2",
    ):
        typed = f"lightning {words}"
        done = lightning(
            folder=short,
            _LIGHTNING_COMPLETE="bash_complete",
            COMP_WORDS=typed,
            COMP_CWORD=str(len(typed.split()) - 1),
        )
        assert done.stdout.split() == [f"plain,{run}"], words


@pytest.mark.parametrize("command", ["list runs", "show run", "logs", "delete run", "list", "show", "delete"])
def test_every_command_has_help_with_a_line_that_works(command: str) -> None:
    assert "lightning " in told(Path(), *command.split(), "--help")


# -- output -------------------------------------------------------------------------------------------


def test_following_a_live_run_ends_with_it_and_misses_nothing(
    write_app: WriteApp, run_app: RunApp, type_command: Callable[..., Terminal]
) -> None:
    folder = write_app(LONG).parent
    terminal = run_app("app.py")
    terminal.line(re.compile(r"^work \d+$"))
    follower = type_command("logs", "--follow", "--tail", "1")
    follower.line(re.compile(r"  work \d+$"))
    (folder / "go").touch()
    terminal.end(0)
    follower.end(0)
    assert [line.partition("  ")[2] for line in follower.out][1:] == ["work ends"]


def test_what_was_printed_before_a_kill_is_kept(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(LONG).parent
    terminal = run_app("app.py")
    line = terminal.line(re.compile(r"^work \d+$")).text
    terminal.kill()
    assert told(folder, "logs").splitlines()[0].endswith(f"root  {line}")


CANARY = "canary-9f3e"
LEAKY = """
import os, sys, time
import lightning as L

TOKEN = os.environ["TOKEN"]

class Work(L.LightningWork):
    def run(self):
        print("plain", TOKEN)
        os.write(1, TOKEN[:5].encode())
        time.sleep(0.2)  # the relay passes on what has no end yet
        os.write(1, TOKEN[5:].encode() + b" in parts\\n")
        print({"token": TOKEN}, file=sys.stderr)
        raise ValueError(f"{TOKEN} is refused")

app = L.LightningApp(Work())
"""


@pytest.mark.parametrize("secret", [CANARY, 'with "quotes" and\nof-two-lines'])
def test_a_secret_is_not_kept_and_not_in_our_own_words(
    secret: str, write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(LEAKY).parent
    terminal = run_app("app.py", "--secret", "TOKEN=MINE", environment={"MINE": secret})
    terminal.end(1)
    assert "ValueError: *** is refused" in terminal.errors
    texts = [line.text for line in OutputReader(only_run(folder).folder).read()]
    assert {"plain ***", "*** in parts", "{'token': '***'}"} <= set(texts)
    assert "ValueError: *** is refused" in texts
    kept = b"".join(file.read_bytes() for file in (only_run(folder).folder / "output").iterdir())
    assert secret.splitlines()[-1].encode() not in kept


def test_in_the_background_a_secret_is_not_in_the_file_either(
    write_app: WriteApp, type_command: Callable[..., Terminal]
) -> None:
    folder = write_app(LEAKY).parent
    words = ("run", "app", "app.py", "--blocking", "false", "--secret", "TOKEN")
    done = lightning(*words, folder=folder, TOKEN=CANARY)
    type_command("logs", "--follow").end(0)
    output = (only_run(folder).folder / "output.log").read_text()
    assert done.returncode == 0, done
    assert "plain ***" in output
    assert CANARY not in output


def test_output_is_not_kept_where_that_is_configured(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(SHORT).parent
    (folder / "lightning.toml").write_text("[runs]\noutput = 0\n")
    run_app("app.py").end(0)
    assert not (only_run(folder).folder / "output").exists()
    done = lightning("logs", folder=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert "has been kept" in done.stderr


def test_when_no_more_can_be_kept_one_notice_says_so_and_the_app_goes_on(
    write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(
        """
        import resource
        import lightning as L

        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))

        class Work(L.LightningWork):
            def run(self):
                for number in range(20_000):
                    print(f"{number:099}")

        app = L.LightningApp(Work())
        """
    ).parent
    terminal = run_app("app.py")
    terminal.end(0)
    assert len(terminal.printed) == 20_000
    assert len([line for line in terminal.err if "what is printed from here on is not kept" in line]) == 1
    kept = [int(line.text) for line in OutputReader(only_run(folder).folder).read()]
    assert kept == list(range(len(kept)))
    assert kept


# -- going on -----------------------------------------------------------------------------------------


def test_a_start_names_the_interrupted_run_and_the_command_that_goes_on_with_it(
    write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(LONG).parent
    first = run_app("app.py", "--app_args", "--lr", "0.1")
    first.line(re.compile(r"^work \d+$"))
    first.kill()
    run = only_run(folder)
    (folder / "go").touch()
    second = run_app("app.py")
    second.end(0)
    command = f"lightning run app app.py --resume {run.id} --app_args --lr 0.1"
    assert [line for line in second.err if run.id in line] == [
        f"INFO: run {run.id} of this app was interrupted. To go on with it instead: {command}"
    ]
    assert lightning(*command.split()[1:], folder=folder).returncode == 0
    third = run_app("app.py")
    third.end(0)
    assert "interrupted" not in third.errors
    states = [json.loads(told(folder, "list", "runs", "--json"))[place]["state"] for place in range(3)]
    assert states == ["ended"] * 3


def test_only_runs_of_the_same_app_are_named(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(LONG).parent
    (folder / "other.py").write_text(SHORT)
    first = run_app("app.py")
    first.line(re.compile(r"^work \d+$"))
    first.kill()
    second = run_app("other.py")
    second.end(0)
    assert "interrupted" not in second.errors
    said = refusal_after_start(3, "run", "app", "other.py", "--resume", folder=folder)
    assert "no run of other.py was interrupted" in said
    assert f"Of other apps: {Runs(folder / '.lightning' / 'runs').all()[1].id} (app.py)" in said


def refusal_after_start(code: int, *words: str, folder: Path) -> str:
    """What a command says that refuses after the app's first line."""
    done = lightning(*words, folder=folder)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_run_that_has_come_to_its_end_is_not_resumed(short: Path) -> None:
    run = only_run(short).id
    said = refusal_after_start(5, "run", "app", "app.py", "--resume", run, folder=short)
    assert f"run {run} has come to its end (exit code 0)" in said
    assert "Start a new run: lightning run app app.py" in said


def test_a_run_that_failed_goes_on_when_its_code_is_mended(write_app: WriteApp, run_app: RunApp) -> None:
    source = SHORT.replace('print("to stderr", file=sys.stderr)', "1 / 0")
    folder = write_app(source).parent
    run_app("app.py").end(1)
    run = only_run(folder)
    assert run.state == "failed"
    assert "no run of app.py was interrupted" in refusal_after_start(
        3, "run", "app", "app.py", "--resume", folder=folder
    )
    (folder / "app.py").write_text(source.replace("1 / 0", "pass"))
    again = run_app("app.py", "--resume", run.id)
    again.end(0)
    assert again.printed == ["epoch 0", "epoch 1", "epoch 2", "the flow is done"]
    assert run.state == "ended"


def test_a_run_without_a_journal_is_not_resumed_and_has_no_past(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(SHORT.replace("self.stop()", "self.fail()")).parent
    run_app("app.py", "--durability", "off").end(1)
    run = only_run(folder).id
    said = refusal_after_start(3, "run", "app", "app.py", "--resume", run, folder=folder)
    assert f"run {run} has no journal to go on from" in said
    done = lightning("show", "run", folder=folder)
    assert "What its works did cannot be told: it has no journal" in done.stderr
    assert "failed, exit code 1" in done.stdout
    for words in (["history", run], ["replay", run], ["fork", run], ["show", "run", run, "--at", "1"]):
        said = refusal(3, *words, folder=folder)
        assert f"run {run} has no journal: it ran with --durability off" in said


def test_a_second_start_of_a_live_run_leaves_its_works_alone(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(LONG).parent
    terminal = run_app("app.py")
    terminal.line(re.compile(r"^work \d+$"))
    said = refusal_after_start(5, "run", "app", "app.py", "--resume", only_run(folder).id, folder=folder)
    assert "is live: process" in said
    (folder / "go").touch()
    terminal.end(0)
    assert terminal.printed[1:] == ["work ends"]
    assert "died" not in terminal.errors


def test_a_resume_says_which_files_changed_and_leaves_a_record_of_its_own(
    write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(LONG).parent
    first = run_app("app.py")
    first.line(re.compile(r"^work \d+$"))
    first.send(signal.SIGINT)
    first.end(0)
    (folder / "app.py").write_text(LONG + "# edited\n")
    (folder / "go").touch()
    second = run_app("app.py", "--resume")
    second.end(0)
    run = only_run(folder)
    assert f"INFO: app.py changed since run {run.id} began: going on with the new code" in second.err
    shown = told(folder, "show", "run")
    assert re.search(r"^resumed +once$", shown, re.MULTILINE)
    assert re.search(r"^    code app\.py: [0-9a-f]{12} -> [0-9a-f]{12}$", shown, re.MULTILINE)


# -- deleting -----------------------------------------------------------------------------------------


def test_runs_are_deleted_by_name_age_and_number_and_a_live_one_never(
    write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(SHORT).parent
    for _ in range(3):
        run_app("app.py").end(0)
    runs = Runs(folder / ".lightning" / "runs")
    newest, _, oldest = runs.all()
    assert "which runs? Name them" in refusal(2, "delete", "run", folder=folder)
    done = lightning("delete", "run", oldest.id, "--json", folder=folder)
    assert (done.returncode, json.loads(done.stdout)) == (0, [oldest.id])
    assert re.match(r"Deleted: 1 run, [\d.]+ kB\n", done.stderr)
    lightning("delete", "run", "--keep", "1", folder=folder)
    assert [run.id for run in runs.all()] == [newest.id]

    write_app(LONG)
    terminal = run_app("app.py")
    terminal.line(re.compile(r"^work \d+$"))
    live = runs.all()[0].id
    assert f"run {live} is live: stop it first. Nothing was deleted" in refusal(
        5, "delete", "run", newest.id, live, folder=folder
    )
    lightning("delete", "run", "--keep", "0", "--older-than", "0s", folder=folder)
    assert [run.id for run in runs.all()] == [live]
    terminal.stop()


def test_a_start_deletes_what_is_beyond_the_configured_number(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(SHORT).parent
    (folder / "lightning.toml").write_text("[runs]\nkeep = 2\n")
    for _ in range(4):
        run_app("app.py").end(0)
    assert len(json.loads(told(folder, "list", "runs", "--json"))) == 2


def test_runs_are_found_where_they_were_put(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(SHORT).parent
    run_app("app.py", "--runs-dir", "elsewhere").end(0)
    for words in (["list", "runs"], ["show", "run"], ["logs"]):
        assert told(folder, *words, "--runs-dir", "elsewhere")
    assert not (folder / ".lightning").exists()
    assert os.listdir(folder / "elsewhere")


# -- the page -----------------------------------------------------------------------------------------

FLOW = """
class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.train = Train()

    def run(self):
        self.train.run()
        self.stop()

app = L.LightningApp(Flow())
"""
PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()


def documented() -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_every_command_of_the_page_does_what_it_says(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(LONG.replace("Work(", "Train(").replace("app = L.LightningApp(Train())", FLOW)).parent
    commands = documented()
    assert len(commands) > 10
    for command in commands:
        if "--resume" in command:
            (folder / "go").unlink()
            first = run_app("app.py")
            first.line(re.compile(r"^work \d+$"))
            first.kill()
        (folder / "go").touch()
        run_app("app.py", "--app_args", "one", "more").end(0)
        newest = Runs(folder / ".lightning" / "runs").all()[0].id
        words = shlex.split(command.replace("20261121-061530-k7q2", newest))
        done = lightning(*words[1:], folder=folder)
        assert done.returncode == 0, (command, done)
        assert done.stdout or words[1] == "delete" or "--search" in words, (command, done)
