"""Files between real works: one makes them, another opens them, whole and unchanging."""

from __future__ import annotations

import re
import shutil

import pytest

from lightning.app.kernel.facts import Returned
from lightning.app.testing import Terminal
from tests.conformance import places

from .live import Stage
from .test_payloads import notes, resume, run_folder

PAIR = """
from lightning.app.storage import Path

def note(text):
    with open("notes.txt", "a") as notes:
        print(text, file=notes)

class Make(L.LightningWork):
    def __init__(self):
        super().__init__(MAKER)
        self.file = DECLARED

    def run(self, n):
        MAKE

class Use(L.LightningWork):
    def __init__(self):
        super().__init__(USER)

    def run(self, path, n=0):
        USE

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.make, self.use = Make(), Use()

    def run(self):
        FLOW

app = L.LightningApp(Flow())
"""
ONCE = """
self.make.run(1)
print(self.use.run(self.make.file))
self.stop()
"""
WRITE = """
self.file = Path("lit://model.txt")
self.file.write_text(f"model {n}")
note(f"made {n}")
"""
READ = """
note("used")
return open(path).read()
"""


def pair(
    *,
    make: str = WRITE,
    use: str = READ,
    flow: str = ONCE,
    declared: str = "None",
    maker: str = "",
    user: str = "",
) -> str:
    source = PAIR.replace("DECLARED", declared).replace("MAKER", maker).replace("USER", user)
    for word, body in (("MAKE", make), ("USE", use), ("FLOW", flow)):
        lines = body.strip("\n").replace("\n", "\n        ")
        source = source.replace(f"\n        {word}\n", f"\n        {lines}\n")
    return source


def test_a_file_made_by_one_work_is_read_by_another(stage: Stage) -> None:
    assert stage.play(pair()) == ["model 1"]
    assert not (stage.folder / "model.txt").exists()


def test_a_text_that_begins_with_lit_becomes_a_path_and_may_be_written_to_after_it_was_set(
    stage: Stage,
) -> None:
    make = """
    self.file = "lit://deep/er/model.txt"
    with open(self.file, "w") as file:
        file.write(f"{type(self.file).__name__} {self.file.origin_name} {self.file.consumer_name}")
    """
    assert stage.play(pair(make=make)) == ["Path root.make root.make"]


def test_a_path_declared_in_init_is_the_component_s_own(stage: Stage) -> None:
    make = "with open(self.file, 'w') as file: file.write('made')"
    use = "return [open(path).read(), path.origin_name, path.consumer_name]"
    assert stage.play(pair(make=make, use=use, declared="'lit://x'")) == ["['made', 'root.make', 'root.use']"]


def test_a_plain_relative_path_is_fetched_too_and_stays_where_it_was_made(stage: Stage) -> None:
    make = "self.file = Path('here.txt'); self.file.write_text('made')"
    use = "return [open(path).read(), str(path).startswith(os.path.abspath('.lightning')), path.name]"
    assert stage.play(pair(make=make, use=use)) == ["['made', True, 'here.txt']"]
    assert (stage.folder / "here.txt").exists()


def test_a_folder_arrives_with_its_links_and_permissions(stage: Stage) -> None:
    make = """
    self.file = Path("lit://data")
    (self.file / "sub").mkdir(parents=True)
    (self.file / "sub" / "run.sh").write_text("echo")
    os.chmod(self.file / "sub" / "run.sh", 0o750)
    os.symlink("sub/run.sh", self.file / "link")
    """
    use = """
    tool = path / "sub" / "run.sh"
    names = sorted(str(each.relative_to(path)) for each in path.rglob("*"))
    return [names, oct(tool.stat().st_mode), os.readlink(path / "link")]
    """
    told = "[['link', 'sub', 'sub/run.sh'], '0o100750', 'sub/run.sh']"
    assert stage.play(pair(make=make, use=use)) == [told]


REPEATED = """
self.make.run(1)
self.use.run(self.make.file)
self.make.run(2)
print(self.use.run(self.make.file))
self.stop()
"""


def test_a_file_rewritten_in_the_next_call_is_a_new_argument_and_is_fetched_anew(stage: Stage) -> None:
    assert stage.play(pair(flow=REPEATED, declared="'lit://model.txt'")) == ["model 2"]
    assert notes(stage) == ["made 1", "used", "made 2", "used"]


def test_paths_in_containers_tell_their_newest_version_at_the_end_of_a_call(stage: Stage) -> None:
    make = """
    if n == 1:
        self.file = {"all": [Path("lit://a"), Path("lit://b")], "set": {Path("lit://b")}}
    open(self.file["all"][1], "w").write(f"model {n}")
    """
    use = "return open(path).read()"
    flow = """
    self.make.run(1)
    self.make.run(2)
    files = self.make.file
    print(self.use.run(files["all"][1]), self.use.run([*files["set"]][0]))
    self.stop()
    """
    assert stage.play(pair(make=make, use=use, flow=flow)) == ["model 2 model 2"]


def test_a_path_may_be_returned(stage: Stage) -> None:
    make = WRITE + "return self.file"
    flow = "print(self.use.run(self.make.run(1))); self.stop()"
    assert stage.play(pair(make=make, flow=flow)) == ["model 1"]


def test_what_has_not_changed_is_no_new_argument(stage: Stage) -> None:
    make = "self.file.write_text('always the same')"
    assert stage.play(pair(make=make, flow=REPEATED, declared="'lit://model.txt'")) == ["always the same"]
    assert notes(stage) == ["used"]


def test_a_reader_that_began_before_a_rewrite_sees_the_old_one_whole(stage: Stage) -> None:
    use = """
    with open(path) as file:
        begun = file.read(5)
        touch("reading")
        until(exists("rewritten"))
        return [begun + file.read(), open(path).read(), path.read_text()]
    """
    make = """
    self.file = "lit://model.txt"
    if n == 2:
        until(exists("reading"))
    self.file.write_text(f"model {n}")
    """
    flow = """
    if not self.make.run(1):
        pass
    if self.make.num_successes == 1 and not self.use.has_started:
        self.first = self.make.file
    if self.make.num_successes:
        found = self.use.run(self.first)
        self.make.run(2)
        if self.make.num_successes == 2:
            touch("rewritten")
        if found:
            print(found)
            self.stop()
    """
    played = stage.play(pair(make=make, use=use, flow=flow, maker="parallel=True", user="parallel=True"))
    assert played == ["['model 1', 'model 1', 'model 1']"]


def test_who_opens_a_file_in_the_making_waits_for_it(stage: Stage) -> None:
    make = """
    until(exists("waiting"))
    self.file.write_text("made at last")
    """
    use = """
    there = path.exists(), path.exists_local(), path.exists_remote()
    touch("waiting")
    return [there, open(path).read(), path.exists_local()]
    """
    flow = """
    self.make.run(1)
    if not self.make.has_succeeded and not self.use.has_started:
        self.first = self.make.file
    found = self.use.run(self.first)
    if found:
        print(found)
        self.stop()
    """
    source = pair(
        make=make,
        use=use,
        flow=flow,
        declared="'lit://model.txt'",
        maker="parallel=True",
        user="parallel=True",
    )
    assert stage.play(source)[0] == "[(False, False, False), 'made at last', True]"


def test_a_timeout_of_what_is_never_made_names_its_maker(stage: Stage) -> None:
    use = "path.get(timeout=0.05)"
    terminal = stage.start(pair(use=use, flow="self.use.run(self.make.file)", declared="'lit://model.txt'"))
    terminal.end(1)
    assert "lit://model.txt was not made by root.make within 0.05 s: call its run first" in terminal.errors


def test_a_flow_opens_what_a_work_has_made_and_a_work_what_a_flow_has(stage: Stage) -> None:
    flow = """
    self.make.run(1)
    self.mine = "lit://copy.txt"
    self.mine.write_text(self.make.file.read_text() + " seen by the flow")
    print(self.use.run(self.mine))
    self.stop()
    """
    assert stage.play(pair(flow=flow)) == ["model 1 seen by the flow"]


def test_a_resumed_run_has_its_files_and_asks_nobody_to_make_them_again(stage: Stage) -> None:
    terminal = stage.start(pair(flow="self.make.run(1)\nprint(self.use.run(self.make.file))"))
    terminal.line("model 1")
    while sum(type(fact) is Returned for fact in stage.facts()) < 2:
        pass
    terminal.kill()
    terminal.process.wait()
    terminal = resume(stage)
    terminal.line("model 1")
    terminal.stop()
    assert notes(stage) == ["made 1", "used"]
    assert (run_folder(stage) / "files" / "root.make" / "model.txt").read_text() == "model 1"


def test_a_maker_that_is_killed_before_its_call_ends_makes_it_again(stage: Stage) -> None:
    make = """
    self.file = "lit://model.txt"
    with open(self.file, "a") as file:
        file.write("half")
        file.flush()
        if not os.path.exists("died"):
            touch("died")
            os.kill(os.getpid(), signal.SIGKILL)
    self.file.write_text("whole")
    """
    assert stage.play(pair(make=make)) == ["whole"]


def test_a_consumer_killed_in_the_middle_of_fetching_has_it_whole_afterwards(stage: Stage) -> None:
    make = """
    self.file = Path("lit://data")
    self.file.mkdir()
    for number in range(8):
        (self.file / str(number)).write_bytes(os.urandom(1 << 20))
    """
    use = """
    from lightning.app.storage.trees.getting import Getting
    fetch = Getting._fetch
    def fetching(self, run):
        done = fetch(self, run)
        if not os.path.exists("died"):
            touch("died")
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    Getting._fetch = fetching
    return sorted(each.stat().st_size for each in path.iterdir())
    """
    assert stage.play(pair(make=make, use=use)) == [str([1 << 20] * 8)]


def test_what_a_failed_call_has_written_is_told_too(stage: Stage) -> None:
    make = WRITE + "raise ValueError"
    flow = """
    self.make.run(1)
    if self.make.has_failed:
        print(self.use.run(self.make.file))
        self.stop()
    """
    assert stage.play(pair(make=make, flow=flow, maker="raise_exception=False")) == ["model 1"]


def test_a_fork_of_a_run_has_the_files_of_its_past(stage: Stage) -> None:
    first = stage.start(pair(flow="self.make.run(1)\nprint(self.use.run(self.make.file))"))
    first.line("model 1")
    while sum(type(fact) is Returned for fact in stage.facts()) < 2:
        pass
    source = run_folder(stage)
    first.kill()
    first.process.wait()
    app = (stage.folder / "app.py").read_text()
    edited = app.replace("def run(self, path, n=0):", "def run(self, path, n=0, again=True):")
    (stage.folder / "edited.py").write_text(
        edited.replace("open(path).read()", "open(path).read() + ' again'")
    )
    shutil.rmtree(source / "files")
    options = ("--open-ui=false", "--without-server")
    with Terminal("fork", source.name, "edited.py", *options, folder=stage.folder) as fork:
        fork.line("model 1 again")
        fork.stop()
    assert notes(stage) == ["made 1", "used", "used"]


def test_through_an_object_store_each_new_pack_comes_once_for_all_works_of_the_machine(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = """
    self.file = "lit://data"
    self.file.write_bytes(b"".join(bytes([number, n]) * 50_000 for number in range(60)))
    """
    use = "return [len(path.read_bytes()), path.read_bytes()[:2]]"
    flow = """
    self.make.run(1)
    self.use.run(self.make.file)
    self.make.run(2)
    print(self.use.run(self.make.file), self.make.file.stat().st_size)
    self.stop()
    """
    for name, value in places.CLOUD.items():
        monkeypatch.setenv(name, value)
    with places.s3() as port:
        places.make_bucket(port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        played = stage.play(pair(make=make, use=use, flow=flow), "--storage", "s3://bucket/prefix")
    assert played == ["[6000000, b'\\x00\\x02'] 6000000"]
    assert not (run_folder(stage) / "store").exists()
    kept = {
        each.parent.parent.name
        for each in (run_folder(stage) / "cache" / "packs").rglob("*")
        if each.is_file()
    }
    assert kept == {"packs"}
    assert len(list((run_folder(stage) / "cache" / "trees").iterdir())) == 2


def test_ctrl_c_ends_an_app_whose_flow_waits_for_a_file_that_is_not_made(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Make(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.file = "lit://never.txt"

            def run(self):
                until(exists("never"))

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.make = Make()

            def run(self):
                self.make.run()
                print(open(self.make.file).read())

        app = L.LightningApp(Flow())
        """
    )
    terminal.line(re.compile("waiting for lit://never.txt"), "err")
    terminal.stop()
