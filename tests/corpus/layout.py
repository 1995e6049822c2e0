"""How facts and snapshots are laid out in bytes, told so that a change shows.

What lies in journals was written with one of these layouts. A later one may only add to it: kinds of facts with
tags of their own, fields at the end with defaults.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from lightning.app.kernel import facts as f
from lightning.app.kernel import snapshot
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.schedule import Ticks

PARTS = (f.WorkOptions, f.Failure, Delta, Ticks)
ROWS = (snapshot.CallRow, snapshot.WorkRow, snapshot.ComponentRow, snapshot.ScheduleRow, snapshot.ModelRow)

Layout = dict[str, dict[str, Any]]


def layout() -> Layout:
    """Of every struct that is in a journal: its tag, and its fields in their order."""
    structs = (*f.Fact.__subclasses__(), *PARTS, *ROWS)
    told = {each.__name__: {"tag": each.__struct_config__.tag, "fields": _fields(each)} for each in structs}
    return json.loads(json.dumps(told | {"snapshot format": {"tag": snapshot.FORMAT, "fields": []}}))


def _fields(struct: type[msgspec.Struct]) -> list[list[Any]]:
    return [
        [field.name, struct.__annotations__[field.name], _default(field)]
        for field in msgspec.structs.fields(struct)
    ]


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    if field.required:
        return None
    made = field.default_factory
    return repr(field.default if made is msgspec.NODEFAULT else made())


def broken_rules(before: Layout, after: Layout) -> list[str]:
    """What keeps journals of the layout ``before`` from being read with ``after``."""
    problems = []
    for name, was in before.items():
        now = after.get(name)
        if now is None or now["tag"] != was["tag"]:
            problems.append(f"{name} is gone, or has another tag: journals have it")
            continue
        kept, added = now["fields"][: len(was["fields"])], now["fields"][len(was["fields"]) :]
        if [name for name, _, _ in kept] != [name for name, _, _ in was["fields"]]:
            problems.append(f"{name} has lost or moved a field: {was['fields']} -> {now['fields']}")
        for field, _, default in added:
            if default is None:
                problems.append(f"{name}.{field} is new and has no default")
    tags = [each["tag"] for each in after.values() if each["tag"] is not None and each["fields"]]
    if len(set(tags)) < len(tags):
        problems.append("two kinds of facts have the same tag")
    return problems
