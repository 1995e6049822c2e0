"""Drives: shared by id, whole or not there, and clear about whose is what."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lightning.app.errors import (
    BlobConflictError,
    BlobNotFoundError,
    StorageError,
    StoreUnreachableError,
    UsageError,
)
from lightning.app.kernel import values
from lightning.app.storage.drive import Drive
from lightning.app.storage.home import Home, current
from lightning.app.storage.notes import trees_in_use
from tests.conformance import places
from tests.conformance.places import BadLine

Be = Callable[[str], None]


@pytest.fixture(autouse=True)
def _as_a(be: Be) -> None:
    be("root.a")


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def put(drive: Drive, path: str, text: str) -> None:
    write(path, text)
    drive.put(path)


def read(*paths: str) -> list[str]:
    return [Path(path).read_text() for path in paths]


class TestValue:
    def test_it_is_a_value_equal_by_what_it_says(self) -> None:
        drive = Drive("lit://data", allow_duplicates=True, root_folder="here")
        assert drive == Drive("lit://data", True, Path("here"))
        assert drive != Drive("lit://data", True)
        assert len({drive, Drive("lit://data", True, "here"), Drive("lit://other")}) == 2
        assert repr(drive) == "Drive('lit://data', allow_duplicates=True, root_folder='here')"
        assert repr(Drive("lit://data")) == "Drive('lit://data')"

    @pytest.mark.parametrize("drive", [Drive("lit://data"), Drive("lit://träger-1.0", True, "/somewhere")])
    def test_it_comes_through_state_pickle_and_copies(self, drive: Drive) -> None:
        assert values.unpack(values.pack(drive)) == drive
        assert pickle.loads(pickle.dumps(drive)) == drive
        assert deepcopy(drive) == drive

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (("data",), r"Drive\('data'\): the id of a drive begins with 'lit://'"),
            ((None,), "begins with 'lit://'"),
            (("s3://bucket/",), "from a bucket|mount it"),
            (("lit://",), "comes one name"),
            (("lit://a/b",), "comes one name"),
            (("lit://..",), "comes one name"),
            (("lit://a\nb",), "comes one name"),
            ((f"lit://{'a' * 101}",), "at most 100 letters"),
            (("lit://a", "yes"), "allow_duplicates='yes'.: it must be True or False"),
            (("lit://a", False, 3), "root_folder=3.: it must be the path of a folder"),
            (("lit://a", False, ""), "root_folder=''"),
        ],
    )
    def test_what_makes_no_sense_is_refused_at_once(self, given: tuple[Any, ...], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            Drive(*given)

    def test_it_is_one_of_the_public_names(self) -> None:
        from lightning.app import storage

        assert storage.Drive is Drive


class TestFiles:
    def test_a_file_goes_from_one_folder_to_another(self, be: Be) -> None:
        put(Drive("lit://data"), "deep/in/model.bin", "weights")
        be("root.b")
        other = Drive("lit://data", root_folder="other")
        assert other.list() == ["deep/in/model.bin"]
        other.get("deep/in/model.bin")
        assert read("other/deep/in/model.bin") == ["weights"]

    def test_drives_of_other_names_are_others(self) -> None:
        put(Drive("lit://data"), "a", "1")
        assert Drive("lit://dat").list() == Drive("lit://data2").list() == []

    def test_a_folder_goes_as_a_whole_with_modes_and_links(self) -> None:
        write("model/weights/0", "0")
        write("model/run.sh", "echo")
        os.chmod("model/run.sh", 0o755)
        os.symlink("weights/0", "model/first")
        drive = Drive("lit://data")
        drive.put("model")
        assert drive.list() == ["model/first", "model/run.sh", "model/weights/0"]
        assert drive.list("model/weights") == ["model/weights/0"]
        Drive("lit://data", root_folder="copy").get("model")
        assert os.readlink("copy/model/first") == "weights/0"
        assert os.stat("copy/model/run.sh").st_mode & 0o777 == 0o755

    def test_a_part_of_a_folder_can_be_fetched(self) -> None:
        write("model/weights/0", "0")
        write("model/weights/1", "1")
        Drive("lit://data").put("model")
        copy = Drive("lit://data", root_folder="copy")
        copy.get("model/weights/1")
        assert sorted(os.listdir("copy/model/weights")) == ["1"]
        with pytest.raises(BlobNotFoundError, match=r"model/weights/2 is not there \(did you mean"):
            copy.get("model/weights/2")

    def test_a_link_that_leads_out_of_the_wanted_part_is_refused(self) -> None:
        write("model/a/x", "x")
        os.makedirs("model/b")
        os.symlink("../a/x", "model/b/link")
        Drive("lit://data").put("model")
        copy = Drive("lit://data", root_folder="copy")
        assert copy.list("model/b") == ["model/b/link"]
        with pytest.raises(
            StorageError, match=r"link would be a link to \.\./a/x, which is not in .*get the folder"
        ):
            copy.get("model/b")
        assert not os.path.exists("copy/model/b")
        copy.get("model")
        assert read("copy/model/b/link") == ["x"]

    def test_files_of_one_folder_put_by_several_make_one(self, be: Be) -> None:
        put(Drive("lit://data"), "parts/a", "a")
        be("root.b")
        put(Drive("lit://data"), "parts/b/c", "c")
        copy = Drive("lit://data", root_folder="copy")
        assert copy.list("parts") == ["parts/a", "parts/b/c"]
        copy.get("parts")
        assert read("copy/parts/a", "copy/parts/b/c") == ["a", "c"]
        assert os.listdir("copy") == ["parts"]  # nothing is left of the making

    def test_what_is_put_into_a_folder_later_lies_over_it(self) -> None:
        write("model/a", "a")
        write("model/b", "b")
        drive = Drive("lit://data")
        drive.put("model")
        put(drive, "model/b", "B")
        put(drive, "model/c/d", "D")
        assert drive.list() == ["model/a", "model/b", "model/c/d"]
        Drive("lit://data", root_folder="copy").get("model")
        assert read("copy/model/a", "copy/model/b", "copy/model/c/d") == ["a", "B", "D"]

    def test_a_folder_put_again_takes_the_place_of_all_that_was_in_it(self) -> None:
        drive = Drive("lit://data")
        put(drive, "model/a", "a")
        put(drive, "model/b", "b")
        os.unlink("model/a")
        drive.put("model")
        assert drive.list() == ["model/b"]
        assert len(list(trees_in_use(current().store))) == 1

    def test_a_file_where_a_folder_was_takes_its_place_and_the_other_way_round(self) -> None:
        drive = Drive("lit://data")
        put(drive, "x/y", "1")
        os.unlink("x/y")
        os.rmdir("x")
        put(drive, "x", "2")
        assert drive.list() == ["x"]
        os.unlink("x")
        put(drive, "x/y/z", "3")
        assert drive.list() == ["x/y/z"]

    def test_what_is_put_again_sends_what_has_changed(self, run_home: Home) -> None:
        noise = os.urandom(4 << 20)
        drive = Drive("lit://data")
        Path("big").write_bytes(noise)
        drive.put("big")
        before = sum(stat.size for stat in run_home.store.list("packs/"))
        Path("big").write_bytes(noise[:100] + b"!" + noise[100:])
        drive.put("big")
        after = sum(stat.size for stat in run_home.store.list("packs/"))
        assert after - before < len(noise) / 8
        Drive("lit://data", root_folder="copy").get("big")
        assert Path("copy/big").read_bytes() == noise[:100] + b"!" + noise[100:]

    @pytest.mark.parametrize("name", ["=one", "%3D", "a b", "ü", "back\\slash", "new\nline", "a=b"])
    def test_names_may_be_whatever_files_are_called(self, name: str) -> None:
        put(Drive("lit://data"), f"folder/{name}", "x")
        copy = Drive("lit://data", root_folder="copy")
        copy.get(f"folder/{name}")
        assert Path("copy/folder", name).read_text() == "x"
        assert len(copy.list()) == 1

    def test_the_whole_drive_goes_into_a_folder_of_its_own(self) -> None:
        write("data/a", "a")
        write("data/b/c", "c")
        Drive("lit://data", root_folder="data").put(".")
        Drive("lit://data", root_folder="copy").get(".")
        assert read("copy/a", "copy/b/c") == ["a", "c"]

    def test_all_of_the_current_folder_is_neither_put_nor_replaced(self) -> None:
        for what in (Drive("lit://data").put, Drive("lit://data").get):
            with pytest.raises(UsageError, match=r"that is all of .*root_folder='data'"):
                what(".")

    def test_the_folder_of_the_runs_is_not_put(self) -> None:
        for path in (".lightning", ".lightning/runs/one"):
            with pytest.raises(UsageError, match="holds the files that the app itself keeps"):
                Drive("lit://data").put(path)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("../secret", "by '..' it could leave"),
            ("a/../../secret", "by '..' it could leave"),
            ("/etc/passwd", "it is not in .*name a path in there"),
            ("", "write the path"),
            ("a\0b", "write the path"),
            (None, "write the path"),
            (b"a", "write the path"),
        ],
    )
    def test_a_path_stays_in_the_root_folder(self, path: Any, said: str) -> None:
        drive = Drive("lit://data")
        for what in (drive.put, drive.get, drive.list, drive.delete):
            with pytest.raises(UsageError, match=said):
                what(path)

    def test_an_absolute_path_in_the_root_folder_is_the_relative_one(self) -> None:
        write("a/b", "x")
        drive = Drive("lit://data", root_folder="a")
        drive.put(Path("a/b").absolute())
        assert drive.list() == drive.list(os.path.abspath("a")) == ["b"]

    def test_a_link_that_leads_out_of_the_root_folder_is_refused(self, tmp_path: Path) -> None:
        write("inside/x", "x")
        write("outside/y", "y")
        os.symlink("../outside", "inside/out")
        drive = Drive("lit://data", root_folder="inside")
        for what in (drive.put, drive.get):
            with pytest.raises(UsageError, match=r"a link leads from there to .*/outside"):
                what("out/y")
        os.symlink("x", "inside/within")
        drive.put("within")
        assert drive.list() == ["within"]

    def test_a_folder_with_a_link_out_of_it_is_refused(self) -> None:
        os.makedirs("folder")
        os.symlink("/etc/passwd", "folder/link")
        with pytest.raises(StorageError, match="folder/link is a link to /etc/passwd, which is outside"):
            Drive("lit://data").put("folder")
        assert Drive("lit://data").list() == []

    def test_what_is_not_here_cannot_be_put(self) -> None:
        write("a/model", "x")
        os.symlink("nowhere", "a/dangling")
        for name, said in (
            ("a/modle", r"there is no .*/a/modle \(did you mean 'model'\?\)"),
            ("b/x", "there is no .*/b/x$"),
            ("a/dangling", "there is no .*/a/dangling"),
        ):
            with pytest.raises(BlobNotFoundError, match=rf"lit://data: {name} cannot be put: {said}"):
                Drive("lit://data").put(name)

    def test_a_file_that_this_user_may_not_read_is_named(self) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        write("closed", "x")
        os.chmod("closed", 0)
        with pytest.raises(StorageError, match="closed: permission denied"):
            Drive("lit://data").put("closed")


class TestWhose:
    def test_a_name_belongs_to_who_put_it_first(self, be: Be) -> None:
        put(Drive("lit://data"), "a", "1")
        be("root.b")
        with pytest.raises(
            BlobConflictError, match=r"lit://data: root\.b cannot put a: root\.a has put it already"
        ):
            put(Drive("lit://data"), "a", "2")
        be("root.a")
        put(Drive("lit://data"), "a", "3")
        Drive("lit://data", root_folder="copy").get("a")
        assert read("copy/a") == ["3"]

    def test_so_does_what_is_in_it_and_above_it(self, be: Be) -> None:
        put(Drive("lit://data"), "a/b/c", "1")
        be("root.b")
        with pytest.raises(BlobConflictError, match=r"has put a/b/c, which is in it, already"):
            put(Drive("lit://data"), "a/b", "2") if not os.path.isdir("a/b") else Drive("lit://data").put(
                "a/b"
            )
        put(Drive("lit://data"), "a/d", "3")
        be("root.a")
        Drive("lit://other").put("a")
        be("root.b")
        with pytest.raises(BlobConflictError, match=r"has put a, which is above it, already"):
            Drive("lit://other").put("a/d")

    def test_nobody_has_what_was_deleted(self, be: Be) -> None:
        put(Drive("lit://data"), "a", "1")
        be("root.b")
        Drive("lit://data").delete("a")
        assert Drive("lit://data").list() == []
        put(Drive("lit://data"), "a", "2")

    def test_with_duplicates_each_has_its_own(self, be: Be) -> None:
        drive = Drive("lit://data", allow_duplicates=True)
        put(drive, "a", "of a")
        be("root.b")
        put(drive, "a", "of b")
        copy = Drive("lit://data", allow_duplicates=True, root_folder="copy")
        assert copy.list() == copy.list(component_name="root.a") == ["a"]
        copy.get("a")
        assert read("copy/a") == ["of b"]
        copy.get("a", component_name="root.a", overwrite=True)
        assert read("copy/a") == ["of a"]
        drive.delete("a")
        assert drive.list(component_name="root.b") == []
        assert drive.list() == ["a"]
        with pytest.raises(BlobNotFoundError, match=r"a of root\.b is not there: root\.b has put nothing"):
            drive.delete("a")

    def test_a_component_that_has_put_nothing_is_named_with_those_who_have(self) -> None:
        put(Drive("lit://data"), "x", "1")
        with pytest.raises(
            BlobNotFoundError,
            match=r"root\.aa has put nothing \(did you mean 'root\.a'\?\)\. Those who have: root\.a",
        ):
            Drive("lit://data").get("x", component_name="root.aa")

    def test_without_duplicates_the_place_of_one_with_is_taken(self, be: Be) -> None:
        put(Drive("lit://data", allow_duplicates=True), "a", "1")
        be("root.b")
        with pytest.raises(BlobConflictError, match=r"root\.a has put it already"):
            put(Drive("lit://data"), "a", "2")

    def test_a_part_of_a_folder_is_not_deleted(self) -> None:
        write("model/a", "a")
        drive = Drive("lit://data")
        drive.put("model")
        with pytest.raises(BlobConflictError, match=r"model/a was put as a part of model.*delete 'model'"):
            drive.delete("model/a")
        drive.delete("model")
        assert drive.list() == []

    def test_a_folder_of_files_put_one_by_one_is_deleted(self) -> None:
        drive = Drive("lit://data")
        for name in ("parts/a", "parts/b", "other"):
            put(drive, name, "x")
        drive.delete("parts")
        assert drive.list() == ["other"]

    def test_what_is_not_there_cannot_be_deleted(self) -> None:
        put(Drive("lit://data"), "model", "x")
        with pytest.raises(
            BlobNotFoundError, match=r"lit://data: modle is not there \(did you mean 'model'\?\)"
        ):
            Drive("lit://data").delete("modle")


class TestGet:
    def test_what_is_not_there_is_told_with_what_is(self) -> None:
        drive = Drive("lit://data")
        with pytest.raises(BlobNotFoundError, match="lit://data: a is not there: the drive is empty"):
            drive.get("a")
        for number in range(10):
            put(drive, f"file{number}", "x")
        with pytest.raises(
            FileNotFoundError, match=r"did you mean 'file.'.*What is there: file0, .* and 2 more"
        ):
            drive.get("file")

    def test_a_timeout_that_is_over_says_so(self) -> None:
        with pytest.raises(
            BlobNotFoundError, match=r"a has not come within 0\.05 seconds: the drive is empty"
        ):
            Drive("lit://data").get("a", timeout=0.05)

    @pytest.mark.parametrize("timeout", [-1, "3", True])
    def test_a_timeout_is_a_number(self, timeout: Any) -> None:
        with pytest.raises(UsageError, match="it must be a number of seconds, or None"):
            Drive("lit://data").get("a", timeout=timeout)

    def test_what_is_not_there_yet_is_waited_for(self) -> None:
        write("late", "here")
        reader = threading.Thread(target=Drive("lit://data", root_folder="copy").get, args=("late", None, 60))
        reader.start()
        Drive("lit://data").put("late")
        reader.join()
        assert read("copy/late") == ["here"]

    def test_what_is_here_stays_unless_it_is_the_same_or_may_be_replaced(self) -> None:
        write("a/b", "1")
        os.truncate("a/b", 300_000)  # with a hole
        os.symlink("b", "a/link")
        drive = Drive("lit://data")
        drive.put("a")
        drive.get("a")  # the same: a call that runs again finds what it has fetched
        for changed in (
            lambda: os.truncate("a/b", 300_001),
            lambda: write("a/more", ""),
            lambda: os.unlink("a/link"),
            lambda: write("a/b", "2" + "\0" * 299_999),
            lambda: write("a/b", "1" + "\0" * 299_998 + "x"),
        ):
            changed()
            with pytest.raises(
                BlobConflictError,
                match=r"a cannot come to .*/a: there is something else already.*overwrite=True",
            ):
                drive.get("a")
            drive.get("a", overwrite=True)
            assert sorted(os.listdir("a")) == ["b", "link"]
            drive.get("a")

    def test_a_file_above_is_named(self) -> None:
        put(Drive("lit://data"), "a/b", "x")
        write("copy/a", "in the way")
        with pytest.raises(BlobConflictError, match="copy/a/b: there is something already"):
            Drive("lit://data", root_folder="copy").get("a/b")


WRITER = """
import sys
from lightning.app.storage import home
from lightning.app.storage.drive import Drive
name, start = sys.argv[1:]
home.be(name)
open(f"{name}.txt", "w").write(name)
drive = Drive("lit://data", allow_duplicates=start == "duplicates", root_folder=name)
import os
os.makedirs(name)
open(f"{name}/same", "w").write(name * 1000)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(20):
    try:
        drive.put("same")
    except FileExistsError:
        print("refused")
        break
else:
    print("put")
"""


def together(code: str, *arguments: tuple[str, ...]) -> list[str]:
    """Run ``code`` once for each, all beginning at the same moment; the last line of each."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for words in arguments
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    lines = [each.communicate()[0].split() for each in started]
    assert [each.returncode for each in started] == [0] * len(started)
    return [line[-1] for line in lines]


class TestProcesses:
    def test_of_two_that_put_the_same_path_one_is_refused(self) -> None:
        assert sorted(together(WRITER, ("root.x", "one"), ("root.y", "one"))) == ["put", "refused"]

    def test_with_duplicates_none_is(self) -> None:
        assert together(WRITER, ("root.x", "duplicates"), ("root.y", "duplicates")) == ["put", "put"]
        drive = Drive("lit://data", allow_duplicates=True)
        for name in ("root.x", "root.y"):
            drive.get("same", component_name=name, overwrite=True)
            assert read("same") == [name * 1000]

    def test_a_reader_sees_one_whole_version_or_another(self, be: Be) -> None:
        code = """
import sys
from lightning.app.storage import home
from lightning.app.storage.drive import Drive
home.be("root.w")
drive = Drive("lit://data", root_folder="w")
def put(n):
    import os
    os.makedirs("w/f", exist_ok=True)
    for name in "abc":
        open("w/f/" + name, "w").write(str(n) * 50_000)
    drive.put("f")
put(0)
print("ready", flush=True)
sys.stdin.readline()
for n in range(1, 10):
    put(n)
print("done")
"""
        writer = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("go\n")
        writer.stdin.flush()
        reader, seen = Drive("lit://data", root_folder="r"), set[str]()
        while writer.poll() is None or not seen:
            reader.get("f", overwrite=True)
            (content,) = set(read("r/f/a", "r/f/b", "r/f/c"))
            assert len(content) == 50_000
            assert len(set(content)) == 1
            seen.add(content[0])
        writer.communicate()
        assert writer.returncode == 0
        reader.get("f", overwrite=True)
        assert read("r/f/a")[0][0] == "9"

    def test_what_a_killed_process_was_putting_is_not_there(self) -> None:
        code = """
import os, signal
from lightning.app.storage import home, notes
from lightning.app.storage.drive import Drive
home.be("root.a")
drive = Drive("lit://data")
open("a", "w").write("before")
drive.put("a")
open("a", "w").write("after")
notes.Notes.write = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
drive.put("a")
"""
        killed = subprocess.run([sys.executable, "-c", code], check=False)
        assert killed.returncode == -signal.SIGKILL
        Drive("lit://data", root_folder="copy").get("a")
        assert read("copy/a") == ["before"]
        Drive("lit://data").put("a")
        Drive("lit://data", root_folder="copy").get("a", overwrite=True)
        assert read("copy/a") == ["after"]


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with places.s3() as port:
        places.make_bucket(port)
        yield port
    places.end_threads()


class TestObjectStore:
    """The same in a bucket, over a line that breaks."""

    @pytest.fixture
    def line(self, s3: int, run_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadLine]:
        with BadLine(s3, share=0.0) as line:
            for name, value in places.CLOUD.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{line.port}")
            replace(run_home, url=f"s3://bucket/{uuid4().hex}").enter()
            yield line

    def test_files_come_and_go_over_a_bad_line(self, line: BadLine, be: Be) -> None:
        line.share = 0.3
        drive = Drive("lit://data")
        noise = os.urandom(300_000)
        os.makedirs("model")
        Path("model/weights").write_bytes(noise)
        drive.put("model")
        put(drive, "=a/ü b%20", "x")
        copy = Drive("lit://data", root_folder="copy")
        assert copy.list() == ["=a/ü b%20", "model/weights"]
        for name in copy.list():
            copy.get(name)
        assert Path("copy/model/weights").read_bytes() == noise
        drive.delete("model")
        assert drive.list() == ["=a/ü b%20"]
        assert line.faults

    def test_of_two_that_put_the_same_path_one_is_refused(self, line: BadLine) -> None:
        assert sorted(together(WRITER, ("root.x", "one"), ("root.y", "one"))) == ["put", "refused"]

    def test_a_store_that_cannot_be_reached_is_named(
        self, line: BadLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lightning.app.storage.stores.remote._TRIES", 2)
        line.cut()
        with pytest.raises(StoreUnreachableError, match=r"s3://bucket/.*drives/data.*does not answer"):
            Drive("lit://data").get("a", timeout=60)


class TestStore:
    def test_a_note_that_is_damaged_is_named(self, run_home: Home) -> None:
        put(Drive("lit://data"), "a", "x")
        (stat,) = run_home.store.list("drives/")
        run_home.store.put(stat.key, b"garbage", replace=True)
        with pytest.raises(StorageError, match=r"drives/data/a/=one: its checksum is wrong"):
            Drive("lit://data").get("a")

    def test_contents_that_are_gone_from_the_store_are_named(self, run_home: Home) -> None:
        put(Drive("lit://data"), "a", "x")
        for stat in run_home.store.list("trees/"):
            run_home.store.delete(stat.key)
        with pytest.raises(BlobNotFoundError, match=r"trees/.*it is not there. It was deleted"):
            Drive("lit://data", root_folder="copy").get("a")

    def test_the_trees_that_are_in_use_are_told(self, run_home: Home) -> None:
        drive = Drive("lit://data")
        put(drive, "a", "1")
        first = list(trees_in_use(run_home.store))
        put(drive, "a", "2")
        assert len(first) == len(list(trees_in_use(run_home.store))) == 1
        assert first != list(trees_in_use(run_home.store))

    @pytest.mark.parametrize(
        ("name", "said"), [("a" * 201, "at most 600 letters"), ("\udcff", "its name is no text")]
    )
    def test_a_name_that_no_store_takes_is_an_error(self, name: str, said: str) -> None:
        with pytest.raises(
            UsageError, match=f"{said}.*Choose another name, or take the folder that it is in"
        ):
            put(Drive("lit://data"), name, "x")
        write(f"folder/{name}", "x")
        Drive("lit://data").put("folder")
        Drive("lit://data", root_folder="copy").get("folder")
        assert Path("copy/folder", name).read_text() == "x"
