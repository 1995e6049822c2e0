"""What a work has looked at, and what came since."""

from __future__ import annotations

import threading

import pytest

from lightning.app.engines.sight import Sight
from lightning.app.kernel.delta import INSERT, SET
from lightning.app.kernel.messages import Delta

N = Delta(SET, ("n",), 1)
FOREIGN = Delta(SET, ("n",), 10)


@pytest.fixture
def sight() -> Sight:
    return Sight()


def test_a_write_over_what_came_after_the_last_look_is_a_conflict(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], [])
    assert sight.overtakes(N)


def test_it_is_told_once(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], [])
    assert [sight.overtakes(N), sight.overtakes(N)] == [True, False]


def test_who_looked_again_has_seen_it(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], [])
    sight.look("n")
    assert not sight.overtakes(N)


def test_who_never_looked_bases_nothing_on_it(sight: Sight) -> None:
    sight.arrive(1, [FOREIGN], [])
    assert not sight.overtakes(N)


def test_a_new_call_knows_nothing_of_what_an_earlier_one_saw(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], [])
    sight.begin()
    assert not sight.overtakes(N)


def test_other_attributes_and_what_merges_are_no_conflict(sight: Sight) -> None:
    sight.look("n")
    sight.look("rows")
    sight.arrive(1, [FOREIGN, Delta(INSERT, ("rows",), [None, [1]])], [])
    assert not sight.overtakes(Delta(SET, ("m",), 1))
    assert not sight.overtakes(Delta(INSERT, ("rows",), [None, [2]]))
    assert sight.overtakes(N)


def test_what_an_own_write_under_way_has_overwritten_is_not_told_again(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], mine=[N])  # the runtime sees this one by itself
    assert not sight.overtakes(N)


def test_a_look_of_another_thread_is_not_mine(sight: Sight) -> None:
    sight.look("n")
    sight.arrive(1, [FOREIGN], [])
    other = threading.Thread(target=sight.look, args=("n",))
    other.start()
    other.join()
    assert sight.overtakes(N)


def test_of_very_many_unseen_writes_none_is_forgotten(sight: Sight) -> None:
    sight.look("table")
    for seq in range(1, 1000):
        sight.arrive(seq, [Delta(SET, ("table", f"key {seq}"), seq)], [])
    assert sight.overtakes(Delta(SET, ("table", "key 1"), 0))
    sight.look("table")
    assert not sight.overtakes(Delta(SET, ("table", "key 999"), 0))
