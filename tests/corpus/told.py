"""All of a model as plain JSON, told by the test's own eyes: what a stored journal must come to, forever.

Written without the product's snapshots, so that it can stand against them. A later version may add to a
model; what an older one knew of it stays.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lightning.app.kernel.model import Call, Component, Model, WorkLife
from lightning.app.kernel.values import pack


def told(model: Model) -> dict[str, Any]:
    """Everything that a fold brings back."""
    return {
        "epoch": model.epoch,
        "calls": model.calls,
        "incarnations": model.incarnations,
        "held": {str(incarnation): list(held) for incarnation, held in model.held.items()},
        "generations": dict(model.generations),
        "deleted": sorted(model.deleted),
        "cursors": sorted([*place, index] for place, index in model.cursors.items()),
        "reached": sorted([path, key.hex()] for path, key in model.reached),
        "schedules": {
            key: {"ticks": list(msgspec.structs.astuple(life.ticks)), "active": life.active}
            for key, life in model.schedules.items()
        },
        "ended": msgspec.structs.asdict(model.ended) if model.ended else None,
        "components": {path: _component(each) for path, each in model.components.items()},
    }


def _component(component: Component) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "class": component.cls,
        "generation": component.generation,
        "initial": sorted(component.initial),
        "origin": plain(component.origin),
        "state": {name: plain(pack(value)) for name, value in component.state.items()},
        "work": _work(component.life) if component.life else None,
    }


def _work(life: WorkLife) -> dict[str, Any]:
    return {
        "options": msgspec.structs.asdict(life.options),
        "process": life.process.name,
        "incarnation": life.incarnation,
        "pid": life.pid,
        "devices": list(life.devices),
        "seen": life.seen,
        "wanted": life.wanted,
        "idle_since": life.idle_since,
        "start_deaths": life.start_deaths,
        "stage": life.stage,
        "statuses": [list(row) for row in life.statuses],
        "counts": [life.asked, life.successes, life.failures, life.timeouts],
        "latest": [_call(call) for call in life.latest.values()],
        "running": life.running.number if life.running else None,
        "queue": [call.number for call in life.queue],
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "number": call.number,
        "key": call.key.hex(),
        "args": plain(call.args),
        "kwargs": plain(call.kwargs),
        "tick": call.tick,
        "story": [phase.name for phase in call.story],
        "since": call.since,
        "value": plain(call.value),
        "failure": msgspec.structs.asdict(call.failure) if call.failure else None,
        "attempts": call.attempts,
        "deaths": call.deaths,
    }


def plain(packed: Any) -> Any:
    """A packed value in JSON's words, each kind in its own."""
    match packed:
        case float() if packed != packed or packed in (float("inf"), float("-inf")):
            return {"float": repr(packed)}
        case bytes():
            return {"bytes": packed.hex()}
        case msgspec.msgpack.Ext():
            return {"kind": packed.code, "bytes": bytes(packed.data).hex()}
        case list():
            return [plain(each) for each in packed]
        case dict():
            return {"table": [[plain(key), plain(each)] for key, each in packed.items()]}
        case _:
            return packed


def missing(stored: Any, found: Any, where: str = "") -> list[str]:
    """Where ``found`` lacks or contradicts what was stored; it may know more."""
    if isinstance(stored, dict) and isinstance(found, dict):
        return [
            problem
            for key, value in stored.items()
            for problem in (
                missing(value, found[key], f"{where}.{key}") if key in found else [f"{where}.{key} is gone"]
            )
        ]
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        pairs = enumerate(zip(stored, found, strict=True))
        return [problem for at, (one, other) in pairs for problem in missing(one, other, f"{where}[{at}]")]
    if type(stored) is type(found) and stored == found:
        return []
    return [f"{where} was {stored!r} and is {found!r}"]
