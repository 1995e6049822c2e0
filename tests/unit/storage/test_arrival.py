"""How things come into place: whole, once, and without what others have in the making."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app.errors import BlobConflictError
from lightning.app.storage.stores.arrival import Arrival


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def make(target: Path, identity: str, content: bytes) -> None:
    """Begin something, and leave it."""
    with Arrival(target, identity) as coming:
        coming.path.write_bytes(content)


def test_what_was_left_is_found_by_who_wants_the_same(tmp_path: Path) -> None:
    make(tmp_path / "file", "one", b"half")
    with Arrival(tmp_path / "file", "one") as coming:
        assert (coming.fresh, coming.path.read_bytes()) == (False, b"half")
        coming.land()
    assert (tmp_path / "file").read_bytes() == b"half"
    assert names(tmp_path) == ["file"]


def test_who_wants_something_else_there_sweeps_it(tmp_path: Path) -> None:
    make(tmp_path / "file", "one", b"half")
    with Arrival(tmp_path / "file", "two") as coming:
        assert coming.fresh
        assert names(tmp_path / ".arriving") == [coming.path.name]


def test_what_others_will_go_on_with_stays(tmp_path: Path) -> None:
    make(tmp_path / "other", "one", b"half")
    for identity in ("two", ""):
        with Arrival(tmp_path / "file", identity) as coming:
            coming.land()
    with Arrival(tmp_path / "other", "one") as coming:
        assert not coming.fresh


def test_what_nobody_can_go_on_with_does_not_stay(tmp_path: Path) -> None:
    make(tmp_path / "file", "", b"half")
    assert names(tmp_path) == []


def test_two_that_make_the_same_do_not_meet(tmp_path: Path) -> None:
    with Arrival(tmp_path / "file", "one") as first, Arrival(tmp_path / "file", "one") as second:
        assert first.path != second.path
        first.path.write_bytes(b"first")
        second.path.write_bytes(b"second")
        first.land()
        second.land()
    assert (tmp_path / "file").read_bytes() == b"second"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("folder", [False, True])
def test_the_second_of_two_that_may_not_overwrite_is_told(tmp_path: Path, folder: bool) -> None:
    with (
        Arrival(tmp_path / "it", "one", folder=folder) as first,
        Arrival(tmp_path / "it", "two", folder=folder) as second,
    ):
        first.land(overwrite=False)
        with pytest.raises(BlobConflictError, match="it: there is something already"):
            second.land(overwrite=False)
        second.discard()
    assert names(tmp_path) == ["it"]
