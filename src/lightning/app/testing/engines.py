"""What every engine promises of the works it places. Subclass ``EngineContract`` and say how one is made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lightning.app.core.arguments import Keyed
from lightning.app.engines.engine import Placement, Started
from lightning.app.kernel import delta as d
from lightning.app.kernel import messages as m
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.values import pack
from lightning.app.runtime.loader import load_module
from lightning.app.testing.seats import PATIENCE, WORKS, MakeEngine, Seat, Stage


class EngineContract:
    """What every engine promises. The fixture ``make_engine`` gives a function from a report to an engine."""

    @pytest.fixture
    def works(self, tmp_path: Path) -> Iterator[ModuleType]:
        """The module of works, imported as an app's file is."""
        file = tmp_path / "contract_works.py"
        file.write_text(WORKS)
        paths = list(sys.path)
        yield load_module(file, "contract_works")
        del sys.modules["contract_works"]
        sys.path[:] = paths

    @pytest.fixture
    def stage(self, works: ModuleType, make_engine: MakeEngine) -> Iterator[Stage]:
        stage = Stage(make_engine, works)
        yield stage
        stage.close()

    # -- beginning --------------------------------------------------------------------------------

    def test_a_work_is_reported_started_and_says_it_is_ready(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.place(works.Plain())
        ready = seat.hear(m.Ready)
        started = stage.report(Started, "root.w0")
        assert (started.pid, started.generation) == (ready.pid, 1)

    def test_private_attributes_travel_and_state_is_laid_over_the_object(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.place(works.Plain(), state={"x": 7, "more": [1]})
        assert seat.run("private") == "kept"
        assert seat.run("state") == {"x": 7, "more": [1]}

    def test_on_start_runs_before_the_work_is_ready(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.place(works.Hooked())
        seat.hear(m.Ready)
        assert seat.state["began"] == "on_start was here"

    @pytest.mark.parametrize(
        ("name", "kind", "message"),
        [("Unstartable", "RuntimeError", "it does not start"), ("Unopenable", "OSError", "it does not open")],
    )
    def test_a_work_that_cannot_begin_says_why_in_its_own_lines_and_ends(
        self, stage: Stage, works: ModuleType, name: str, kind: str, message: str
    ) -> None:
        seat = stage.place(getattr(works, name)())
        broken = seat.hear(m.Broken)
        assert (broken.kind, broken.message) == (kind, message)
        assert f'raise {kind}("{message}")' in broken.traceback
        assert seat.exited().reason == "exit code 1"

    def test_a_work_of_an_unknown_class_is_broken(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.place(works.Plain())
        other = Placement("root.other", 1)
        lost = Seat(stage, stage.engine.start(other), other, {})
        stage.seats.append(lost)
        lost.post(m.Begin("test", 1, "root.other", 1, b"cnowhere\nNothing\n.", {}))
        assert lost.hear(m.Broken).kind == "ModuleNotFoundError"
        seat.hear(m.Ready)

    def test_writes_that_wait_behind_the_object_reach_it(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.place(works.Hooked())
        seat.write("x", 5)
        assert seat.run("state")["x"] == 5

    # -- calls ------------------------------------------------------------------------------------

    def test_a_call_gets_its_arguments_and_gives_its_result(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        assert seat.run("echo", 1, None, (2.5, {"b"}), key=[b"x"]) == [1, None, (2.5, {"b"}), {"key": [b"x"]}]

    def test_an_object_passed_with_a_key_is_opened_in_the_work(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        assert seat.run("give_real_part", Keyed(complex(1, 2), key="c")) == 1.0

    def test_calls_run_one_after_the_other_in_the_order_of_their_arrival(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.seat(works.Plain())
        numbers = [seat.call("echo", each) for each in range(300)]
        assert [seat.hear(m.Returned).call for _ in numbers] == numbers

    def test_inside_run_the_call_has_an_id_and_the_work_runs(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        assert seat.run("call_id") == ["test.1", True]
        assert seat.run("call_id") == ["test.2", True]

    def test_works_have_nothing_in_common(self, stage: Stage, works: ModuleType) -> None:
        seats = [stage.seat(works.Plain()) for _ in range(3)]
        for number, seat in enumerate(seats):
            seat.run("count", number)
        assert [seat.state["x"] for seat in seats] == [0, 1, 2]

    # -- failures ---------------------------------------------------------------------------------

    def test_an_exception_arrives_with_the_users_frames_and_no_others(
        self, stage: Stage, works: ModuleType
    ) -> None:
        raised = stage.seat(works.Plain()).fail("fail")
        assert (raised.kind, raised.message) == ("ValueError", "this went wrong")
        files = [line.split('"')[1] for line in raised.traceback.splitlines() if line.startswith("  File")]
        assert files == [works.__file__] * 2
        assert raised.traceback.startswith("Traceback (most recent call last):\n")
        assert raised.traceback.endswith("ValueError: this went wrong\n")

    def test_causes_and_groups_are_told(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        chained = seat.fail("fail_twice").traceback
        assert chained.index("ValueError: first") < chained.index("direct cause") < chained.index("'second'")
        grouped = seat.fail("fail_in_a_group")
        assert grouped.kind == "ExceptionGroup"
        assert "TypeError: two" in grouped.traceback

    def test_an_error_of_ours_ends_at_the_users_line(self, stage: Stage, works: ModuleType) -> None:
        raised = stage.seat(works.Plain()).fail("set_what_cannot_be_set")
        assert raised.kind == "StateValueError"
        last = raised.traceback.rpartition('  File "')[2]
        assert last.startswith(str(works.__file__))
        assert "self.x = object()" in last

    def test_sys_exit_in_run_is_a_failure_and_no_end(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        raised = seat.fail("exit")
        assert (raised.kind, raised.message) == ("SystemExit", "run called sys.exit(3)")
        assert seat.run("echo", 1) == [1, {}]

    @pytest.mark.parametrize("code", [0, None, False])
    def test_sys_exit_that_says_all_is_well_ends_the_call_in_order(
        self, stage: Stage, works: ModuleType, code: int | None
    ) -> None:
        seat = stage.seat(works.Hooked())
        assert seat.run("exit", code) is None
        assert "noted" not in seat.state
        assert seat.run("echo", 1) == [1, {}]

    @pytest.mark.parametrize(
        ("what", "kind"), [("recurse", "RecursionError"), ("want_too_much", "MemoryError")]
    )
    def test_running_out_of_stack_or_memory_is_survived(
        self, stage: Stage, works: ModuleType, what: str, kind: str
    ) -> None:
        seat = stage.seat(works.Plain())
        assert seat.fail(what).kind == kind
        assert seat.run("echo", 1) == [1, {}]

    def test_a_message_that_is_no_text_is_told_all_the_same(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        assert seat.fail("fail_with_half_a_character").message == "half \\ud800"

    def test_a_text_that_is_no_unicode_travels(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        seat.run("set_half_a_character")
        assert seat.state["x"] == seat.run("return_half_a_character") == "half " + chr(0xD800)

    def test_a_key_that_is_no_unicode_travels(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        seat.run("use_half_a_character_as_a_key")
        assert any(chr(0xD800) in key for key in seat.state["table"])
        assert seat.run("state") == seat.state

    def test_an_object_that_comes_in_many_pieces_begins(self, stage: Stage, works: ModuleType) -> None:
        work = works.Plain()
        work.table = {f"key {number}": number for number in range(100_000)}
        seat = stage.seat(work)
        assert seat.run("state") == seat.state

    def test_on_exception_is_told_before_the_runtime_is(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Hooked())
        seat.fail("fail")
        assert seat.state["noted"] == "ValueError: this went wrong"

    def test_a_hook_that_fails_does_not_hide_the_failure(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.BadHooks())
        assert seat.fail("fail").kind == "ValueError"
        assert "so does the hook" in seat.hear(m.Noticed).message
        seat.worker.stop(PATIENCE)
        assert "it does not like to go" in seat.hear(m.Noticed).message
        seat.hear(m.Left)
        assert seat.exited().reason == ""

    def test_a_result_that_is_no_state_value_is_refused_with_the_remedy(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.seat(works.Hooked())
        raised = seat.fail("return_an_object")
        assert raised.kind == "WorkError"
        assert f"{works.__file__}:" in raised.message
        assert "Payload" in raised.message
        assert seat.state["noted"].startswith("WorkError")

    def test_a_result_over_16_mb_is_refused_with_the_remedy(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        assert len(seat.run("return", (16 << 20) - 100)) == (16 << 20) - 100
        raised = seat.fail("return", 16 << 20)
        assert (raised.kind, "Payload" in raised.message) == ("WorkError", True)
        assert seat.run("echo", 1) == [1, {}]

    # -- state ------------------------------------------------------------------------------------

    def test_writes_arrive_one_by_one_in_order_before_the_result(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.seat(works.Plain())
        seat.run("count", 1000)
        assert seat.history == [("x", number) for number in range(1, 1001)]

    def test_changes_within_containers_arrive(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        seat.run("change_all")
        assert seat.state["items"] == [1, 2, 3, 4]
        assert seat.state["table"] == {"b": {"c": 1, "d": [1, 2]}}
        assert (seat.state["seen"], seat.state["fresh"]) == ({"here"}, (1, 2))

    def test_after_foreign_writes_between_its_own_both_sides_agree(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.seat(works.Plain())
        for number in range(30):
            running = seat.call("add_up", 10)
            seat.write("x", number)
            seat.change(m.Delta(d.INSERT, ("items",), [None, [f"flow {number}"]]))
            seat.change(m.Delta(d.UPDATE, ("table",), [["a", [number]]]))
            seat.hear(m.Returned, running)
            seat.change(m.Delta(d.CLEAR, ("items",)) if number % 3 == 0 else m.Delta(d.SET, ("y",), number))
        told = seat.run("state")
        assert canonical(pack(told)) == canonical(pack(seat.state))

    def test_changes_that_bypass_tracking_are_found_and_told(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Plain())
        seat.run("push")
        assert sorted(seat.state["items"]) == [0, 1, 2, 3]
        assert "items was changed in a way that bypasses tracking" in seat.hear(m.Noticed).message
        assert seat.run("state") == seat.state

    def test_what_cannot_be_state_and_bypassed_tracking_is_told(
        self, stage: Stage, works: ModuleType
    ) -> None:
        seat = stage.seat(works.Plain())
        seat.run("push_what_cannot_be")
        assert "past the tracking" in seat.hear(m.Noticed).message

    # -- output -----------------------------------------------------------------------------------

    def test_output_is_complete_and_in_order_when_the_end_is_reported(
        self, capfd: pytest.CaptureFixture[str], make_engine: MakeEngine, works: ModuleType
    ) -> None:
        # Made here, not by a fixture: only now are stdout and stderr what ``capfd`` reads.
        stage = Stage(make_engine, works)
        seat = stage.seat(works.Plain())
        seat.run("print", 500)
        seat.worker.stop(PATIENCE)
        seat.exited()
        stage.close(PATIENCE)
        printed = capfd.readouterr()
        assert printed.out.splitlines() == [f"line {number}" for number in range(500)]
        assert "and an error\n" in printed.err

    # -- ends -------------------------------------------------------------------------------------

    def test_a_stopped_work_runs_on_exit_says_goodbye_and_ends(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Hooked())
        seat.run("count", 1)
        seat.worker.stop(PATIENCE)
        assert seat.exited().reason == ""
        seat.hear(m.Left)
        assert seat.state["left"] == "on_exit was here"

    def test_a_work_told_to_stop_by_message_ends_as_well(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.seat(works.Hooked())
        seat.post(m.Stop())
        assert seat.exited().reason == ""
        seat.hear(m.Left)
        assert seat.state["left"] == "on_exit was here"

    def test_a_work_stopped_before_it_began_ends(self, stage: Stage, works: ModuleType) -> None:
        seat = stage.place(works.Plain())
        seat.worker.stop(PATIENCE)
        seat.exited()

    def test_stopping_one_leaves_the_others(self, stage: Stage, works: ModuleType) -> None:
        going, staying = stage.seat(works.Plain()), stage.seat(works.Plain())
        going.worker.stop(PATIENCE)
        going.exited()
        assert staying.run("echo", 1) == [1, {}]

    def test_closing_the_engine_ends_all(self, stage: Stage, works: ModuleType) -> None:
        seats = [stage.seat(works.Hooked()) for _ in range(3)]
        stage.engine.close(PATIENCE)
        for seat in seats:
            while not seat.closed:
                seat.take()
            assert seat.state["left"] == "on_exit was here"
