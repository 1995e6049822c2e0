"""What hurried users and hostile surroundings do: it works, or one message says what, where and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.testing import Terminal

from .conftest import RunApp

WriteApp = Callable[[str], Path]
Refused = Callable[[str, str], Terminal]


@pytest.fixture
def refused(write_app: WriteApp, run_app: RunApp) -> Refused:
    """Run an app that is refused before anything of it runs, with one line that says this."""

    def run(source: str, words: str) -> Terminal:
        terminal = run_app(write_app(source).name)
        terminal.end(1)
        assert len(terminal.err) == 1, str(terminal)
        assert re.search(words, terminal.err[0]), str(terminal)
        return terminal

    return run


# -- code that cannot mean what it says -----------------------------------------------------------


def test_a_work_that_forgets_super_is_told_so(refused: Refused) -> None:
    refused(
        """
        import lightning as L

        class Train(L.LightningWork):
            def __init__(self):
                self.loss = 0

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.train = Train()

        app = L.LightningApp(Flow())
        """,
        r"root\.train: Train\.__init__ does not call super\(\)\.__init__\(\)",
    )


@pytest.mark.parametrize("kind", ["LightningFlow", "LightningWork"])
@pytest.mark.parametrize(
    ("head", "body", "words"),
    [("async def", "pass", "is async"), ("async def", "yield", "is async"), ("def", "yield", "has a yield")],
)
def test_a_run_that_would_do_nothing_is_refused(
    kind: str, head: str, body: str, words: str, refused: Refused
) -> None:
    refused(
        f"""
        import lightning as L

        class Root(L.{kind}):
            {head} run(self):
                {body}

        app = L.LightningApp(Root())
        """,
        rf"root: Root\.run {words}",
    )
