"""What is fuzzed: each target takes bytes, and raises when a promise is broken. A refusal by name breaks none."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lightning.app.core.state import State
from lightning.app.engines.channel import Channel
from lightning.app.errors import ChannelClosed, ProtocolError, StateValueError
from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel.delta import SET, apply, apply_copy, conflicts, rebase, revert
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.model import Model, fold
from lightning.app.kernel.snapshot import dump, load
from lightning.app.kernel.values import pack
from lightning.app.kernel.works import Works
from lightning.app.runtime.loop import _place as place_of

from .choices import Choices


class Stream:
    """A peer that has sent all this, in pieces."""

    def __init__(self, data: bytes, pieces: list[int]) -> None:
        self._data = data
        self._pieces = pieces

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0, /) -> int:
        size = min(len(self._data), len(buffer), self._pieces.pop() if self._pieces else 1 << 30)
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
        return len(data)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass


def frames(data: bytes) -> None:
    """The frame decoder of both ends: messages in order, or a refusal by name."""
    choices = Choices(data)
    inbound = choices.of((m.ToHost, m.ToRuntime))
    pieces = [1 + choices.number(256) for _ in range(choices.number(9))]
    raw = choices.number(4) == 3
    channel = Channel(Stream(choices.rest() if raw else b"".join(_sent(choices)), pieces), inbound)
    for _ in range(choices.number(3)):
        channel.post(m.Stop())
    seen = 0
    try:
        while True:
            for seq, _, message in channel.receive():
                assert isinstance(message, m.Message)
                assert seq in (0, seen + 1), f"{seq} came after {seen}"
                seen = max(seen, seq)
    except (ProtocolError, ChannelClosed):
        assert channel.received >= seen


def _sent(choices: Choices) -> Iterator[bytes]:
    """Frames as an honest peer sends them, and with something wrong in them."""
    seq = 0
    for _ in range(choices.number(8)):
        seq += choices.of((1, 1, 1, 1, 1, 0, 2, -seq))
        body = _encode((seq, choices.number(4), _message(choices)))
        size = len(body)
        match choices.number(10):
            case 7:
                at = choices.number(max(size, 1))
                body = body[:at] + choices.bytes(4) + body[at + choices.number(3) :]
                size = len(body)
            case 8:
                size = int.from_bytes(choices.bytes(4).ljust(4, b"\0"), choices.of(("big", "little")))
            case 9:
                body = choices.bytes(60)
                size = len(body)
        yield struct.pack(">I", size) + body


_encode = msgspec.msgpack.Encoder().encode


def deltas(data: bytes) -> None:
    """Applying, taking back, applying on a copy, and putting what is foreign before what is one's own."""
    choices = Choices(data)
    base = choices.state()
    foreign = [choices.delta() for _ in range(choices.number(4))]
    host = _tracked(base)
    own = [(delta, apply(host, delta)) for delta in [choices.delta() for _ in range(choices.number(5))]]
    own = [(delta, undo) for delta, undo in own if undo.fitted]  # what one writes oneself has fitted
    mine = [delta for delta, _ in own]
    plain, tracked, copied = copy.deepcopy(base), _tracked(base), _tracked(base)
    for delta in (*foreign, *mine):
        before = copy.deepcopy(plain)
        undo = apply(plain, delta)
        looked_at = [value for value in dict.values(copied) if isinstance(value, (list, dict, set))]
        as_seen = copy.deepcopy(looked_at)
        assert apply(tracked, delta).fitted is undo.fitted
        assert apply_copy(copied, delta).fitted is undo.fitted
        assert looked_at == as_seen, f"{delta} changed what somebody was looking at"
        assert plain == tracked == copied, f"{delta}: {plain}, {dict(tracked)}, {dict(copied)}"
        if not undo.fitted:
            assert plain == before, f"{delta} did not fit, and changed {before} to {plain}"
        after = copy.deepcopy(plain)
        revert(plain, undo)
        assert plain == before, f"{delta}: {before} was taken back to {plain}"
        apply(plain, delta)
        assert plain == after
    again = rebase(host, own, *foreign)
    assert [delta for delta, _ in again] == mine
    assert host == plain, f"{base} with mine {mine} and foreign {foreign}: {dict(host)}, not {plain}"
    for one in mine:
        for other in foreign:
            conflicts(one, other)


def works(data: bytes) -> None:
    """What a work says, decoded and taken in by the kernel, and as facts written and read again."""
    try:
        messages = _messages.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError):
        choices = Choices(data)
        said = [_message(choices) for _ in range(choices.number(6))]
        messages = [
            (n, choices.number(3), each) for n, each in enumerate(said) if isinstance(each, m.ToRuntime)
        ]
    ledger = Ledger(Model())
    kernel = Works(ledger)
    ledger.enter(
        f.Made("root", "work", "a:B", {"a": [1], "b": {"k": 1}}, f.WorkOptions(raise_exception=False))
    )
    kernel.begin_epoch()
    ledger.enter(f.Called("root", 1, b"k", [], {}))
    kernel.touch("root")
    kernel.settle()
    kernel.take("root", 1, 1, 0, m.Ready(1))
    kernel.settle()
    kernel.write("root", m.Delta(0, ("a",), 1), "flow")
    for seq, acknowledged, message in messages:
        if isinstance(message, m.Ack):
            continue  # the channel keeps these
        if isinstance(message, m.Changed):
            {place_of(delta) for delta in message.deltas}
        kernel.take("root", 1, 1 + seq, acknowledged, message)
        kernel.settle()
    facts, _ = ledger.close_turn()
    again = fold([(0.0, f.decode_turn(f.encode_turn(facts)))])
    assert again.components["root"].state == ledger.model.components["root"].state


_messages = msgspec.msgpack.Decoder(list[tuple[int, int, m.ToRuntime]])


def _message(choices: Choices) -> m.Message:
    match choices.number(12):
        case 8:
            return m.Call(1, "id", [choices.packed()], {"k": choices.packed()})
        case 9:
            return m.Write([choices.delta()])
        case 10:
            return choices.of((m.Stop(), m.Ack(), m.Left(), m.Noticed("so")))
        case 11:
            return m.Begin("run", 1, "root", 1, choices.bytes(9), {"a": choices.packed()})
        case 0 | 1 | 2 | 3:
            return m.Changed([choices.delta() for _ in range(choices.number(3))], [choices.number(3)])
        case 4:
            return m.Returned(choices.number(3), choices.packed())
        case 5:
            return m.Raised(choices.number(3), "ValueError", "why", "")
        case 6:
            return m.Broken("ValueError", "why", "")
        case _:
            return m.Ready(7)


class Silent:
    """An owner to whom nobody makes changes of their own."""

    _where = "root"

    def _change(self, delta: m.Delta) -> None:
        raise AssertionError(f"applying made a change of its own: {delta}")


def _tracked(base: dict[str, Any]) -> State:
    state = State(Silent())
    for name, value in base.items():
        apply(state, m.Delta(SET, (name,), pack(value)))
    return state


def snapshots(data: bytes) -> None:
    """A model from bytes that lay in a file: whole, or a refusal by name. Whole ones stay what they are."""
    choices = Choices(data)
    if choices.number(2):
        found = bytearray(dump(_grown(choices)))
        for _ in range(choices.number(4)):
            at = choices.number(256) * max(1, len(found) // 256) % len(found)
            found[at : at + choices.number(3)] = choices.bytes(3)
    else:
        found = bytearray(choices.rest())
    try:
        model = load(bytes(found))
        again = dump(model)
    except (ProtocolError, StateValueError):
        return
    assert dump(load(again)) == again


def _grown(choices: Choices) -> Model:
    """A model in which something has happened."""
    ledger = Ledger(Model())
    kernel = Works(ledger)
    ledger.enter(
        f.Made("root", "flow", "a:A", {name: pack(value) for name, value in choices.state().items()})
    )
    ledger.enter(f.Made("root.w", "work", "a:B", {}, f.WorkOptions(raise_exception=False)))
    kernel.begin_epoch()
    for number in range(choices.number(4)):
        ledger.enter(f.Called("root.w", number + 1, b"k%d" % number, [choices.packed()], {}))
    kernel.touch("root.w")
    kernel.settle()
    kernel.take("root.w", 1, 1, 0, m.Ready(1))
    kernel.settle()
    for seq in range(2, choices.number(6)):
        message = _message(choices)
        if isinstance(message, m.ToRuntime) and not isinstance(message, m.Ack):
            kernel.take("root.w", 1, seq, 0, message)
            kernel.settle()
    return ledger.model


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "deltas": deltas,
    "works": works,
    "snapshots": snapshots,
}
