"""What turns tell of passes, where a whole run would show it by chance only."""

from __future__ import annotations

from lightning.app.kernel import facts as f
from lightning.app.runtime.passbook import Passbook


def test_a_pass_that_was_broken_off_before_it_changed_anything_is_not_told() -> None:
    book = Passbook()
    book.ran, book.cut = 1, True
    book.note([], 5.0)
    assert (book.idled, book.ran) == (0, 0)
    book.ran, book.cut = 3, True
    book.note([], 6.0)
    facts: list[f.Fact] = []
    book.head(facts)
    assert facts == [f.PassesIdled(2, 6.0, 6.0)]


def test_a_pass_that_was_broken_off_in_a_turn_with_facts_is_told_so() -> None:
    book = Passbook()
    book.ran, book.cut = 1, True
    facts: list[f.Fact] = [f.Deleted("root.a")]
    book.note(facts, 5.0)
    assert facts[1:] == [f.PassesRan(1, 0, True)]
