"""What a work's lists should be, kept beside what they are, so that silent changes are found.

Only attributes that hold lists are kept, and only once a module is loaded that changes lists behind their
methods. The shadow follows every delta, so keeping it costs what a change costs; comparing is done at the end
of ``run``.
"""

from __future__ import annotations

from typing import Any

from lightning.app.kernel.delta import SET, apply
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack, unpack


class Shadow:
    """A second, plain copy of the attributes that hold lists."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state: dict[str, Any] = {}
        self.renew(state)

    @staticmethod
    def holds_lists(value: Any) -> bool:
        if isinstance(value, list):
            return True
        return isinstance(value, dict) and any(Shadow.holds_lists(each) for each in value.values())

    def renew(self, state: dict[str, Any]) -> None:
        self._state = {name: unpack(pack(value)) for name, value in state.items() if self.holds_lists(value)}

    def follow(self, delta: Delta) -> None:
        if len(delta.path) == 1 and delta.op == SET and not isinstance(delta.value, list | dict):
            self._state.pop(delta.path[0], None)
        elif delta.path[0] in self._state or delta.op == SET:
            apply(self._state, delta)

    def missed(self, state: dict[str, Any]) -> list[Delta]:
        """The attributes that are not what the deltas made them, each as the delta that was never told."""
        return [
            Delta(SET, (name,), pack(state[name], name))
            for name, known in self._state.items()
            if name in state and state[name] != known
        ]
