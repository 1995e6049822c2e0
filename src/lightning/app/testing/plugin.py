"""Fixtures for pytest, there as soon as the package is installed.

>>> def test_training_ends(lightning_harness):  # in the test's own process, its clock turned by hand
...     app = lightning_harness(Root())
...     app.run_until_idle()
...     app.advance(hours=1)
...     assert app.root.train.num_successes == 2

>>> def test_the_app_says_so(lightning_app):  # real processes, on a terminal of its own
...     terminal = lightning_app("app.py")
...     terminal.line("done")
...     terminal.stop()

>>> def test_the_flow_does_what_it_did(lightning_replay):  # a stored run is a regression test
...     lightning_replay("tests/runs/20261121-061530-k7q2", "app.py")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # importing the package takes time, which every pytest session would pay
    from lightning.app.runtime.report import Report
    from lightning.app.testing.harness import Harness
    from lightning.app.testing.terminal import Terminal


@pytest.fixture
def lightning_harness() -> Iterator[Callable[..., Harness]]:
    """Run an app, a flow or a work inline: ``lightning_harness(Root(), timezone="Europe/Berlin")``."""
    from lightning.app.testing.harness import Harness

    with ExitStack() as stack:

        def run(app: Any, **options: Any) -> Harness:
            return stack.enter_context(Harness(app, **options))

        yield run


@pytest.fixture
def lightning_app(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Run ``lightning run app FILE --open-ui=false OPTION...`` in the test's folder, and end it afterwards.

    A relative FILE is looked for in ``tmp_path``.
    """
    from lightning.app.testing.terminal import Terminal

    with ExitStack() as stack:

        def run(
            file: str | Path,
            *options: str | Path,
            environment: dict[str, str] | None = None,
            out: Path | None = None,
        ) -> Terminal:
            words = ("run", "app", file, "--open-ui=false", *options)
            return stack.enter_context(Terminal(*words, folder=tmp_path, environment=environment, out=out))

        yield run


@pytest.fixture
def lightning_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Report]]:
    """Fail unless the flow asks for what it asked for in a record: ``lightning_replay(RECORD, APP)``.

    RECORD is the folder of a run, its ``journal.sqlite``, or the journal of a harness. APP is the app's file, or
    a class or function that makes the app or its root. Options are ``arguments`` of the app and ``timezone``.
    """
    from lightning.app.testing.records import Records

    with Records(tmp_path, monkeypatch) as records:
        yield records.replay
