"""Components that tests of the contract are written with."""

from __future__ import annotations

from typing import Any

import lightning as L


class Echo(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ran: list[Any] = []

    def run(self, value: Any = None) -> Any:
        self.ran.append(value)
        return value


class Flow(L.LightningFlow):
    """A flow whose ``run`` a test writes as a function."""

    def __init__(self, run: Any, **children: Any) -> None:
        super().__init__()
        self._run = run
        for name, child in children.items():
            setattr(self, name, child)

    def run(self) -> None:
        self._run(self)


def once(call: Any) -> Any:
    """A flow that makes one call with the work ``echo``."""
    return Flow(lambda flow: call(flow.echo), echo=Echo())
