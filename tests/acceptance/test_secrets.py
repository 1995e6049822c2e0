"""Secrets: the value passed by ``--secret`` stands in no file of the run, and in nothing the runtime says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lightning.app.journal.masking import MASK
from lightning.app.testing import Terminal

WriteApp = Callable[[str], Path]
Start = Callable[..., Terminal]

CANARY = "canary-5d1f'\"\\q=7"  # as it is, and as repr and JSON write it
FORMS = (b"canary-5d1f", b"5d1f'")

APP = """
import os
import lightning as L

TOKEN = os.environ["TOKEN"]


class Work(L.LightningWork):
    def __init__(self, **options):
        super().__init__(**options)
        ATTRIBUTE

    def on_start(self):
        START

    def on_exit(self):
        EXIT

    def run(self):
        RUN


class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        LOADING
        self.work = Work(raise_exception=RAISES)

    def run(self):
        self.work.run()
        FLOW


app = L.LightningApp(Flow())
"""

WAYS = {
    "a work raises": {"RUN": "raise ValueError(f'no user has {TOKEN}')"},
    "a work raises with a cause": {
        "RUN": """try:
            {}[TOKEN]
        except KeyError as error:
            raise RuntimeError("not found") from error"""
    },
    "a work exits": {"RUN": "raise SystemExit(TOKEN)"},
    "a work cannot start": {"START": "raise ValueError(TOKEN)"},
    "a work cannot end": {"EXIT": "raise ValueError(TOKEN)", "FLOW": "self.stop()"},
    "an attribute cannot travel": {
        "ATTRIBUTE": "self._client = type('Client', (), {'__reduce__': lambda self: 1 / 0 if not TOKEN else {}[TOKEN]})()"
    },
    "the flow raises": {"FLOW": "raise ValueError(f'no user has {TOKEN}')"},
    "the flow exits": {"FLOW": "raise SystemExit(TOKEN)"},
    "the flow fails the app": {"FLOW": "self.fail(TOKEN)"},
    "the flow stops the app": {"FLOW": "self.stop(TOKEN)"},
    "the file cannot be loaded": {"LOADING": "raise ValueError(TOKEN)"},
}

ORDERLY = ("a work cannot end", "the flow stops the app")


def _app(raises: bool = True, **parts: str) -> str:
    text = APP.replace("RAISES", repr(raises))
    for place in ("ATTRIBUTE", "START", "EXIT", "RUN", "LOADING", "FLOW"):
        text = text.replace(place, parts.get(place, "pass"))
    return text


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def run(source: str, *options: str) -> Terminal:
            (tmp_path / "app.py").write_text(source)
            words = (
                "run",
                "app",
                "app.py",
                "--open-ui=false",
                "--without-server",
                "--secret=TOKEN",
                *options,
            )
            return stack.enter_context(Terminal(*words, folder=tmp_path, environment={"TOKEN": CANARY}))

        yield run


def _assert_kept(folder: Path, terminal: Terminal) -> None:
    said = "\n".join(terminal.out + terminal.err)
    assert not any(form.decode() in said for form in FORMS), str(terminal)
    for file in (folder / ".lightning").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not any(form in data for form in FORMS), f"it stands in {file.relative_to(folder)}"


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_in_a_failure_is_masked_in_every_file_and_on_the_terminal(
    way: str, start: Start, tmp_path: Path
) -> None:
    terminal = start(_app(**WAYS[way]))
    terminal.end(0 if way in ORDERLY else 1)
    assert MASK in terminal.errors, f"the failure is not told; {terminal}"
    _assert_kept(tmp_path, terminal)


def test_a_secret_is_in_no_file_while_the_app_runs_and_after_it_was_killed(
    start: Start, tmp_path: Path
) -> None:
    parts = {"RUN": "raise ValueError(TOKEN)", "FLOW": "print(self.work.status.message, flush=True)"}
    terminal = start(_app(raises=False, **parts))
    terminal.line(re.compile(re.escape(MASK)))
    assert list((tmp_path / ".lightning").rglob("journal.sqlite-wal"))
    _assert_kept(tmp_path, terminal)
    terminal.kill()
    _assert_kept(tmp_path, terminal)
