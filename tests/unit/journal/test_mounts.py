"""Runs live on disks: a network file system is recognised, whatever it is called, and refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning.app.errors import JournalError
from lightning.app.journal import mounts, sqlite
from lightning.app.journal.mounts import network_file_system, network_kind
from lightning.app.journal.sqlite import SqliteJournal

MOUNTINFO = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw,nosuid - proc proc rw
30 21 0:40 / /home rw,relatime shared:9 master:2 - nfs4 server:/export/home rw,vers=4.2,addr=10.0.0.1
31 21 0:41 / /old rw - nfs server:/old rw,vers=3
32 21 0:42 / /windows rw - cifs //server/share rw
33 21 0:43 / /mnt/c rw - 9p C:\\134 rw,dirsync,aname=drvfs
34 21 0:44 / /ssh rw - fuse.sshfs me@there:/data rw,user_id=0
35 21 0:45 / /bucket rw - fuse s3fs rw,user_id=0
36 21 0:46 / /ancient rw - fuse sshfs#me@there: rw
37 21 0:47 / /stick rw - fuseblk /dev/sdb1 rw
38 21 0:48 / /memory rw - tmpfs tmpfs rw
39 21 0:49 / /layers rw - overlay overlay rw,lowerdir=/a,upperdir=/b
40 21 0:50 / /a\\040folder\\040-\\040with\\040dashes rw - lustre 10.0.0.1@tcp:/fs rw
41 21 0:51 / /encrypted rw - fuse.gocryptfs /home/me/cipher rw
42 21 0:52 /@home /btrfs rw,relatime shared:3 - btrfs /dev/sdc rw,subvol=/@home
310 21 0:53 / /more rw - xfs /dev/sdd rw
"""


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        ("30", "nfs4"),
        ("31", "nfs"),
        ("32", "cifs"),
        ("33", "9p"),
        ("34", "fuse.sshfs"),
        ("35", "fuse"),
        ("36", "fuse"),
        ("40", "lustre"),
    ],
)
def test_a_network_is_recognised(mount: str, kind: str) -> None:
    assert network_kind(mount, MOUNTINFO) == kind


@pytest.mark.parametrize("mount", ["21", "37", "38", "39", "41", "42", "310", "99", ""])
def test_what_is_no_network_or_is_not_known_is_not_refused(mount: str) -> None:
    assert network_kind(mount, MOUNTINFO) == ""


def own_mount(folder: Path) -> str:
    """By the kernel's own word, asked in another way than the product asks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return told.split("mnt_id:")[1].split()[0]


def test_a_runs_folder_on_a_network_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nfs = f"{own_mount(tmp_path)} 1 0:40 / {tmp_path} rw - nfs4 server:/runs rw\n"
    monkeypatch.setattr(mounts, "network_kind", lambda mount, text: network_kind(mount, nfs))
    with pytest.raises(JournalError, match=r"journal\.sqlite: .*network file system.*--runs-dir \(nfs4\)"):
        SqliteJournal.open(tmp_path / "journal.sqlite")
    assert list(tmp_path.iterdir()) == [], "nothing was written there"


def test_this_machines_temporary_folder_is_accepted(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) == ""


def test_a_missing_folder_is_for_others_to_complain_about(tmp_path: Path) -> None:
    assert network_file_system(tmp_path / "no") == ""
    with pytest.raises(JournalError, match="there is no folder here"):
        SqliteJournal.open(tmp_path / "no" / "journal.sqlite")


@pytest.fixture(params=["tmpfs", "overlay"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    folder.mkdir()
    memory = tmp_path / "memory"
    memory.mkdir()
    made = [["mount", "-t", "tmpfs", "tmpfs", str(memory)]]
    if request.param == "overlay":
        layers = f"lowerdir={tmp_path / 'lower'},upperdir={memory / 'upper'},workdir={memory / 'work'}"
        made.append(["mount", "-t", "overlay", "-o", layers, "overlay", str(folder)])
    (tmp_path / "lower").mkdir()
    taken: list[str] = []
    try:
        for command in made:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"this machine does not mount: {done.stderr.strip()}")
            taken.append(command[-1])
            if command[-1] == str(memory):
                (memory / "upper").mkdir()
                (memory / "work").mkdir()
        yield folder if request.param == "overlay" else memory
    finally:
        for each in reversed(taken):
            subprocess.run(["umount", "--lazy", each], check=True)


def test_memory_and_layers_are_accepted(mounted: Path) -> None:
    journal = sqlite.SqliteJournal.open(mounted / "journal.sqlite")
    journal.append(1.0, b"kept")
    journal.close()
    reader = SqliteJournal.reader(mounted / "journal.sqlite")
    assert [turn.facts for turn in reader.read()] == [b"kept"]
    reader.close()
