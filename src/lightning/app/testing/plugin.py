"""Fixtures for pytest, there as soon as the package is installed: ``lightning_harness`` and ``lightning_app``.

>>> def test_training_ends(lightning_harness):  # in the test's own process, its clock turned by hand
...     app = lightning_harness(Root())
...     app.run_until_idle()
...     app.advance(hours=1)
...     assert app.root.train.num_successes == 2

>>> def test_the_app_says_so(lightning_app):  # real processes, on a terminal of its own
...     terminal = lightning_app("app.py")
...     terminal.line("done")
...     terminal.stop()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # importing the package takes time, which every pytest session would pay
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
