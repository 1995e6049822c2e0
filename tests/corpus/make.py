"""Makes the corpus: journals of every format that there ever was, each beside the state it must come to.

Run it once for each new format (of the tables, of a fact, of a snapshot), before anybody has journals of it:
``python -m tests.corpus.make``. It runs the apps of ``apps/`` for real, kills and resumes some, and stores what
lies in their runs' folders under the number of the schema that this version writes, with a further number where
facts or snapshots have changed since. What is stored is never made again: nobody's journals are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import msgspec

from lightning.app.journal.sqlite import SCHEMA, SqliteJournal
from lightning.app.kernel.facts import Fact, decode_turn
from lightning.app.kernel.model import fold
from lightning.app.testing import Terminal
from tests.chaos.campaign import DRIVER
from tests.corpus.layout import layout
from tests.corpus.told import told

HERE = Path(__file__).parent
APPS = HERE / "apps"


class Shelf:
    """Where the journals of one format are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshots = 0
        self.kinds: set[str] = (
            set()
        )  # of facts, and of their fields that said something else than the default

    def keep(self, scratch: Path, name: str) -> None:
        """Store the journal of the only run in ``scratch``, with its log moved into the file."""
        (run,) = (scratch / ".lightning" / "runs").iterdir()
        stored = self.folder / f"{name}.sqlite"
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{run / 'journal.sqlite'}{suffix}", f"{stored}{suffix}")
        connection = apsw.Connection(str(stored))
        connection.pragma("user_version")  # SQLite finds the log when it first reads
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.close()
        assert not Path(f"{stored}-wal").exists(), "the log is not in the file"
        reader = SqliteJournal.reader(stored)
        self.snapshots += reader.newest() is not None
        turns = [(turn.at, decode_turn(turn.facts)) for turn in reader.read()]
        reader.close()
        for suffix in ("-wal", "-shm"):
            Path(f"{stored}{suffix}").unlink(missing_ok=True)
        self.kinds |= {kind for _, facts in turns for fact in facts for kind in _kinds(fact)}
        text = json.dumps(told(fold(turns)), indent=1, ensure_ascii=False)
        stored.with_suffix(".json").write_text(text + "\n")


def play(scratch: Path, name: str, *options: str, **environment: str) -> Terminal:
    shutil.copyfile(APPS / f"{name}.py", scratch / f"{name}.py")
    words = ("run", "app", f"{name}.py", "--open-ui=false", "--without-server", *options)
    program = [str(DRIVER)] if "CHAOS_DOOM" in environment else ["-m", "lightning.app"]
    return Terminal(*words, folder=scratch, environment=environment, program=program)


def kill(terminal: Terminal) -> None:
    for pid in terminal.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    terminal.process.wait()


def calls(scratch: Path, shelf: Shelf) -> None:
    with play(scratch, "calls", LIGHTNING_GPUS="2") as terminal:
        terminal.line("quiet")
        terminal.stop()
    shelf.keep(scratch, "calls")


def tree(scratch: Path, shelf: Shelf) -> None:
    with play(scratch, "tree") as terminal:
        terminal.line("waits")
        kill(terminal)
    shelf.keep(scratch, "tree-killed")
    (scratch / "go on").touch()
    with play(scratch, "tree", "--resume", LONG_RETRIES="2") as terminal:
        terminal.end(0)
    shelf.keep(scratch, "tree-ended")


def values(scratch: Path, shelf: Shelf) -> None:
    doom = json.dumps({"kind": "clock", "jumps": [[3, 3600.0]]})
    with play(scratch, "values", CHAOS_DOOM=doom) as terminal:
        terminal.line("written")
        terminal.stop()
    shelf.keep(scratch, "values")


def failure(scratch: Path, shelf: Shelf) -> None:
    with play(scratch, "failure", "--durability", "process") as terminal:
        terminal.end(1)
    (run,) = (scratch / ".lightning" / "runs").iterdir()
    with play(scratch, "failure", "--resume", run.name) as terminal:
        terminal.end(1)
    shelf.keep(scratch, "failure")


def changed(scratch: Path, shelf: Shelf) -> None:
    with play(scratch, "changed") as terminal:
        terminal.line("waits")
        kill(terminal)
    with play(scratch, "changed", "--resume", "--drop-unfit", CODE_CHANGED="yes") as terminal:
        terminal.end(0)
    shelf.keep(scratch, "changed")


def passes(scratch: Path, shelf: Shelf) -> None:
    with play(scratch, "passes") as terminal:
        terminal.line("waits")
        terminal.stop()
    (run,) = (scratch / ".lightning" / "runs").iterdir()
    with play(scratch, "passes", "--resume", run.name, PASSES="raise") as terminal:
        terminal.end(1)
    shelf.keep(scratch, "passes")


SCENES: tuple[Callable[[Path, Shelf], None], ...] = (calls, tree, values, failure, changed, passes)


def _kinds(fact: Fact) -> Iterator[str]:
    name = type(fact).__name__
    yield name
    for field in msgspec.structs.fields(fact):
        if not field.required and getattr(fact, field.name) != _default(field):
            yield f"{name}.{field.name}"


def _default(field: msgspec.structs.FieldInfo) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def wanted() -> Iterator[str]:
    """Every kind of fact, and every field that can be left out."""
    for kind in Fact.__subclasses__():
        yield kind.__name__
        for field in msgspec.structs.fields(kind):
            if not field.required:
                yield f"{kind.__name__}.{field.name}"


def formats() -> list[Path]:
    """The folders of the corpus, oldest first."""
    return sorted(
        HERE.glob("schema-*"), key=lambda folder: [int(part) for part in numbered(folder).split(".")]
    )


def numbered(folder: Path) -> str:
    return folder.name.removeprefix("schema-")


def schema_of(folder: Path) -> int:
    return int(numbered(folder).partition(".")[0])


def main() -> int:
    made_before = formats()
    if (
        json.loads((made_before[-1] / "layout.json").read_text()) == layout()
        and schema_of(made_before[-1]) == SCHEMA
    ):
        print(f"{made_before[-1]} has the format of this version: nothing to do", file=sys.stderr)
        return 1
    same = sum(schema_of(each) == SCHEMA for each in made_before)
    folder = HERE / (f"schema-{SCHEMA}.{same}" if same else f"schema-{SCHEMA}")
    with tempfile.TemporaryDirectory() as made:
        shelf = Shelf(Path(made))
        for scene in SCENES:
            with tempfile.TemporaryDirectory() as scratch:
                scene(Path(scratch), shelf)
        if lacking := set(wanted()) - shelf.kinds:
            print(f"no journal holds {', '.join(sorted(lacking))}", file=sys.stderr)
            return 1
        if not shelf.snapshots:
            print("no journal holds a snapshot", file=sys.stderr)
            return 1
        (shelf.folder / "layout.json").write_text(json.dumps(layout(), indent=1) + "\n")
        shutil.copytree(made, folder)
        folder.chmod(0o755)
    print(f"{folder}: {len(SCENES)} apps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
