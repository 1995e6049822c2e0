"""What a loop shows of itself."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from types import ModuleType, SimpleNamespace

import pytest

from lightning.app import progress as public
from lightning.app.progress_bar import progress

home = sys.modules["lightning.app.progress_bar"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Work:
    """Keeps everything its progress was."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __setattr__(self, name: str, value: object) -> None:
        if name == "progress":
            assert isinstance(value, float)
            self.seen.append(value)
        super().__setattr__(name, value)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is shown, however fast they come."""
    monkeypatch.setattr(home, "INTERVAL", 0.0)


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps come within one interval."""
    monkeypatch.setattr(home, "INTERVAL", 3600.0)


def drawn(items: Iterable[object], total: int | None = None, description: str = "") -> str:
    """What a terminal is sent."""
    with redirect_stderr(Terminal()) as shown:
        list(progress(items, total, description))
    return shown.getvalue()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """A work that lives in this process."""
    host = ModuleType("lightning.app.engines.host")
    work = Work()
    host.current = lambda: SimpleNamespace(work=work)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning.app.engines.host", host)
    return work


def test_it_is_public() -> None:
    assert public is progress


def test_the_items_are_what_they_were() -> None:
    assert list(progress([3, 1, 2])) == [3, 1, 2]
    assert list(progress(iter("ab"))) == ["a", "b"]
    assert list(progress([])) == []


def test_what_is_not_iterable_says_so_at_once() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        progress(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("at_once")
class TestWork:
    def test_its_progress_goes_from_nothing_to_one(self, work: Work) -> None:
        list(progress(range(4)))
        assert work.seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]

    def test_a_total_that_is_said_counts(self, work: Work) -> None:
        list(progress(iter(range(2)), total=4))
        assert work.seen == [0.0, 0.25, 0.5, 1.0]

    def test_more_items_than_said_stay_at_one(self, work: Work) -> None:
        list(progress(range(3), total=2))
        assert work.seen[-2:] == [1.0, 1.0]

    def test_without_a_total_only_the_end_is_known(self, work: Work) -> None:
        list(progress(iter(range(3))))
        assert work.seen == [1.0]

    def test_an_empty_loop_is_done(self, work: Work) -> None:
        list(progress([]))
        assert work.seen[-1] == 1.0

    def test_a_loop_that_is_left_stays_where_it_was(self, work: Work) -> None:
        loop = progress(range(4))
        next(loop)
        next(loop)
        loop.close()  # type: ignore[attr-defined]
        assert work.seen[-1] == 0.25

    def test_of_nested_loops_the_outermost_counts(self, work: Work) -> None:
        for _ in progress(range(2)):
            list(progress(range(100)))
        assert work.seen == [0.0, 0.5, 1.0, 1.0]

    def test_a_loop_after_another_counts_again(self, work: Work) -> None:
        list(progress(range(1)))
        work.seen.clear()
        list(progress(range(1)))
        assert work.seen == [0.0, 1.0, 1.0]


@pytest.mark.usefixtures("never_again")
def test_fast_steps_are_written_together(work: Work) -> None:
    list(progress(range(10_000)))
    assert work.seen == [0.0, 1.0]


@pytest.mark.usefixtures("at_once")
class TestTerminal:
    def test_the_bar_is_drawn_over_itself(self) -> None:
        lines = drawn(range(2), description="training").split("\r")[1:]
        assert lines[0] == f"training   0% |{' ' * 30}| 0/2"
        assert lines[1] == f"training  50% |{'#' * 15}{' ' * 15}| 1/2"
        assert lines[-1] == f"training 100% |{'#' * 30}| 2/2\n"

    def test_without_a_total_the_items_are_counted(self) -> None:
        assert drawn(iter(range(2))) == "\r0\r1\r2\r2\n"

    def test_a_loop_that_fails_leaves_a_whole_line(self) -> None:
        def failing() -> Iterator[int]:
            yield 1
            raise RuntimeError("no more")

        with redirect_stderr(Terminal()) as shown, pytest.raises(RuntimeError, match="no more"):
            list(progress(failing(), total=2))
        assert shown.getvalue().endswith("| 1/2\n")


@pytest.mark.usefixtures("at_once")
class TestNoTerminal:
    def test_each_tenth_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        list(progress(range(1000), description="training"))
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.splitlines() == [f"training {tenth * 10:3}%" for tenth in range(11)]

    def test_without_a_total_the_end_says_how_many(self, capsys: pytest.CaptureFixture[str]) -> None:
        list(progress(iter(range(3)), description="reading"))
        assert capsys.readouterr().err.splitlines()[-1] == "reading 3"

    def test_without_anywhere_to_write_it_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        assert list(progress(range(2))) == [0, 1]
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
        assert list(progress(range(2))) == [0, 1]
