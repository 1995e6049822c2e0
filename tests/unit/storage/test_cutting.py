"""Where files are cut: the same wherever a buffer ends, and everything comes out once."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.storage.trees import cutting
from lightning.app.storage.trees.cutting import AVERAGE, LARGEST, Reader, cutter, digest
from lightning.app.testing.stores import noise


def chunks(content: bytes, reader: Reader | None = None) -> list[bytes | int]:
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        parts = (reader or Reader()).chunks(file.fileno(), len(content), 1 << 40)
        return [part if isinstance(part, int) else bytes(part) for part in parts]


def joined(parts: list[bytes | int]) -> bytes:
    return b"".join(bytes(part) if isinstance(part, int) else part for part in parts)


def test_a_cut_does_not_depend_on_where_a_buffer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(3_000_000)
    whole = [content[each.offset : each.offset + each.length] for each in cutter().cut_buf(content)]
    assert chunks(content) == whole
    monkeypatch.setattr(cutting, "_BUFFER", LARGEST + 4321)
    assert chunks(content, Reader()) == whole


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["noise", "zeros", "same"]), st.integers(0, 600_000), st.integers(0, 5)),
        max_size=6,
    )
)
def test_what_was_cut_can_be_joined(parts: list[tuple[str, int, int]]) -> None:
    content = b"".join(
        noise(size, seed) if kind == "noise" else bytes([seed if kind == "same" else 0]) * size
        for kind, size, seed in parts
    )
    cut = chunks(content)
    assert joined(cut) == content
    assert all(0 < len(part) <= LARGEST for part in cut if isinstance(part, bytes))


@settings(max_examples=20)
@given(at=st.integers(0, 4_000_000), inserted=st.binary(min_size=1, max_size=100))
def test_an_insertion_changes_few_chunks(at: int, inserted: bytes) -> None:
    before = noise(4_000_000)
    after = before[:at] + inserted + before[at:]
    assert sum(len(part) for part in set(chunks(after)) - set(chunks(before))) <= 6 * LARGEST  # type: ignore[arg-type]


def test_holes_are_told_and_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"x" * 10_000)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    there = os.fstat(descriptor)
    parts = [
        part if isinstance(part, int) else bytes(part)
        for part in Reader().chunks(descriptor, there.st_size, there.st_blocks)
    ]
    os.close(descriptor)
    assert sum(part if isinstance(part, int) else len(part) for part in parts) == 1 << 40
    assert b"".join(part for part in parts if isinstance(part, bytes)).strip(b"\0") == b"x" * 10_000
    assert len(parts) < 10


def test_a_file_that_became_shorter_ends_early() -> None:
    with TemporaryFile() as file:
        file.write(noise(100_000))
        file.flush()
        parts = list(Reader().chunks(file.fileno(), 200_000, 1 << 40))
    assert sum(part if isinstance(part, int) else len(part) for part in parts) == 100_000


def test_the_cuts_are_those_of_earlier_versions() -> None:
    """Others would be right, too. But then every checkpoint there is would be sent once more, whole."""
    lengths = [len(part) for part in chunks(noise(1_000_000)) if isinstance(part, bytes)]
    assert (AVERAGE, digest(repr(lengths).encode()).hex()[:12]) == (1 << 15, "a3d8d722e9e9")
