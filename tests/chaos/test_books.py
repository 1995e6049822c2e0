"""The judge has teeth: each broken promise, made up in the books of a run that kept them all, is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from .books import (
    CALL_FAILED,
    DISPATCHED,
    MADE,
    RETURNED,
    TICKED,
    Effect,
    Row,
    Verdict,
    effects,
    judge,
    judge_end,
    rows,
)
from .campaign import Case


@dataclass
class Story:
    folder: Path
    journal: list[Row]
    done: list[Effect]
    killed: set[int]

    def first(self, tag: int, path: str = "") -> list[Any]:
        facts = [fact for row in self.journal for fact in row.told()]
        return next(fact for fact in facts if fact[0] == tag and (not path or fact[1] == path))

    def adds(self, *fact: Any) -> None:
        last = self.journal[-1]
        self.journal.append(Row(last.seq + 1, last.at, last.epoch, msgspec.msgpack.encode([fact])))

    def told(self, change: Callable[[dict[str, Any]], object]) -> None:
        told = json.loads((self.folder / "final.json").read_text())
        change(told)
        (self.folder / "final.json").write_text(json.dumps(told))

    def judge(self) -> None:
        books = judge(self.journal, self.done, self.killed)
        judge_end(self.folder, books, self.done)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to which nothing happened."""
    folder = tmp_path_factory.mktemp("whole")
    case = Case(3, folder, kills=False)
    with ExitStack() as terminals:
        assert case.end(case.start(terminals)) == 0
    case.judge()
    return folder


@pytest.fixture
def story(whole: Path, tmp_path: Path) -> Story:
    (tmp_path / "final.json").write_text((whole / "final.json").read_text())
    done = effects(whole)
    deadly = {int(effect.words[2]) for effect in done if effect.words[0] == "root.deadly"}
    return Story(tmp_path, rows(whole), done, deadly)


def _runs_again(story: Story) -> None:
    story.done.append(next(effect for effect in story.done if effect.what == "end"))
    story.done.append(next(effect for effect in story.done if effect.what == "begin"))


def _is_dispatched_again(story: Story) -> None:
    _, path, _, number, _ = story.first(RETURNED)
    story.adds(DISPATCHED, path, number)


def _loses_a_row(story: Story) -> None:
    del story.journal[len(story.journal) // 2]


def _knows_no_such_call(story: Story) -> None:
    story.done.append(Effect("begin", ["root.chain", "run.999", "1", "1"]))


def _restores_less(story: Story) -> None:
    story.done += [Effect("echoed", ["99"]), Effect("restored", ["98", "99"])]


def _loses_what_the_flow_wrote(story: Story) -> None:
    story.done += [Effect("echoed", ["99"]), Effect("restored", ["99", "98"])]


def _runs_at_most_once_twice(story: Story) -> None:
    begun = next(effect for effect in story.done if effect.words[0] == "root.once")
    _, path, number = story.first(DISPATCHED, "root.once")
    story.done.append(begun)
    story.journal = [_with(row, [DISPATCHED, path, number]) for row in story.journal]


def _with(row: Row, fact: list[Any]) -> Row:
    """The call is given out twice: as after a loss that nobody counts."""
    facts = row.told()
    if fact in facts:
        failure = [CALL_FAILED, *fact[1:2], 0, fact[2], ["Lost", "lost"], True]
        at = facts.index(fact)
        facts[at:at] = [fact, failure]
    return row._replace(facts=msgspec.msgpack.encode(facts))


def _says_who_died_unkilled(story: Story) -> None:
    story.killed.clear()


def _ticks_twice(story: Story) -> None:
    tick = next(f for row in story.journal for f in row.told() if f[0] == TICKED and f[3])
    story.adds(*tick)


def _forgets_an_option(story: Story) -> None:
    """The deadly work is said to run at most once, and ran three times."""
    made = story.first(MADE, "root.deadly")
    other = [*made[:5], [*made[5][:5], "fail", *made[5][6:]], *made[6:]]
    story.journal = [
        row._replace(facts=msgspec.msgpack.encode([other if fact == made else fact for fact in row.told()]))
        for row in story.journal
    ]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_runs_again, "ran 2 times, dispatched 1 times"),
        (_is_dispatched_again, "has returned and is dispatched again"),
        (_loses_a_row, "not numbered"),
        (_knows_no_such_call, "the journal does not know it"),
        (_restores_less, "99 items were acknowledged, and 98 were restored"),
        (_loses_what_the_flow_wrote, "the flow's 99 was seen by the work, and 98 restored"),
        (_runs_at_most_once_twice, "ran 2 times, and on_crash is 'fail'"),
        (_says_who_died_unkilled, "nobody killed them"),
        (_ticks_twice, "a tick was true twice"),
        (_forgets_an_option, "death 1, and again is True"),
        (lambda story: story.told(lambda told: told["results"].popitem()), "results are"),
        (lambda story: story.told(lambda told: told["items"].append(0)), "the items are"),
        (lambda story: story.told(lambda told: told["seen"].pop()), "the flow saw"),
        (lambda story: story.told(lambda told: told["table"].pop()), "the table is"),
        (lambda story: story.told(lambda told: told["done"]["root.chain"].pop()), "returned for"),
        (lambda story: story.told(lambda told: told.update(deadly="so")), "deadly says"),
    ],
)
def test_a_broken_promise_is_found(spoil: Callable[[Story], object], said: str, story: Story) -> None:
    story.judge()
    spoil(story)
    with pytest.raises(Verdict, match=said):
        story.judge()
