"""The App section of the contract, and of the Work section what is about processes, sentence by sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .live import PRELUDE, Stage, printed


def test_each_work_runs_in_a_process_of_its_own_with_nothing_on_stdin(stage: Stage) -> None:
    lines = stage.play(
        """
        class Work(L.LightningWork):
            def run(self):
                assert os.readlink("/proc/self/fd/0") == "/dev/null" and sys.stdin.read() == ""
                return os.getpid()

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.one, self.two = Work(), Work()

            def run(self):
                print(self.one.run(), self.two.run(), os.getpid())
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    assert len(set(lines[0].split())) == 3


def test_a_work_as_root_runs_once_and_the_app_ends_with_0(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def run(self):
                print("once")

        app = L.LightningApp(Work())
        """
    ) == ["once"]


def test_a_work_as_root_that_fails_ends_the_app_with_1_and_its_traceback_once(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def run(self):
                self.deeper()

            def deeper(self):
                raise ValueError("no such thing")  # here

            def on_exception(self, error):
                print("on_exception", error)

            def on_exit(self):
                print("on_exit")

        app = L.LightningApp(Work())
        """
    )
    terminal.end(1)
    assert printed(terminal) == ["on_exception no such thing", "on_exit"]
    assert terminal.errors.count("ValueError: no such thing") == 1
    source = (stage.folder / "app.py").read_text().splitlines()
    line = source.index('        raise ValueError("no such thing")  # here') + 1
    frames = re.findall(r'File "(.+)", line (\d+), in (\w+)', terminal.errors)
    assert [(Path(file).name, name) for file, _, name in frames] == [("app.py", "run"), ("app.py", "deeper")]
    assert frames[-1][1] == str(line)


HELLO = """
import enum

class Color(enum.Enum):
    RED = 1

class Work(L.LightningWork):
    def __init__(self, **options):
        super().__init__(**options)
        self.n = 0
        self._private = [Color.RED]

    def run(self, by):
        self.n += by
        spawned = "lightning.app.engines.host" in open("/proc/self/cmdline").read()
        print(self.n, self._private[0] is Color.RED, "spawned" if spawned else "forked")
        return Color.RED

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.work = Work(WITH)

    def run(self):
        color = self.work.run(3)
        print("flow", color is Color.RED, self.work.n)
        self.stop()

app = L.LightningApp(Flow())
"""


BOTH = pytest.mark.parametrize("method", ["fork", "spawn"])


@BOTH
def test_a_run_that_ends_as_scripts_end_has_succeeded(method: str, stage: Stage) -> None:
    assert stage.play(
        """
        def main():
            print("the script is through")
            sys.exit(0)

        class Work(L.LightningWork):
            def run(self):
                main()

            def on_exception(self, error):
                print("never")

        app = L.LightningApp(Work(start_method="METHOD"))
        """.replace("METHOD", method)
    ) == ["the script is through"]


@BOTH
def test_a_work_that_asks_for_input_is_told_what_to_do(method: str, stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def run(self):
                input("your name? ")

        app = L.LightningApp(Work(start_method="METHOD"))
        """.replace("METHOD", method)
    )
    terminal.end(1)
    assert 'input("your name? ")' in terminal.errors
    assert "EOFError" in terminal.errors
    assert "a work has no terminal to ask at: pass it in as an argument of run" in terminal.errors


@BOTH
def test_works_have_the_apps_arguments(method: str, stage: Stage) -> None:
    assert stage.play(
        """
        NAME = sys.argv[1]

        class Work(L.LightningWork):
            def run(self):
                print(NAME, sys.argv)

        app = L.LightningApp(Work(start_method="METHOD"))
        """.replace("METHOD", method),
        "--app_args",
        "--name",
        "",
    ) == ["--name ['app.py', '--name', '']"]


@BOTH
def test_a_work_has_the_gpus_it_was_given_when_the_app_is_imported_in_it(
    method: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_GPUS", "1")
    imported = "0" if method == "spawn" else None  # a fork was imported before it was given any
    assert stage.play(
        """
        AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")

        class Work(L.LightningWork):
            def run(self):
                print(AT_IMPORT, os.environ["CUDA_VISIBLE_DEVICES"])

        app = L.LightningApp(Work(start_method="METHOD", cloud_compute=L.CloudCompute("gpu")))
        """.replace("METHOD", method)
    ) == [f"{imported} 0"]


@BOTH
def test_an_app_that_is_stopped_while_its_works_begin_leaves_nothing(method: str, stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def on_start(self):
                print("begins")
                time.sleep(600)

            def run(self):
                pass

        app = L.LightningApp(Work(start_method="METHOD"))
        """.replace("METHOD", method)
    )
    terminal.line("begins")
    terminal.stop()


def _hello(options: str = "") -> str:
    return HELLO.replace("WITH", options)


def test_a_work_can_be_started_as_a_new_python(stage: Stage) -> None:
    lines = stage.play(_hello("start_method='spawn'"))
    assert lines == ["3 True spawned", "flow True 3"]


def test_with_a_thread_alive_at_the_start_works_are_new_pythons(stage: Stage) -> None:
    source = """
import threading
threading.Thread(target=threading.Event().wait, name="ticker", daemon=True).start()
""" + _hello()
    assert stage.play(source) == ["3 True spawned", "flow True 3"]


@pytest.mark.parametrize("options", ["", "start_method='spawn'"], ids=["forked", "spawned"])
@pytest.mark.parametrize(
    "last", ["app.run()", "MultiProcessRuntime(app, server=False).dispatch()"], ids=["run", "dispatch"]
)
def test_an_app_runs_itself_when_its_file_is_run_by_python(options: str, last: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        f"{PRELUDE}{_hello(options)}\nif __name__ == '__main__':\n"
        f"    from lightning.app.runners import MultiProcessRuntime\n    {last}\n    print('never')\n"
    )
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Your Lightning App is starting. This won't take long."
    assert lines[1].startswith("INFO: Your app has started.")
    assert lines[2:] == [f"3 True {'spawned' if options else 'forked'}", "flow True 3"]


def test_an_app_that_runs_itself_can_also_be_run_by_the_command(stage: Stage) -> None:
    assert stage.play(_hello() + "\napp.run()\n") == ["3 True forked", "flow True 3"]


def test_until_idle_ends_an_app_when_nothing_runs_and_nothing_is_due(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def run(self, x):
                time.sleep(0.2)
                print("work", x)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work(parallel=True)
                self.n = 0

            def run(self):
                self.work.run(1)
                self.work.run(2)
                if self.n < 40:  # more than follow at once
                    self.n += 1
                elif self.work.num_successes == 2:
                    self.work.run(3)

            # nothing more to come

        app = L.LightningApp(Flow())
        """,
        "--until-idle",
    ) == ["work 1", "work 2", "work 3"]


@pytest.mark.parametrize("durability", ["process", "off"])
def test_less_durability_changes_nothing_while_nothing_is_killed(durability: str, stage: Stage) -> None:
    assert stage.play(_hello(), "--durability", durability) == ["3 True forked", "flow True 3"]


@BOTH
def test_each_components_lines_arrive_complete_and_in_order(method: str, stage: Stage) -> None:
    lines = stage.play(
        """
        class Work(L.LightningWork):
            def run(self, name):
                for number in range(300):
                    print(name, number, "x" * 200)
                    sys.stdout.flush()
                    if number % 100 == 0:
                        os.write(1, f"{name} raw {number}\\n".encode())
                touch(name)
                until(lambda: exists("one")() and exists("two")())  # what comes now is passed on without an end
                sys.stdout.write(name + " without an end")

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.one, self.two = (Work(parallel=True, start_method="METHOD") for _ in range(2))

            def run(self):
                self.one.run("one")
                self.two.run("two")
                if self.one.has_succeeded and self.two.has_succeeded:
                    print("flow")
                    self.stop()

        app = L.LightningApp(Flow())
        """.replace("METHOD", method)
    )
    for name in ("one", "two"):
        expected = []
        for number in range(300):
            expected.append(f"{name} {number} {'x' * 200}")
            if number % 100 == 0:
                expected.append(f"{name} raw {number}")
        assert [line for line in lines if line.startswith(name) and "without" not in line] == expected
    assert sum(line.count("without an end") for line in lines) == 2


@BOTH
def test_hooks_are_called_at_every_exit_that_the_process_lives_to_see(method: str, stage: Stage) -> None:
    lines = stage.play(
        """
        class Work(L.LightningWork):
            def on_start(self):
                print(self.name, "starts")

            def on_exit(self):
                print(self.name, "exits")

            def on_exception(self, error):
                print(self.name, "raised", error)

            def run(self, what):
                if what == "wait":
                    self.waits = True
                    time.sleep(600)
                elif what == "raise":
                    raise RuntimeError("oh")
                elif what == "exit":
                    sys.exit(3)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                quiet = dict(parallel=True, raise_exception=False, start_method="METHOD")
                self.stopped, self.ended, self.fails, self.leaves = (Work(**quiet) for _ in range(4))
                self.idle = Work(parallel=True, cloud_compute=L.CloudCompute(idle_timeout=0.01))
                self.deleted = Work(parallel=True)
                self.gone = False

            def run(self):
                self.stopped.run("wait")
                self.ended.run("wait")
                self.fails.run("raise")
                self.leaves.run("exit")
                self.idle.run("return")
                if getattr(self.stopped, "waits", False):
                    self.stopped.stop()
                if not self.gone:
                    self.deleted.run("wait")
                    if getattr(self.deleted, "waits", False):
                        self.deleted.delete()
                        self.gone = True
                if (
                    self.gone and self.stopped.has_stopped and self.fails.has_failed and self.leaves.has_failed
                    and self.idle.has_succeeded and getattr(self.ended, "waits", False)
                ):
                    self.stop()

        app = L.LightningApp(Flow())
        """.replace("METHOD", method)
    )
    for name in ("stopped", "ended", "idle", "deleted"):
        assert [line for line in lines if line.startswith(f"root.{name} ")] == [
            f"root.{name} starts",
            f"root.{name} exits",
        ]
    assert [line for line in lines if line.startswith("root.fails")] == [
        "root.fails starts",
        "root.fails raised oh",
        "root.fails exits",
    ]
    assert [line for line in lines if line.startswith("root.leaves")] == [
        "root.leaves starts",
        "root.leaves raised 3",
        "root.leaves exits",
    ]


CROWD = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))

class Work(L.LightningWork):
    def run(self):
        if self.name == "root.crowd.29":
            touch("all here")
        until(exists("all here"))

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.crowd = L.app.structures.List(*[Work(parallel=True) for _ in range(30)])

    def run(self):
        for work in self.crowd:
            work.run()
        if all(work.has_succeeded for work in self.crowd):
            print("all of them")
            self.stop()

app = L.LightningApp(Flow())
"""


def test_a_soft_limit_of_open_files_is_raised_for_the_works(stage: Stage) -> None:
    hard = "resource.getrlimit(resource.RLIMIT_NOFILE)[1]"
    assert stage.play(CROWD.replace("SOFT", "16").replace("HARD", hard)) == ["all of them"]


@pytest.mark.parametrize("limit", ["40", "64"])  # it is the runtime that runs out, or the supervisor
def test_works_that_a_hard_limit_of_open_files_does_not_allow_end_the_app_in_order(
    limit: str, stage: Stage
) -> None:
    terminal = stage.start(CROWD.replace("SOFT", limit).replace("HARD", limit))
    terminal.end(1)  # and nothing is left
    assert re.search(
        rf"root\.crowd\.\d+.* could not be started: too many open files with \d+ works running and a limit of {limit}; "
        "raise the hard limit .ulimit -Hn",
        terminal.errors,
    )
    assert "Traceback" not in terminal.errors


@pytest.mark.parametrize("limit", ["8", "12", "20"])
def test_an_app_that_may_not_open_enough_files_is_refused_at_once(limit: str, stage: Stage) -> None:
    terminal = stage.start(CROWD.replace("SOFT", limit).replace("HARD", limit))
    terminal.end(1)
    assert re.search(rf"may have {limit} files open at once and has \d+; an app needs", terminal.errors)
    assert "Traceback" not in terminal.errors
