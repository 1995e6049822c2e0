"""What the command line makes of words, before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.cli.run import say_left_out_values, split_app_args

words = st.lists(st.text("ab-=.", min_size=1, max_size=6))


@given(words, words)
def test_what_follows_app_args_is_the_apps_whatever_it_is(own: list[str], of_app: list[str]) -> None:
    assert split_app_args([*own, "--app_args", *of_app]) == (own, of_app)


def test_app_args_with_an_equals_sign_are_words_and_end_there() -> None:
    given = ["--app_args=--lr 0.1 'a b'", "--name", "x"]
    assert split_app_args(given) == (["--name", "x"], ["--lr", "0.1", "a b"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--resume app.py", "--resume= app.py"),
        ("app.py --resume", "app.py --resume="),
        ("--resume --debug app.py", "--resume= --debug app.py"),
        ("app.py --resume 20261121-061530-k7q2", "app.py --resume 20261121-061530-k7q2"),
        ("app.py --resume=ID", "app.py --resume=ID"),
        ("--cloud app.py", "--cloud= app.py"),
        ("app.py --cloud lab", "app.py --cloud lab"),
    ],
)
def test_a_value_may_be_left_out_and_a_file_is_never_one(given: str, meant: str) -> None:
    assert say_left_out_values(given.split(), "--resume", "--cloud") == meant.split()
