"""Secrets in what is printed: none gets through, however it is cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.journal.masking import Mask

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"


def in_pieces(mask: Mask, pieces: list[bytes]) -> bytes:
    let_go, held = b"", b""
    for piece in pieces:
        masked, held = mask.cut(held + piece)
        let_go += masked
    return let_go + mask.whole(held)


def test_a_secret_becomes_stars_and_all_else_stays() -> None:
    assert Mask(["xyzzy"])("a xyzzy, an xyzz, xyzzyxyzzy") == "a ***, an xyzz, ******"


def test_a_secret_that_is_part_of_another_does_not_show_the_rest() -> None:
    assert Mask(["abc", "abcdef"])("abcdef abc") == "*** ***"
    assert in_pieces(Mask(["abc", "abcdef"]), [b"abc", b"def abc"]) == b"*** ***"


def test_a_secret_of_several_lines_is_found_whole_by_line_and_in_quotes() -> None:
    mask = Mask([KEY])
    assert mask(KEY) == "***\n"
    assert "MIIE" not in mask("  MIIEvQIBADANBg")
    assert "MIIE" not in mask(repr(KEY))
    assert "MIIE" not in mask(json.dumps({"key": KEY}))


@pytest.mark.parametrize("secret", ['it\'s "quoted"', "tab\there", "schlüssel", "back\\slash"])
def test_a_secret_is_found_as_python_and_json_write_it(secret: str) -> None:
    mask = Mask([secret])
    for written in (secret, repr(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        assert secret[-3:] not in mask(written)


def test_an_empty_secret_masks_nothing() -> None:
    assert Mask(["", " \n"])("a b\n") == "a b\n"
    assert Mask(["", "x"])("a b x") == "a b ***"


def test_nothing_is_held_back_that_cannot_become_a_secret() -> None:
    mask = Mask(["xyzzy"])
    assert mask.cut(b"the last line\n") == (b"the last line\n", b"")
    assert mask.cut(b"the token is xyz") == (b"the token is ", b"xyz")
    assert mask.cut(b"xyzzy") == (b"***", b"")


@given(
    secrets=st.lists(st.text("ab", min_size=2, max_size=5), min_size=1, max_size=3),
    pieces=st.lists(st.text("abc", max_size=8).map(str.encode), max_size=8),
)
def test_no_secret_gets_through_however_it_is_cut(secrets: list[str], pieces: list[bytes]) -> None:
    mask = Mask(secrets)
    seen = in_pieces(mask, pieces)
    assert not any(secret.encode() in seen for secret in secrets)


@given(
    text=st.lists(st.sampled_from(["xyzzy", "plugh", " ", "\n", "x", "plu", "yz"]), max_size=12).map("".join),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_pieces_are_masked_as_the_whole_is(text: str, cuts: list[int]) -> None:
    mask = Mask(["xyzzy", "plugh"])
    data = text.encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    assert in_pieces(mask, pieces) == mask.whole(data)
