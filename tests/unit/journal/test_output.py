"""Kept output: complete and in order, bounded, readable while it grows and after anybody's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.journal.output import FOLDER, Line, OutputReader, OutputWriter, files_of

BOUND = 1 << 20


class Desk:
    """A run's folder, a writer in it, and what it had to say."""

    def __init__(self, folder: Path, bound: int = BOUND, secrets: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.notices: list[str] = []
        self.writer = OutputWriter(str(folder / FOLDER), bound, secrets, self.notices.append)

    def lines(self) -> list[Line]:
        self.writer.flush()
        reader = OutputReader(self.folder)
        return [*reader.read(), *reader.rest()]

    def texts(self) -> list[str]:
        return [line.text for line in self.lines()]


def bytes_kept(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / FOLDER).iterdir())


def test_a_line_is_kept_with_its_time_component_and_stream(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.writer.track("root.train", "out").add(b"one\ntwo\n")
    desk.writer.track("root.my folder.serve", "err").add(b"three\n")
    first, second, third = desk.lines()
    assert (first.component, first.stream, first.text) == ("root.train", "out", "one")
    assert (second.text, third.text, third.stream) == ("two", "three", "err")
    assert third.component == "root.my folder.serve"
    assert 0 < first.at <= third.at
    assert not desk.notices


def test_lines_that_came_in_parts_are_whole_and_do_not_mix(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    a, b = desk.writer.track("root.a", "out"), desk.writer.track("root.b", "out")
    for track, data in ((a, b"he"), (b, b"go"), (a, b"llo\nwor"), (b, b"od\n"), (a, "ld ü".encode()[:-1])):
        track.add(data)
    a.add("ü".encode()[-1:])
    assert desk.texts() == ["hello", "good", "world ü"]


def test_a_progress_bar_is_kept_as_it_looked_in_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    track = desk.writer.track("root.a", "out")
    for percent in (0, 50, 100):
        track.add(b"\r%3d%%" % percent)
    track.add(b"\nwindows\r\n")
    assert desk.texts() == ["100%", "windows"]


def test_a_process_that_ends_without_a_newline_ends_its_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first = desk.writer.track("root.a", "out")
    first.add(b"the last words")
    first.end()
    desk.writer.track("root.a", "out").add(b"of its successor\n")
    assert desk.texts() == ["the last words", "of its successor"]


def test_all_files_together_keep_to_the_bound_and_hold_the_newest(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bound=80_000)
    track = desk.writer.track("root.a", "out")
    for number in range(10_000):
        track.add(f"{number:030}\n".encode())
        desk.writer.flush()
        if number % 500 == 0:
            assert bytes_kept(tmp_path) <= 80_000
    kept = [int(text) for text in desk.texts()]
    assert kept == list(range(kept[0], 10_000))
    assert kept[0] > 0


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bound=8_000)
    track = desk.writer.track("root.a", "out")
    reader = OutputReader(tmp_path)
    seen: list[int] = []
    for number in range(500):
        track.add(f"{number}\n".encode())
        if number % 7 == 0:
            desk.writer.flush()
            seen += [int(line.text) for line in reader.read()]
    desk.writer.flush()
    seen += [int(line.text) for line in reader.read()]
    assert seen == list(range(500))
    assert list(reader.read()) == []


def test_a_reader_knows_whether_more_may_come(tmp_path: Path) -> None:
    assert not OutputReader(tmp_path).growing
    desk = Desk(tmp_path)
    assert OutputReader(tmp_path).growing
    desk.writer.close()
    assert not OutputReader(tmp_path).growing


def test_what_a_killed_writer_left_is_read_and_the_next_goes_on_behind_it(tmp_path: Path) -> None:
    program = f"""
import os, signal
from lightning.app.journal.output import OutputWriter
writer = OutputWriter({str(tmp_path / FOLDER)!r}, {BOUND}, [], print)
writer.track("root.a", "out").add(b"whole\\nunfinished")
writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program])
    assert killed.returncode == -signal.SIGKILL
    assert not OutputReader(tmp_path).growing
    newest = next((tmp_path / FOLDER).iterdir())
    with open(newest, "ab") as file:
        file.write(b"@1.5 out 100 root.a\ntorn")  # as when the power fails in the middle of a write
    desk = Desk(tmp_path)
    desk.writer.track("root.a", "out").add(b"of the next\n")
    assert desk.texts() == ["whole", "unfinishedtorn", "of the next"]
    assert len(files_of(tmp_path)) == 2


def test_a_disk_that_takes_no_more_ends_the_keeping_with_one_notice(tmp_path: Path) -> None:
    program = f"""
import resource
from lightning.app.journal.output import OutputWriter
writer = OutputWriter({str(tmp_path / FOLDER)!r}, {BOUND}, [], lambda text: print("NOTICE", text))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
track = writer.track("root.a", "out")
for number in range(1000):
    track.add(b"%020d\\n" % number)
    writer.flush()
writer.close()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    notice, last = done.stdout.splitlines()
    assert last == "done"
    assert "what is printed from here on is not kept (File too large); the app goes on" in notice
    kept = [line.text for line in OutputReader(tmp_path).read()]
    assert kept == [f"{number:020}" for number in range(len(kept))]
    assert kept


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in its place")
    desk = Desk(tmp_path)
    track = desk.writer.track("root.a", "out")
    assert track.add(b"line\n") == b"line\n"
    desk.writer.flush()
    track.end()
    desk.writer.close()
    assert len(desk.notices) == 1


def test_a_secret_is_kept_as_stars_also_when_it_comes_in_parts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, secrets=("canary-bird",))
    track = desk.writer.track("root.a", "out")
    for part in (b"it is canary", b"-bi", b"rd!\n", b"not a canary-b", b"oat\n", b"canary"):
        track.add(part)
    track.end()
    assert desk.texts() == ["it is ***!", "not a canary-boat", "canary"]
    assert b"canary-bird" not in b"".join(file.read_bytes() for file in (tmp_path / FOLDER).iterdir())


def test_what_is_no_record_is_not_read_for_ever(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.writer.track("root.a", "out").add(b"line\n")
    desk.writer.close()
    newest = next((tmp_path / FOLDER).iterdir())
    with open(newest, "ab") as file:
        file.write(b"what is this\n" * 10)
    assert desk.texts() == ["line"]


def test_a_line_that_never_ends_is_shown_in_parts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bound=64 << 20)
    track = desk.writer.track("root.a", "out")
    for _ in range(50):
        track.add(b"x" * 65536)
    track.end()
    assert "".join(desk.texts()) == "x" * 65536 * 50
    assert len(desk.texts()) > 1


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["a", "bc\n", "\n", "d\ne", "f" * 99])), max_size=40
    )
)
def test_every_component_is_complete_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    desk = Desk(folder, bound=10 << 20)
    tracks = [desk.writer.track(f"root.{number}", "out") for number in range(3)]
    printed = [""] * 3
    for number, text in writes:
        printed[number] += text
        tracks[number].add(text.encode())
    for track in tracks:
        track.end()
    lines = desk.lines()
    for number, text in enumerate(printed):
        expected = text.split("\n")
        assert [line.text for line in lines if line.component == f"root.{number}"] == (
            expected if expected[-1] else expected[:-1]
        )
    desk.writer.close()
    for file in (folder / FOLDER).iterdir():
        os.unlink(file)
