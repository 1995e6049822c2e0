"""Drives and mounts in apps that really run."""

from __future__ import annotations

import os
import re
import signal

import pytest

from .live import Stage, printed


def test_works_and_flows_share_a_drive_by_its_id(stage: Stage) -> None:
    lines = stage.play(
        """
        from lightning.app.storage import Drive

        class Maker(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.drive = Drive("lit://data", root_folder="made")

            def run(self):
                os.makedirs("made/model")
                open("made/model/weights", "w").write("123")
                self.drive.put("model")
                print(self.drive.component_name)

        class Taker(L.LightningWork):
            def run(self, drive):
                drive.get("model/weights")
                return open("taken/model/weights").read()

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.maker, self.taker = Maker(), Taker()

            def run(self):
                self.maker.run()
                drive = Drive("lit://data", root_folder="taken")
                print(self.taker.run(drive))
                print(drive.list(), drive.list(component_name="root.maker"), drive.component_name)
                drive.delete("model")
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    assert lines == ["root.maker", "123", "['model/weights'] ['model/weights'] root"]


def test_a_work_waits_for_what_another_puts_later(stage: Stage) -> None:
    terminal = stage.start(
        """
        from lightning.app.storage import Drive

        class Maker(L.LightningWork):
            def run(self):
                until(exists("go"))
                open("a", "w").write("1")
                Drive("lit://data").put("a")

        class Taker(L.LightningWork):
            def run(self):
                Drive("lit://data", root_folder="taken").get("a", component_name="root.maker", timeout=60)
                print("taken", open("taken/a").read())

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.maker, self.taker = Maker(parallel=True), Taker(parallel=True)

            def run(self):
                self.taker.run()
                self.maker.run()
                if self.taker.has_succeeded:
                    self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal.line("root.taker: lit://data: waiting for a of root.maker", stream="err")
    stage.touch("go")
    terminal.end(0)
    assert printed(terminal) == ["taken 1"]


APP = """
    from lightning.app.storage import Drive

    class Maker(L.LightningWork):
        def __init__(self):
            super().__init__()
            self.drive = Drive("lit://data")

        def run(self):
            open("a", "w").write("before")
            self.drive.put("a")
            os.unlink("a")

    class Taker(L.LightningWork):
        def run(self, drive):
            if exists("killed")():
                drive.get("a")
                print("after the kill:", open("a").read())
            else:
                print("runs")
                time.sleep(600)

    class Flow(L.LightningFlow):
        def __init__(self):
            super().__init__()
            self.maker, self.taker = Maker(), Taker()

        def run(self):
            self.maker.run()
            self.taker.run(self.maker.drive)
            self.stop()

    app = L.LightningApp(Flow())
    """


@pytest.mark.parametrize("storage", [[], ["--storage=kept elsewhere"]])
def test_a_drive_survives_a_kill_and_a_resumed_run_finds_it_where_it_was(
    stage: Stage, storage: list[str]
) -> None:
    terminal = stage.start(APP, *storage)
    terminal.line("runs")
    terminal.kill()
    terminal.end(-signal.SIGKILL)
    stage.touch("killed")
    assert (stage.folder / "kept elsewhere/runs").exists() is bool(storage)

    again = stage.start("", "--resume")
    again.end(0)
    assert printed(again) == ["after the kill: before"]


def test_the_option_goes_before_the_environment_which_goes_before_the_file(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = """
        from lightning.app.storage import Drive

        class Work(L.LightningWork):
            def run(self):
                touch("a")
                Drive("lit://data").put("a")

        app = L.LightningApp(Work())
        """
    (stage.folder / "lightning.toml").write_text("[storage]\nurl = 'of the file'\n")
    stage.play(app)
    monkeypatch.setenv("LIGHTNING_STORAGE_URL", str(stage.folder / "of the environment"))
    stage.play(app)
    stage.play(app, "--storage=of the option")
    for place in ("of the file", "of the environment", "of the option"):
        (run,) = (stage.folder / place / "runs").iterdir()
        assert (run / "drives/data/a/=one").exists()


def test_a_mount_shows_its_source_before_on_start_and_goes_with_the_app(stage: Stage) -> None:
    (stage.folder / "source").mkdir()
    (stage.folder / "source/a").write_text("1")
    lines = stage.play(
        """
        from lightning.app.storage import Mount

        class Reader(L.LightningWork):
            def on_start(self):
                print("on_start", os.listdir("data"))

            def run(self):
                print("run", open("data/a").read())

            def on_exit(self):
                print("on_exit", open("data/a").read())

        app = L.LightningApp(Reader(cloud_compute=L.CloudCompute(mounts=Mount("source", "data"))))
        """
    )
    assert lines == ["on_start ['a']", "run 1", "on_exit 1"]
    assert not os.path.lexists(stage.folder / "data")


def test_the_link_of_a_work_that_was_killed_goes_with_the_app(stage: Stage) -> None:
    (stage.folder / "source").mkdir()
    terminal = stage.start(
        """
        from lightning.app.storage import Mount

        class Reader(L.LightningWork):
            def run(self):
                assert os.path.islink("data")
                os.kill(os.getpid(), signal.SIGKILL)

        app = L.LightningApp(
            Reader(on_crash="fail", cloud_compute=L.CloudCompute(mounts=Mount("source", "data")))
        )
        """
    )
    terminal.end(1)
    assert not os.path.lexists(stage.folder / "data")


def test_a_mount_that_cannot_be_made_fails_the_work_with_what_to_do(stage: Stage) -> None:
    (stage.folder / "source").mkdir()
    (stage.folder / "data").mkdir()
    terminal = stage.start(
        """
        from lightning.app.storage import Mount

        class Reader(L.LightningWork):
            def run(self):
                print("never")

        app = L.LightningApp(Reader(cloud_compute=L.CloudCompute(mounts=Mount("source", "data"))))
        """
    )
    terminal.end(1)
    told = terminal.errors
    assert "ERROR: root: " in told
    assert re.search(r"there is something already at .*/data, which is not ours", told)
    assert "Traceback" not in told
    assert printed(terminal) == []


def test_how_far_the_transfers_of_works_and_flows_are_is_known_to_the_runtime(stage: Stage) -> None:
    lines = stage.play(
        """
        from lightning.app.engines import host
        from lightning.app.runtime import perform
        from lightning.app.storage import progress

        progress.QUIET = 0.0
        performers = []

        class Performer(perform.Performer):
            def __init__(self, *args):
                super().__init__(*args)
                performers.append(self)

        from lightning.app.runtime import loop
        loop.Performer = Performer

        def move(what):
            with progress.reported(what) as tell:
                tell(1, 4)
                tell(4, 4)

        class Mover(L.LightningWork):
            def run(self):
                move("lit://data")

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.mover = Mover()

            def run(self):
                self.mover.run()
                move("lit://other")
                for (path, what), moved in performers[0].transfers.items():
                    print(path, what, moved.done, moved.total, moved.began <= moved.ended)
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    assert lines == ["root.mover lit://data 4 4 True", "root lit://other 4 4 True"]
