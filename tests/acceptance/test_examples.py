"""Every example, run as its page says, against what a terminal really shows."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from .conftest import RunApp
from .terminal import STARTED, STARTING, Expected, Terminal, assert_components

EXAMPLES = Path(__file__).parents[2] / "examples"

A = "running code A on a CPU machine"
B = "running code B on a GPU machine"
TRAIN = "TRAIN COMPONENT: training a model on GPU machine 1"
ANALYZE = "ANALYZE COMPONENT: analyzing the model on CPU machine 2"

ONE_WORK: dict[str, str] = {
    "single_worker": "ANY python code can run here",
    "own_cluster": "ANY python code can run here",
}
SEQUENCES: dict[str, list[str]] = {
    "workflow": [A, B],
    "orchestration": [A, B],
    "distributed_computing": [A, B],
    "multi_machine_communication": [A, B],
    "multi_cloud": [A, B],
    "timer": [A, B],
    "schedule": [A, B],
    "hello": [TRAIN, ANALYZE],
    "scheduler": [TRAIN, ANALYZE],
    "stop_the_machine": [TRAIN, "TRAIN COMPONENT: the machine is given back", ANALYZE],
    "send_a_variable": [
        'MACHINE 1: this string came from machine 0: "hello from machine 0"',
        "MACHINE 1: this string is on machine 1",
    ],
}
CRON = [TRAIN, ANALYZE, ANALYZE, ANALYZE]
MESSAGES = [
    [f"SENDER: message {number} has arrived" for number in range(1, 6)],
    [f"RECEIVER: message {number}" for number in range(1, 6)],
]
SCALING = [
    [
        "TRAFFIC: 100 requests a second, servers: 1",
        "TRAFFIC: 500 requests a second, servers: 3",
        "TRAFFIC: 300 requests a second, servers: 2",
        "TRAFFIC: 100 requests a second, servers: 1",
    ],
    *([f"SERVER {number}: serving", f"SERVER {number}: leaving"] for number in (1, 2, 3)),
]
MODEL_SERVER: list[list[Expected]] = [
    ["MODEL SERVER: compiled", re.compile(r"^MODEL SERVER: serving on 127\.0\.0\.1:\d+$")],
    [re.compile(r"^LOAD TEST: 500 of 500 answers are right, \d+ a second$")],
]
DRIVE = [
    ["COUNTER: counts/first.txt is in the drive"],
    ["COUNTER: counts/second.txt is in the drive"],
    ["SUM: 4 + 5 = 9 words"],
    ["FLOW: the drive has ['counts/first.txt', 'counts/second.txt']"],
]
EMBEDDINGS: list[list[Expected]] = [
    ["PROCESSOR: Generating embeddings..."],
    [
        re.compile(
            "^SERVER: Using embeddings from processor "
            r"<lightning\.app\.storage\.payload\.Payload object at 0x[0-9a-f]+>$"
        ),
        "serving embeddings sent from EmbeddingProcessor:  [[1, 2, 3], [2, 3, 4]]",
    ],
]
TRAINING: list[list[Expected]] = [
    [f"TRAIN: epoch {epoch}, a better checkpoint" for epoch in (100, 200, 300, 400)],
    [re.compile(r"^DEPLOY: the model is off by 0\.\d\d$")] * 4,
    [re.compile(r"^FLOW: 400 losses, from 1\.\d\d to 0\.00\d\d$")],
]
FILES = [
    "SOURCE: wrote 3 of each",
    "DESTINATION: boring.txt of root.source has 3 words",
    "DESTINATION: parts has 0.txt, 1.txt, 2.txt",
]
MOUNT = ["READER: large.pgm has 20 numbers", "READER: small.pgm has 10 numbers"]


def _training(steps: int) -> list[str]:
    """What the training prints up to and with this step."""
    lines = []
    for step in range(steps + 1):
        loss = round(1 / (step + 0.00001), 4)
        lines.append(f"step={step}: fake_loss={loss} ")
        if step % 10 == 0:
            lines.append(f"TRAIN COMPONENT: saved new checkpoint: /some/path/step={step}_fake_loss={loss}")
    return lines


DEPLOYMENTS = [
    "DEPLOY COMPONENT: load new model from checkpoint: /some/path/step=0_fake_loss=100000.0",
    "DEPLOY COMPONENT: load new model from checkpoint: /some/path/step=10_fake_loss=0.1",
]


@pytest.fixture
def run_example(run_app: RunApp, tmp_path: Path) -> RunApp:
    def run(name: str, *options: str) -> Terminal:
        shutil.copytree(EXAMPLES / name, tmp_path, dirs_exist_ok=True)
        return run_app("app.py", *options)

    return run


@pytest.mark.parametrize("name", ONE_WORK)
def test_a_single_work_runs_once_and_the_app_ends(name: str, run_example: RunApp) -> None:
    terminal = run_example(name)
    terminal.end(0)
    assert terminal.printed == [ONE_WORK[name]]


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_example_prints_its_lines_and_runs_until_ctrl_c(name: str, run_example: RunApp) -> None:
    terminal = run_example(name)
    terminal.started()
    terminal.line(SEQUENCES[name][-1])
    terminal.stop()
    assert terminal.printed == SEQUENCES[name]


def test_the_second_line_names_a_port_that_is_already_taken_by_the_app(run_example: RunApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        terminal = run_example("workflow", f"--port={busy}")
        port = terminal.started()
        assert port != busy
        socket.create_connection(("127.0.0.1", port)).close()
        terminal.line(B)
        terminal.stop()


@pytest.mark.slow
def test_training_goes_on_while_every_checkpoint_is_deployed(run_example: RunApp) -> None:
    terminal = run_example("continuous_deployment")
    terminal.started()
    terminal.line(DEPLOYMENTS[-1])
    terminal.stop()
    trained = [line for line in terminal.printed if line not in DEPLOYMENTS]
    assert trained == _training(20)[: len(trained)]
    assert trained[: len(_training(10))] == _training(10)
    assert_components(terminal.printed, trained, DEPLOYMENTS)


def test_a_cron_line_with_seconds_runs_the_work_at_every_tick(run_example: RunApp) -> None:
    terminal = run_example("cron")
    terminal.started()
    terminal.line(ANALYZE, times=3)
    terminal.stop()
    assert terminal.printed[: len(CRON)] == CRON
    assert set(terminal.printed[len(CRON) :]) <= {ANALYZE}


def test_a_flag_that_the_flow_resets_fires_every_time(run_example: RunApp) -> None:
    terminal = run_example("message_flag")
    terminal.started()
    terminal.line(MESSAGES[0][-1])
    terminal.stop()
    assert_components(terminal.printed, *MESSAGES)


def test_servers_come_and_go_with_the_load(run_example: RunApp) -> None:
    terminal = run_example("auto_scaling")
    terminal.started()
    terminal.line(SCALING[0][-1], times=2)
    terminal.line("SERVER 2: leaving")
    terminal.line("SERVER 3: leaving")
    assert "SERVER 1: leaving" not in terminal.printed
    terminal.stop()
    assert_components(terminal.printed, *SCALING)


def test_servers_made_while_the_app_ran_are_there_again_after_a_kill(run_example: RunApp) -> None:
    first = run_example("auto_scaling")
    first.line(SCALING[0][1])
    first.send(signal.SIGKILL)
    first.end(-signal.SIGKILL)

    second = run_example("auto_scaling", "--resume")
    second.line(SCALING[0][-1], times=2)
    second.stop()
    traffic = [line for line in second.printed if line.startswith("TRAFFIC")]
    assert traffic == SCALING[0], "the interrupted call runs again, from its beginning"
    for number in (1, 2, 3):
        lines = [line for line in second.printed if line.startswith(f"SERVER {number}: ")]
        assert lines[-1].endswith("leaving"), str(second)
        assert not any(line == after == f"SERVER {number}: serving" for line, after in pairwise(lines))


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler: install one that is called c++")
def test_a_server_in_another_language_is_compiled_served_and_tested_under_load(run_example: RunApp) -> None:
    terminal = run_example("model_server")
    terminal.end(0)
    assert_components(terminal.printed, *MODEL_SERVER)


def test_a_large_value_goes_by_pointer(run_example: RunApp) -> None:
    terminal = run_example("embeddings")
    terminal.line(EMBEDDINGS[1][1])
    terminal.stop()
    assert_components(terminal.printed, *EMBEDDINGS)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed here")
def test_a_training_has_its_checkpoints_deployed(run_example: RunApp) -> None:
    terminal = run_example("training")
    terminal.line(TRAINING[2][0])
    terminal.end(0)
    assert_components(terminal.printed, *TRAINING)


def test_a_drive_is_one_folder_for_works_and_flow(run_example: RunApp) -> None:
    terminal = run_example("drive")
    terminal.end(0)
    assert_components(terminal.printed, *DRIVE)
    assert terminal.printed[-1] == DRIVE[-1][0]


def test_files_of_one_component_are_opened_by_another(run_example: RunApp) -> None:
    terminal = run_example("files_between_components")
    terminal.end(0)
    assert terminal.printed == FILES


def test_a_mount_is_there_as_long_as_the_app(run_example: RunApp, tmp_path: Path) -> None:
    terminal = run_example("mount")
    terminal.end(0)
    assert terminal.printed == MOUNT
    assert not (tmp_path / "mounted").exists()


PAGES: dict[str, list[list[Expected]]] = {
    **{name: [[line]] for name, line in ONE_WORK.items()},
    **{name: [[*lines]] for name, lines in SEQUENCES.items()},
    "continuous_deployment": [[line.rstrip() for line in _training(11)], [*DEPLOYMENTS]],
    "cron": [[*CRON]],
    "message_flag": [[*lines] for lines in MESSAGES],
    "auto_scaling": [[*lines] for lines in SCALING],
    "model_server": MODEL_SERVER,
    "embeddings": EMBEDDINGS,
    "training": TRAINING,
    "drive": [[*lines] for lines in DRIVE],
    "files_between_components": [[*FILES]],
    "mount": [[*MOUNT]],
}


@pytest.mark.parametrize("name", sorted(folder.parent.name for folder in EXAMPLES.glob("*/app.py")))
def test_the_page_of_an_example_shows_what_the_terminal_shows(name: str) -> None:
    page = (EXAMPLES / name / "README.md").read_text()
    block = re.search(r"```console\n(.*?)```", page, re.DOTALL)
    assert block, "a page shows a run in a block that begins with ```console"
    command, starting, started, *printed = block.group(1).splitlines()
    assert command == "$ lightning run app app.py --open-ui=false"
    assert starting == STARTING
    assert STARTED.fullmatch(started)
    assert_components([line for line in printed if line != "^C"], *PAGES[name])
