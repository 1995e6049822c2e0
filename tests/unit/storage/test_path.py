"""Paths by themselves: what they are to pathlib, to state, and to whoever opens them."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lightning.app.core.component import Component
from lightning.app.core.flow import LightningFlow
from lightning.app.core.work import LightningWork
from lightning.app.errors import BlobNotFoundError, ProtocolError, StorageError, UsageError
from lightning.app.kernel.values import encode, pack, registered, unpack
from lightning.app.storage import Path, home, versions
from lightning.app.storage.home import Home
from lightning.app.storage.path import claiming, of_text, renew, unclaimed

Be = Callable[[str], None]
MAKER, USER = "root.make", "root.use"


def sent(path: Any) -> Any:
    """What arrives of it elsewhere."""
    return unpack(pack(path))


def told(path: Path) -> list[str]:
    (plain,) = registered(pack(path), "path")
    return list(plain)


@pytest.fixture
def made(be: Be) -> Path:
    """A file of one component, as the other one has it."""
    be(MAKER)
    path = Path("lit://sub/model.pt")
    path.write_text("weights")
    packed = pack(path)
    be(USER)
    received = unpack(packed)
    assert type(received) is Path
    return received


# -- as pathlib has it ----------------------------------------------------------------------------


def test_it_is_a_pathlib_path_and_equals_the_plain_one_of_its_place(be: Be, run_home: Home) -> None:
    be(MAKER)
    path = Path("lit://sub/model.pt")
    plain = pathlib.Path(str(path))
    assert isinstance(path, pathlib.Path)
    assert path == plain
    assert hash(path) == hash(plain)
    assert plain == run_home.folder / "files" / MAKER / "sub" / "model.pt"
    assert (path.name, path.stem, path.suffix, path.parts[-1]) == ("model.pt", "model", ".pt", "model.pt")
    assert path.match("*.pt")
    assert path < pathlib.Path("/zzz")
    assert path.as_uri() == plain.as_uri()
    assert bytes(path) == bytes(plain)
    assert path.is_absolute()


def test_what_comes_of_an_own_path_is_an_own_path(be: Be) -> None:
    be(MAKER)
    path = Path("lit://sub/model.pt")
    derived = {
        "lit://sub": path.parent,
        "lit://sub/model.bin": path.with_suffix(".bin"),
        "lit://sub/other.pt": path.with_stem("other"),
        "lit://sub/x": path.with_name("x"),
        "lit://sub/model.pt/a/b": path / "a" / pathlib.Path("b"),
        "lit://sub/model.pt/c": path.joinpath("c"),
        "lit://sub/model.pt": path.absolute(),
    }
    for text, each in derived.items():
        assert type(each) is Path
        assert repr(each) == f"Path({text!r})"
        assert each.origin_name == MAKER
    assert type(path.parent.parent) is type(pathlib.Path())  # the component's folder is no path of anybody's
    assert type(path.resolve()) is Path


def test_files_are_read_written_listed_moved_and_removed_as_with_pathlib(be: Be) -> None:
    be(MAKER)
    folder = Path("lit://folder")
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    with (folder / "b").open("w") as file:
        file.write("2")
    (folder / "c").touch()
    assert (folder / "c").stat().st_size == 0
    assert sorted(each.name for each in folder.iterdir()) == ["a", "b", "c"]
    assert sorted(map(repr, folder.glob("[ab]"))) == ["Path('lit://folder/a')", "Path('lit://folder/b')"]
    assert len(list(Path("lit://folder").rglob("*"))) == 3
    assert (folder / "a").rename(folder / "d").read_bytes() == b"1"
    (folder / "d").unlink()
    assert not (folder / "d").exists()
    assert folder.is_dir()
    assert (folder / "b").samefile(folder / "b")
    shutil.copy(folder / "b", folder / "e")
    with open(folder / "e") as file:
        assert file.read() == "2"
    shutil.rmtree(folder)
    assert not folder.exists()


def test_a_file_in_a_folder_that_is_not_there_yet_can_be_opened_for_writing(be: Be) -> None:
    be(MAKER)
    with open(Path("lit://a/b/c"), "w") as file:
        file.write("x")
    assert Path("lit://a", "b", "c").read_text() == "x"


def test_plain_paths_stay_what_they_are(be: Be) -> None:
    be(MAKER)
    assert str(Path("x") / "y") == "x/y"
    assert str(Path("/x", "y")) == "/x/y"
    assert str(Path()) == "."
    assert str("pre" / Path("x")) == "pre/x"
    assert Path("/a/b").relative_to(Path("/a")) == pathlib.Path("b")
    assert Path("/a/b").is_relative_to("/a")
    assert Path(Path("x")) == Path("x")
    assert str(Path.cwd()) == os.getcwd()
    with pytest.raises(TypeError):
        Path("x") / 1


@pytest.mark.parametrize(
    "text",
    ["lit://", "lit:///etc/passwd", "lit://../x", "lit://a/../../x", "lit://.", "lit://.received/x", "x\0y"],
)
def test_a_name_that_would_leave_the_component_s_files_is_refused(be: Be, text: str) -> None:
    be(MAKER)
    with pytest.raises(UsageError, match="Path"):
        Path(text)


def test_what_arrives_is_checked_too(be: Be) -> None:
    be(MAKER)
    Path("lit://x").write_text("x")
    for wrong in ("lit://../../x", "lit:///x"):
        packed = pack(Path("lit://x"))
        forged = type(packed)(packed.code, packed.data.replace(b"\xa7lit://x", encode(wrong)))
        with pytest.raises(ProtocolError):
            unpack(forged)
    packed = pack(Path("lit://x"))
    with pytest.raises(ProtocolError):
        unpack(type(packed)(packed.code, packed.data.replace(b"lt-", b"../")))


def test_copies_and_pickles_are_the_same_path(made: Path) -> None:
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made
        assert told(other) == told(made)


# -- versions -------------------------------------------------------------------------------------


def test_what_is_told_are_the_text_the_maker_and_the_version(be: Be, made: Path) -> None:
    text, origin, version = told(made)
    assert (text, origin, made.origin_name, made.consumer_name) == ("lit://sub/model.pt", MAKER, MAKER, USER)
    assert version == "lt-" + versions.newest(MAKER, text)


def test_text_does_not_fetch_and_opening_does(made: Path) -> None:
    assert f"/.received/{MAKER}/" in str(made)
    assert repr(made) == f"Path('lit://sub/model.pt') from {MAKER}"
    assert (made.exists(), made.exists_local(), made.exists_remote()) == (True, False, True)
    with open(made) as file:
        assert file.read() == "weights"
    assert (made.exists_local(), pathlib.Path(str(made)).read_text()) == (True, "weights")


def test_a_rewrite_is_another_version_and_whoever_has_the_old_one_keeps_it(be: Be, made: Path) -> None:
    assert made.read_text() == "weights"
    be(MAKER)
    own = Path("lit://sub/model.pt")
    own.write_text("WEIGHTS")  # of the same size, and perhaps within one tick of the disk's clock
    packed = pack(own)
    be(USER)
    newer = unpack(packed)
    assert newer != made
    assert (newer.read_text(), made.read_text()) == ("WEIGHTS", "weights")


def test_what_has_not_changed_is_not_read_again(be: Be, monkeypatch: pytest.MonkeyPatch) -> None:
    be(MAKER)
    path = Path("lit://x")
    path.write_text("x")
    os.utime(path, (1, 1))
    monkeypatch.setattr(versions, "_SETTLED", -(10**12))
    first = told(path)
    monkeypatch.setattr(versions.Trees, "put", None)
    assert told(path) == first
    assert told(Path("lit://x")) == first


def test_a_folder_s_version_changes_with_anything_in_it(be: Be) -> None:
    be(MAKER)
    folder = Path("lit://folder")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("1")
    seen = [told(folder)]
    for change in (
        lambda: (folder / "deep" / "x").write_text("2"),
        lambda: (folder / "deep" / "y").touch(),
        lambda: (folder / "deep" / "x").chmod(0o700),
        lambda: (folder / "empty").mkdir(),
        lambda: (folder / "deep" / "y").unlink(),
    ):
        change()
        seen.append(told(folder))
    assert len({version for _, _, version in seen}) == len(seen)


def test_a_file_that_is_removed_has_no_version_any_more(be: Be) -> None:
    be(MAKER)
    path = Path("lit://x")
    path.write_text("x")
    assert told(path)[2]
    path.unlink()
    assert told(path) == ["lit://x", MAKER, ""]
    assert versions.newest(MAKER, "lit://x") == ""


def test_what_a_component_had_elsewhere_comes_back_when_it_is_opened(be: Be, run_home: Home) -> None:
    be(MAKER)
    path = Path("lit://x")
    path.write_text("x")
    packed = pack(path)
    shutil.rmtree(run_home.folder / "files")
    versions._published.clear()  # as in another process
    again = unpack(packed)
    assert pack(again) == packed
    assert (again.exists(), again.exists_local()) == (True, False)
    assert again.read_text() == "x"


def test_nobody_has_to_have_made_it_to_ask_whether_it_is_there(be: Be) -> None:
    for component in ("", home.FLOW, MAKER):
        be(component)
        path = Path("lit://x")
        assert (path.exists(), path.exists_local(), path.exists_remote()) == (False, False, False)
    path.write_text("x")
    pack(path)
    assert Path("lit://x").exists_remote()


def test_to_show_a_path_of_an_app_no_place_is_made(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(made)
    home.be("")
    monkeypatch.setenv(home.VARIABLE, "")
    monkeypatch.setattr(home, "_of_this_process", lambda: pytest.fail("a home was made"))
    assert repr(unpack(packed)) == "Path('lit://sub/model.pt') from root.make"
    assert pack(unpack(packed)) == packed


def test_a_path_in_a_fetched_folder_is_a_plain_one(be: Be) -> None:
    be(MAKER)
    folder = Path("lit://folder")
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_text("x")
    packed = pack(folder)
    be(USER)
    received = unpack(packed)
    inner = received / "sub" / "x"
    assert type(inner) is type(pathlib.Path())
    assert inner.read_text() == "x"
    assert [each.name for each in received.iterdir()] == ["sub"]
    assert received.resolve().is_dir()


def test_who_knows_no_version_waits_for_the_first(be: Be) -> None:
    be(USER)
    waiting = Path._made("lit://x", MAKER, "")
    assert not waiting.exists()
    with pytest.raises(BlobNotFoundError, match=r"lit://x was not made by root.make within 0.03 s"):
        waiting.get(timeout=0.03)
    looked = threading.Event()
    newest = versions.newest
    read: list[str] = []

    def seen(origin: str, name: str) -> str:
        found = newest(origin, name)
        looked.set()
        return found

    thread = threading.Thread(target=lambda: read.append(waiting.read_text()))
    versions.newest = seen
    try:
        thread.start()
        looked.wait()
        source = pathlib.Path("elsewhere")
        source.write_text("at last")
        versions.publish(str(source), MAKER, "lit://x")
        thread.join()
    finally:
        versions.newest = newest
    assert read == ["at last"]
    assert pathlib.Path(str(waiting)).read_text() == "at last"  # also by the place that it told before
    source.write_text("later")
    versions.publish(str(source), MAKER, "lit://x")
    assert waiting.read_text() == "at last"
    waiting.get(overwrite=True)
    assert waiting.read_text() == "later"


def test_a_version_that_is_gone_says_whose_and_what_to_do(made: Path, run_home: Home) -> None:
    shutil.rmtree(run_home.folder / "store")
    assert not made.exists()
    with pytest.raises(BlobNotFoundError, match=r"lit://sub/model.pt from root.make: .* run again"):
        made.stat()


def test_what_cannot_be_put_is_said_where_it_is_told(be: Be) -> None:
    be(MAKER)
    folder = Path("lit://folder")
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(StorageError, match="is a pipe"):
        pack(folder)


# -- state ----------------------------------------------------------------------------------------


class Make(LightningWork):
    declared = "lit://declared"

    def __init__(self) -> None:
        super().__init__()
        self.text = "lit://text"
        self.inside = {"list": [Path("lit://a")], "tuple": (Path("lit://b"),), "plain": "lit://no path"}

    def run(self) -> None:
        pass


def test_a_text_set_as_an_attribute_becomes_a_path_and_one_in_a_container_does_not(run_home: Home) -> None:
    work = Make()
    assert (type(work.text), type(work.declared)) == (Path, Path)
    assert work.inside["plain"] == "lit://no path"
    work.text = "changed"
    work.text = "lit://again"
    assert repr(work.text) == "Path('lit://again')"
    with pytest.raises(UsageError):
        work.text = "lit://../x"


def test_outside_an_app_components_share_their_files(run_home: Home) -> None:
    one, other = Make(), Make()
    one.text.write_text("x")
    assert other.text.read_text() == "x"


def test_paths_of_init_are_claimed_by_the_component_that_has_them(run_home: Home) -> None:
    class Flow(LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.make = Make()

        def run(self) -> None:
            pass

    work: Component = Flow().make
    assert unclaimed(work.text)
    with claiming(work._owner):
        claimed = sent(work.text)
    assert claimed.origin_name == "root.make"
    assert not unclaimed(claimed)
    assert of_text("lit://x", "root").origin_name == "root"


def test_the_end_of_a_call_tells_new_versions_wherever_they_are_in_the_state(be: Be) -> None:
    work = Make()
    be(MAKER)
    for path in (work.text, work.inside["list"][0], work.inside["tuple"][0]):
        path.write_text("x")
    renew(work, work._state)
    paths = (work.text, work.inside["list"][0], work.inside["tuple"][0])
    assert [bool(path._version) for path in paths] == [True] * 3
    before = [path._version for path in paths]
    paths[1].write_text("longer")
    renew(work, work._state)
    assert [work.text._version, work.inside["tuple"][0]._version] == [before[0], before[2]]
    assert work.inside["list"][0]._version != before[1]


def test_beside_its_passes_the_runtime_publishes_nothing(be: Be) -> None:
    be(home.FLOW)
    path = Path("lit://x")
    path.write_text("x")
    home.rest(True)
    try:
        assert told(path)[2] == ""
    finally:
        home.rest(False)
    assert told(path)[2]


def test_a_path_made_before_there_was_an_app_leads_to_where_it_is_used(be: Be, run_home: Home) -> None:
    path = Path("lit://x")
    be(MAKER)
    assert str(path) == str(run_home.folder / "files" / MAKER / "x")
    path.write_text("x")
    assert told(path)[1] == MAKER
    be(USER)
    assert not path.exists_local()


def test_a_folder_of_many_files_arrives(be: Be) -> None:
    be(MAKER)
    folder = Path("lit://many")
    folder.mkdir()
    for number in range(3000):
        (pathlib.Path(str(folder)) / str(number)).write_text(str(number))
    packed = pack(folder)
    be(USER)
    received = unpack(packed)
    assert len(os.listdir(received)) == 3000
    assert (received / "2999").read_text() == "2999"


def test_a_large_file_of_nothing_takes_no_room(be: Be) -> None:
    be(MAKER)
    path = Path("lit://sparse")
    with open(path, "wb") as file:
        file.truncate(10 << 30)
    packed = pack(path)
    be(USER)
    there = unpack(packed).stat()
    assert (there.st_size, there.st_blocks) == (10 << 30, 0)


@pytest.mark.parametrize("torn", [False, True])
def test_what_arrived_before_the_power_failed_is_looked_at_again(
    made: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    place = pathlib.Path(os.fspath(made))
    if torn:
        place.write_text("")
    monkeypatch.setattr(versions, "_before_the_boot", lambda target: True)
    before = place.stat().st_ino
    assert sent(made).read_text() == "weights"
    assert (place.stat().st_ino == before) is not torn
