"""The process engine: real works, started, stopped and killed; nothing is ever left."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lightning.app.engines import birth, orphans
from lightning.app.engines.engine import Exited, Placement, Started
from lightning.app.errors import EngineError
from tests.unit.engines.stage import Part, Stage, await_end, gone, say

Make = Callable[..., Stage]


@pytest.fixture
def stage() -> Iterator[Make]:
    """Makes a stage on which these parts can be played; afterwards nothing of it may be left."""
    made: list[Stage] = []

    def make(**parts: Part) -> Stage:
        made.append(Stage(parts))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait(channel: socket.socket) -> None:
    """Live until told otherwise."""
    channel.recv(100)


def live_on(channel: socket.socket) -> None:
    """Say that it lives, then wait."""
    say(channel, "alive")
    channel.recv(100)


SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def start_sleeper(**options: bool) -> int:
    sleeper = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == b"up\n"
    return int(sleeper.pid)


# -- starting -------------------------------------------------------------------------------------


def test_a_work_is_forked_and_said_to_be(stage: Make) -> None:
    work = stage(wait=wait).start("wait")
    started = work.started()
    assert started == Started("root.w", 1, started.pid, "fork", "")
    assert os.getpgid(started.pid) == started.pid


def test_a_work_is_itself(stage: Make) -> None:
    def introduce(channel: socket.socket) -> None:
        say(channel, [os.environ["LIGHTNING_RUN"], os.environ["LIGHTNING_WORK"], os.environ["COLOR"]])
        say(channel, [os.readlink("/proc/self/fd/0"), sys.stdin.read()])
        say(channel, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        say(channel, signal.getsignal(signal.SIGINT) is signal.SIG_DFL)

    here = stage(introduce=introduce)
    work = here.start("introduce", COLOR="blue")
    assert work.hear() == str([here.run, "root.w", "blue"])
    assert work.hear() == str(["/dev/null", ""])
    assert work.hear() == "True"
    assert work.hear() == "True"


def test_the_marks_of_a_forked_work_and_its_forks_can_be_read_from_outside(stage: Make) -> None:
    def fork(channel: socket.socket) -> None:
        child = os.fork()
        if child == 0:
            os.setsid()
            time.sleep(600)
        say(channel, child)
        channel.recv(100)

    here = stage(fork=fork)
    work = here.start("fork")
    child = int(work.hear())
    assert orphans.marks(work.started().pid)["LIGHTNING_WORK"] == "root.w"
    assert orphans.marks(child)["LIGHTNING_RUN"] == here.run


def test_a_work_holds_no_descriptor_but_its_own(stage: Make) -> None:
    def count(channel: socket.socket) -> None:
        open_ones = [fd for fd in range(200) if os.path.exists(f"/proc/self/fd/{fd}")]
        say(channel, set(open_ones) - {0, 1, 2, channel.fileno()} - kept)

    with open(__file__) as file:
        kept = {fd for fd in range(200) if os.path.exists(f"/proc/self/fd/{fd}")}
        here = stage(count=count, wait=wait)
        for number in range(3):
            here.start("wait", f"root.w{number}").started()
        work = here.start("count")
        assert work.hear() == "set()"
        assert not file.closed


def test_what_the_app_left_open_neither_leaks_nor_gives_its_number_away(stage: Make) -> None:
    def look(channel: socket.socket) -> None:
        say(channel, os.readlink(f"/proc/self/fd/{number}"))

    read, write = os.pipe()
    number = write
    work = stage(look=look).start("look")
    assert work.hear() == "/dev/null"
    os.close(write)
    assert os.read(read, 1) == b""  # nobody else has it
    os.close(read)


def test_works_draw_different_chances(stage: Make) -> None:
    here = stage(draw=lambda channel: say(channel, random.random()))
    assert len({here.start("draw", f"root.w{number}").hear() for number in range(3)}) == 3


def test_what_the_app_registered_for_its_exit_is_not_run_by_works(stage: Make) -> None:
    import atexit

    def leave(channel: socket.socket) -> None:
        atexit.register(say, channel, "the work's own")

    witness = os.pipe()
    atexit.register(os.write, witness[1], b"the app's")
    work = stage(leave=leave).start("leave")
    assert work.hear() == "the work's own"
    assert work.exited().reason == ""
    atexit.unregister(os.write)
    os.close(witness[1])
    assert os.read(witness[0], 10) == b""
    os.close(witness[0])


def test_a_hundred_works_live_at_once(stage: Make) -> None:
    here = stage(live=live_on)
    works = [here.start("live", f"root.w{number}") for number in range(100)]
    assert [work.hear() for work in works] == ["alive"] * 100
    assert len({work.started().pid for work in works}) == 100
    here.close()
    assert here.engine.leftovers == 0


def test_a_file_limit_that_is_too_low_is_said_with_the_remedy() -> None:
    text = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
from lightning.app.engines.engine import Placement
from lightning.app.engines.process import ProcessEngine
from tests.unit.engines.stage import play
import select
reports = []
engine = ProcessEngine(reports.append, "test-files", app={"wait": lambda channel: channel.recv(1)}, body=play)
works = [engine.start(Placement(f"root.w{n}", 1)) for n in range(20)]
waiting = select.poll(); waiting.register(engine.filenos()[0], select.POLLIN)
while not (refused := [r for r in reports if getattr(r, "reason", "")]):
    assert waiting.poll(20000)
    engine.ready()
print(refused[0].reason)
engine.close(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=50, check=False
    )
    assert "too many open files" in done.stdout, done
    assert "ulimit -Hn" in done.stdout


# -- fork or spawn --------------------------------------------------------------------------------


def test_a_live_thread_makes_every_work_a_new_python_and_the_thread_is_named(stage: Make) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="the-metrics-thread")
    thread.start()
    try:
        here = stage()
        work = here.start("introduce", COLOR="blue")
        assert work.hear() == f"{here.run},root.w,blue,True,/dev/null"
        started = work.started()
        assert started.method == "spawn"
        assert "the-metrics-thread" in started.why
        asked = here.start("exit 3", "root.asked", "fork")
        assert asked.started().method == "spawn"
        assert "asks for fork, but" in asked.started().why
        assert asked.exited().reason == "exit code 3"
    finally:
        done.set()
        thread.join()


def test_a_work_can_choose_to_be_spawned(stage: Make, capfd: pytest.CaptureFixture[str]) -> None:
    here = stage(wait=wait)
    spawned = here.start("print", "root.spawned", "spawn")
    forked = here.start("wait", "root.forked")
    assert spawned.started().method == "spawn"
    assert forked.started().method == "fork"
    assert spawned.exited().reason == ""
    assert capfd.readouterr().out == "printed by a new Python\n"


def test_an_unknown_start_method_is_refused_by_name(stage: Make) -> None:
    with pytest.raises(EngineError, match=r"root\.w: start_method is 'teleport'"):
        stage().engine.start(Placement("root.w", 1, "teleport"))


# -- ending ---------------------------------------------------------------------------------------


def segfault(_: socket.socket) -> None:
    faulthandler.disable()  # the test runner's
    ctypes.string_at(0)


def abort(_: socket.socket) -> None:
    faulthandler.disable()
    os.abort()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda channel: None, ""),
        (lambda channel: 3, "exit code 3"),
        (lambda channel: sys.exit(4), "exit code 4"),
        (lambda channel: os._exit(5), "exit code 5"),
        (segfault, "killed by SIGSEGV (segmentation fault)"),
        (abort, "killed by SIGABRT (aborted)"),
        (lambda channel: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
    ],
)
def test_the_reason_of_an_end_is_named(stage: Make, part: Part, reason: str) -> None:
    assert stage(end=part).start("end").exited() == Exited("root.w", 1, reason)


def test_an_exception_is_printed_with_its_traceback(stage: Make, capfd: pytest.CaptureFixture[str]) -> None:
    assert stage(divide=lambda channel: 1 // 0).start("divide").exited().reason == "exit code 1"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_stop_asks_first(stage: Make) -> None:
    def listen(channel: socket.socket) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        say(channel, "alive")
        signal.pause()

    work = stage(listen=listen).start("listen")
    assert work.hear() == "alive"
    work.worker.stop(20)
    assert work.exited().reason == ""


def test_a_work_that_ignores_being_asked_is_killed_after_the_grace(stage: Make) -> None:
    def ignore(channel: socket.socket) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        live_on(channel)

    work = stage(ignore=ignore).start("ignore")
    assert work.hear() == "alive"
    work.worker.stop(0.1)
    assert work.exited().reason == "killed by SIGKILL, 0.1 s after it was asked to stop"


def test_a_stop_right_after_the_start_is_not_lost(stage: Make) -> None:
    here = stage(wait=wait)
    for number in range(5):
        work = here.start("wait", f"root.w{number}")
        work.worker.stop(20)
        assert work.exited().reason == "killed by SIGTERM (terminated)"


@pytest.mark.parametrize("session", [False, True], ids=["same group", "session of its own"])
def test_what_a_work_started_ends_with_it(stage: Make, session: bool) -> None:
    def start(channel: socket.socket) -> None:
        say(channel, start_sleeper(start_new_session=session))

    here = stage(start=start, wait=wait)
    other = here.start("wait", "root.other")
    work = here.start("start")
    sleeper = int(work.hear())
    work.exited()
    await_end(sleeper)
    assert not gone(other.started().pid)


def test_a_daemon_of_a_living_work_lives_until_the_work_ends(stage: Make) -> None:
    def daemonize(channel: socket.socket) -> None:
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            say(channel, os.getpid())
            time.sleep(600)
        os.waitpid(child, 0)
        channel.recv(100)

    here = stage(daemonize=daemonize, live=live_on)
    work = here.start("daemonize")
    daemon = int(work.hear())
    other = here.start("live", "root.other")
    other.hear()
    other.tell("enough")
    other.exited()  # by now the supervisor has looked through what it adopted
    assert not gone(daemon)
    work.tell("enough")
    await_end(daemon)


def save(channel: socket.socket) -> None:
    say(channel, "saved")
    os._exit(0)


def test_children_of_a_stopped_work_have_its_grace_too(stage: Make) -> None:
    def start(channel: socket.socket) -> None:
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, lambda *_: save(channel))
            say(channel, "alive")
            time.sleep(600)
        signal.pause()

    work = stage(start=start).start("start")
    assert work.hear() == "alive"
    work.worker.stop(20)
    work.exited()
    assert work.hear() == "saved"


def test_close_ends_all_at_once_and_counts_what_outlived_its_work(stage: Make) -> None:
    def shed(channel: socket.socket) -> None:
        start_sleeper(start_new_session=True)
        live_on(channel)

    here = stage(shed=shed)
    works = [here.start("shed", f"root.w{number}") for number in range(2)]
    for work in works:
        work.hear()
    here.close(0)
    here.close(0)  # a second time is no mistake
    with pytest.raises(EngineError, match="closed"):
        here.engine.start(Placement("root.late", 1))


# -- the supervisor dies --------------------------------------------------------------------------


def test_the_death_of_the_supervisor_ends_all_works_and_is_an_error(stage: Make) -> None:
    def start(channel: socket.socket) -> None:
        say(channel, start_sleeper(start_new_session=True))
        channel.recv(100)

    here = stage(start=start)
    works = [here.start("start", f"root.w{number}") for number in range(2)]
    sleepers = [int(work.hear()) for work in works]
    bystander = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)  # the flow's own
    os.kill(here.engine._supervisor, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"supervisor of the works .* died: killed by SIGKILL"):
        here.turn_for_ever()
    assert orphans.members(here.run) == []
    assert all(gone(pid) for pid in sleepers)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


# -- the server -----------------------------------------------------------------------------------

SERVER = "tests.unit.engines.test_process:serve_once"


def serve_once(listener: int, greeting: str) -> int:
    """Answers one connection, then ends."""
    with socket.socket(fileno=listener) as server:
        connection, _ = server.accept()
        with connection:
            connection.sendall(f"{greeting} {signal.getsignal(signal.SIGINT) is signal.SIG_IGN}".encode())
    return 0


def test_the_server_ignores_ctrl_c_and_is_started_again_when_it_ends(stage: Make) -> None:
    here = stage()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here.engine.serve(listener, SERVER, {"greeting": "hello"})
        for _ in range(3):
            with socket.create_connection(listener.getsockname(), timeout=20) as client:
                assert client.recv(100) == b"hello True"


def test_a_server_that_cannot_be_started_leaves_nothing_open(
    stage: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(supervisor: int) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(birth, "fork", refused)  # in the supervisor, too: it is forked from here
    here = stage()
    pipes = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for tries in (1, 2):
            here.engine.serve(listener, SERVER, {"greeting": "hello"})
            while caplog.text.count("the server could not be started: no more processes") < tries:
                here.turn()
            folder = f"/proc/{here.engine._supervisor}/fd"
            targets = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
            pipes.append(sum(target.startswith("pipe:") for target in targets))
    assert pipes[0] == pipes[1]
