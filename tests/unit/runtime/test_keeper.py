"""Which payloads are kept, moved to the disk, and freed: by what the journal mentions, with real files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import Called, EpochBegan, Fact, Made, Returned, WorkOptions, encode_turn
from lightning.app.kernel.model import Model, evolve
from lightning.app.kernel.values import pack
from lightning.app.runtime import keeper as module
from lightning.app.runtime.keeper import Keeper, mentions
from lightning.app.runtime.log import Log
from lightning.app.storage import home, upkeep
from lightning.app.storage.home import Home
from lightning.app.storage.payload import Payload
from lightning.app.storage.stores.store import checksum_of
from lightning.app.storage.trees.trees import Trees

LARGE = bytes(100_000)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(home, "_SHARED", tmp_path)
    found = Home.of_run("a-run", tmp_path / "run")
    found.folder.mkdir()
    monkeypatch.setenv(home.VARIABLE, "")
    found.enter()
    return found


@pytest.fixture
def keep(place: Home) -> Iterator[Callable[..., Keeper]]:
    keepers: list[Keeper] = []

    def made(**options: bool) -> Keeper:
        keepers.append(Keeper(Log("error"), place, **options))
        return keepers[-1]

    yield made
    for each in keepers:
        if each._thread is not None:
            each._thread.shutdown()


def payload() -> tuple[str, bytes]:
    """The name of a new one, and a row that mentions it."""
    pointer = pack(Payload(LARGE))
    row = encode_turn([Returned("root.w", 1, 1, pointer)])
    (name,) = module.names_in(row)
    return name, row


def settled(keeper: Keeper) -> None:
    """Wait until its thread has done all that it was given."""
    if keeper._thread is not None:
        keeper._thread.submit(lambda: None).result()


def where(place: Home, name: str) -> set[str]:
    found = {"memory": place.memory, "disk": place.folder / "payloads"}
    return {each for each, folder in found.items() if (folder / name).exists()}


def test_what_is_mentioned_gets_a_copy_on_the_disk(keep: Callable[..., Keeper], place: Home) -> None:
    keeper = keep()
    name, row = payload()
    keeper.note(1, row)
    settled(keeper)
    assert where(place, name) == {"memory", "disk"}


def test_what_is_only_past_leaves_memory_and_stays_on_the_disk(
    keep: Callable[..., Keeper], place: Home
) -> None:
    keeper = keep()
    (alive, row), (past, another) = payload(), payload()
    keeper.note(1, row)
    keeper.note(2, another)
    keeper.look(2, alive.encode(), 1)
    settled(keeper)
    assert where(place, alive) == {"memory", "disk"}
    assert where(place, past) == {"disk"}


def test_what_neither_state_nor_history_mentions_is_freed(keep: Callable[..., Keeper], place: Home) -> None:
    keeper = keep()
    (alive, row), (past, another), (gone, third) = payload(), payload(), payload()
    keeper.note(1, row)
    keeper.note(2, third)
    keeper.note(50, another)
    keeper.look(40, alive.encode(), 1)  # the snapshot behind which history will begin
    keeper.look(60, alive.encode(), 41)
    settled(keeper)
    assert where(place, alive) == {"memory", "disk"}
    assert where(place, past) == {"disk"}
    assert where(place, gone) == set()


def test_what_was_alive_where_history_begins_is_kept(keep: Callable[..., Keeper], place: Home) -> None:
    keeper = keep()
    name, row = payload()
    keeper.note(1, row)
    keeper.look(40, name.encode(), 1)
    keeper.look(60, b"", 41)  # since then it was replaced
    settled(keeper)
    assert where(place, name) == {"disk"}
    keeper.look(90, b"", 61)
    settled(keeper)
    assert where(place, name) == set()


def test_without_a_journal_what_is_not_alive_is_freed_at_once(
    keep: Callable[..., Keeper], place: Home
) -> None:
    keeper = keep(history=False)
    (alive, row), (gone, another) = payload(), payload()
    keeper.note(1, row)
    keeper.note(2, another)
    keeper.look(2, alive.encode(), 1)
    settled(keeper)
    assert where(place, alive) == {"memory"}
    assert where(place, gone) == set()


def test_it_is_time_to_look_when_enough_is_new(
    keep: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 250_000)
    keeper = keep()
    dues = []
    for turn in range(1, 4):
        keeper.note(turn, payload()[1])
        dues.append(keeper.due)
    assert dues == [False, False, True]
    keeper.look(3, b"", 1)
    assert not keeper.due


def test_an_orderly_end_leaves_nothing_in_memory(keep: Callable[..., Keeper], place: Home) -> None:
    keeper = keep()
    name, row = payload()
    keeper.note(1, row)
    keeper.finish()
    assert not place.memory.exists()
    assert where(place, name) == {"disk"}


def test_what_could_not_be_copied_stays_in_memory_and_that_is_said(
    place: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "payloads").write_text("a file where the folder should be")
    keeper = Keeper(Log(), place)
    name, row = payload()
    keeper.note(1, row)
    keeper.finish()
    assert where(place, name) == {"memory"}
    assert "1 payloads could not be copied to the disk and stay in" in capsys.readouterr().err


def test_where_the_disk_is_nearly_full_the_oldest_of_the_past_gives_way(
    keep: Callable[..., Keeper], place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keep()
    names = []
    for turn in range(1, 5):
        name, row = payload()
        names.append(name)
        keeper.note(turn, row)
    keeper.look(4, names[3].encode(), 1)
    settled(keeper)
    usage = shutil.disk_usage(place.folder)
    monkeypatch.setattr(
        module.shutil,
        "disk_usage",
        lambda _: usage._replace(free=int(usage.total * module.RESERVE) - 150_000),
    )
    keeper._make_room(0)
    assert [where(place, name) for name in names] == [set(), set(), {"disk"}, {"memory", "disk"}]


def test_a_resumed_run_frees_what_its_journal_never_mentioned(
    keep: Callable[..., Keeper], place: Home, tmp_path: Path
) -> None:
    (known, row), (unknown, _) = payload(), payload()
    journal = SqliteJournal.open(tmp_path / "journal.sqlite")
    journal.append(1.0, row)
    journal.close()
    keeper = keep()
    keeper.resume(tmp_path / "journal.sqlite")
    settled(keeper)
    assert where(place, known) == {"memory", "disk"}
    assert where(place, unknown) == set()


def test_with_an_object_store_every_payload_is_there_too_as_long_as_it_is_of_use(
    place: Home, tmp_path: Path
) -> None:
    far = Home.of_run("a-run", place.folder, f"file://{tmp_path}/far")
    keeper = Keeper(Log("error"), far)
    name, row = payload()
    keeper.note(1, row)
    settled(keeper)
    key = f"payloads/{name}"
    assert far.store.stat(key).checksum == checksum_of(place.folder / "payloads" / name)
    for folder in (place.memory, place.folder / "payloads"):
        os.unlink(folder / name)
    assert keeper._is_somewhere(name)
    keeper.look(40, b"", 1)
    keeper.look(60, b"", 41)
    settled(keeper)
    assert list(far.store.list("payloads/")) == []
    keeper.finish()


def test_mentions_are_those_of_the_history_and_of_the_snapshot_before_it() -> None:
    (first, row), (second, another) = payload(), payload()
    journal = MemoryJournal(history=0)
    journal.append(1.0, row)
    journal.snapshot(first.encode())
    journal.commit()
    journal.append(2.0, another)
    journal.commit()
    assert mentions(journal) == {first: 1, second: 2}


def test_versions_of_files_that_nothing_mentions_are_forgotten_but_the_newest_of_a_name(
    keep: Callable[..., Keeper], place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep.forget, "__kwdefaults__", {"young": -1.0, "old": -1.0})
    trees = Trees(place.store)
    names = []
    for text in ("first", "second", "third"):
        (tmp_path / "file").write_text(text)
        names.append(trees.put(tmp_path / "file").id)
    place.store.put("names/root.w/file", names[2].encode())
    keeper = keep()
    for turn, name in enumerate(names, 1):
        keeper.note(turn, b"lt-" + name.encode())
    keeper.look(40, b"lt-" + names[1].encode(), 1)
    keeper.look(60, b"lt-" + names[1].encode(), 41)
    settled(keeper)
    there = {stat.key.rpartition("/")[2] for stat in place.store.list("trees/")}
    assert there == {*names[1:]}
    assert len(list(place.store.list("packs/"))) == 2
    place.store.delete("names/root.w/file")
    keeper.look(80, b"lt-" + names[1].encode(), 61)  # what was kept back is asked for again
    settled(keeper)
    assert [stat.key.rpartition("/")[2] for stat in place.store.list("trees/")] == [names[1]]


def made_by_a_call(model: Model, value: object) -> None:
    facts: list[Fact] = [
        EpochBegan(1),
        Made("root", "flow", "app:Flow", {}),
        Made("root.w", "work", "app:Work", {}, WorkOptions()),
        Called("root.w", 1, b"key", [], {}),
    ]
    for fact in facts:
        evolve(model, fact, 1.0)
    life = model.works["root.w"]
    call = life.latest[b"key"]
    life.queue.clear()
    call.story = (*call.story, module.Phase.RUNNING, module.Phase.SUCCEEDED)
    call.value = pack(value)


def test_the_call_that_made_what_is_lost_is_named(keep: Callable[..., Keeper], place: Home) -> None:
    home.be("root.w", 1)
    try:
        value = Payload(LARGE)
    finally:
        home.be("")
    model = Model()
    made_by_a_call(model, [value])
    assert keep().lost(model) == []
    for name in os.listdir(place.memory):
        os.unlink(place.memory / name)
    (lost,) = keep().lost(model)
    assert (lost.path, lost.call.number) == ("root.w", 1)
    assert "that it had made is lost" in lost.why


def test_what_was_made_before_there_was_a_run_goes_on_in_it(
    place: Home, keep: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home.VARIABLE, "")
    before = Payload(LARGE)
    place.enter()
    keeper = keep()
    keeper.take_over()
    assert where(place, before._name)
    assert before.value == LARGE
