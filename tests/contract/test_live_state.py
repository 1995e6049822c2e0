"""Attributes between a flow and a work in its own process, sentence by sentence."""

from __future__ import annotations

import re

from lightning.app.kernel import facts as f

from .live import Stage, printed


def test_attributes_reach_the_flow_live_and_in_order_and_the_flows_reach_the_running_work(
    stage: Stage,
) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.x = -1
                self.go = False

            def run(self):
                for x in range(50):
                    self.x = x
                until(lambda: self.go)  # the flow has seen all of it, while run still runs
                print("work goes on")

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()
                self.seen = []

            def run(self):
                self.work.run()
                if self.work.x >= 0 and self.work.x not in self.seen:
                    self.seen.append(self.work.x)
                if self.work.x == 49:
                    assert not self.work.has_succeeded or self.work.go
                    self.work.go = True
                if self.work.has_succeeded:
                    print("flow saw every value:", self.seen == list(range(50)))
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["work goes on", "flow saw every value: True"]


def test_the_flow_resets_a_flag_and_the_work_sets_it_again_and_it_fires_every_time(stage: Stage) -> None:
    assert stage.play(
        """
        ROUNDS = 400

        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.flag = False

            def run(self):
                for _ in range(ROUNDS):
                    self.flag = True
                    while self.flag:
                        time.sleep(0)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()
                self.fired = 0

            def run(self):
                self.work.run()
                if self.work.flag:
                    self.work.flag = False
                    self.fired += 1
                if self.work.has_succeeded:
                    print(self.fired)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["400"]


AGREEMENT = """
from lightning.app.kernel.values import pack

ROUNDS = 300

def told(work):
    return repr([work.log, sorted(work.table.items()), sorted(work.tags), work.n, work.word, work.nested])

class Work(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.log, self.table, self.tags = [], {}, set()
        self.n = 0
        self.word = ""
        self.nested = {"a": {"b": []}, "rows": [{"cells": []}]}
        self.wrote_all = self.over = False

    def run(self):
        for i in range(ROUNDS):
            self.log.append(["work", i])
            self.table[f"work {i}"] = i
            self.table["both"] = i
            self.tags.add(f"work {i}")
            self.tags.discard(f"flow {i}")
            self.n += 1
            self.word = f"work {i}"
            self.nested["a"]["b"].append(i)
            self.nested["rows"][0]["cells"] = [i]
            if i % 10 == 0:
                time.sleep(0.001)
        self.wrote_all = True
        until(lambda: self.over)  # it comes behind everything that the flow wrote
        return told(self)

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.work = Work()
        self.i = 0

    def run(self):
        same = self.work.run()
        for i in range(self.i, min(self.i + 5, ROUNDS) if self.work.log else self.i):
            self.work.log.append(["flow", i])
            self.work.table[f"flow {i}"] = i
            self.work.table["both"] = -i
            self.work.tags.add(f"flow {i}")
            self.work.n += 1
            self.work.word = f"flow {i}"
            self.work.nested["a"]["b"].append(-i)
            self.work.nested["rows"][0]["cells"] = [-i]
            self.i = i + 1
        if self.i == ROUNDS and self.work.wrote_all:
            self.work.over = True
        if same is not None:
            print("the work has what the flow has:", same == told(self.work))
            self.stop()

app = L.LightningApp(Flow())
"""


def test_flow_work_and_journal_agree_after_concurrent_writes_from_both_sides(stage: Stage) -> None:
    assert stage.play(AGREEMENT) == ["the work has what the flow has: True"]
    state = stage.model().components["root.work"].state
    log = [tuple(each) for each in state["log"]]
    assert sorted(log) == sorted((who, i) for who in ("flow", "work") for i in range(300))
    for who in ("flow", "work"):
        assert [i for name, i in log if name == who] == list(range(300))
    assert {key for key in state["table"] if key != "both"} == {f"{who} {i}" for who, i in log}
    assert {f"work {i}" for i in range(300)} <= state["tags"]
    assert len(state["nested"]["a"]["b"]) == 600
    n = 0
    for fact in stage.facts():
        if type(fact) is f.Wrote and fact.delta.path == ("n",):
            n = fact.delta.value
        elif type(fact) is f.Changed:
            for position, delta in enumerate(fact.deltas):
                if delta.path == ("n",):
                    # what is not one more than what was there has overwritten an increment of the flow
                    assert delta.value == n + 1 or position in fact.conflicts
                    n = delta.value
    assert n == state["n"]


def test_concurrent_writes_keep_the_later_and_the_journal_marks_the_conflict(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.n = 0
                self.free = 0
                self.ready = False

            def run(self):
                self.ready = True
                until(exists("the flow wrote"))
                self.n += 1  # without having seen the flow's
                self.free += 1
                touch("the work wrote")
                until(lambda: self.free == 7)
                return self.n

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                n = self.work.run()
                if self.work.ready and self.work.n == 0:
                    self.work.n += 10
                    touch("the flow wrote")
                    until(exists("the work wrote"))
                elif self.work.free == 1:
                    self.work.free = 7
                if n is not None:
                    print(n, self.work.n)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["1 1"]
    assert stage.conflicts() == [("n",)]


def test_a_write_of_the_flow_between_a_works_read_and_its_write_is_marked_as_overwritten(
    stage: Stage,
) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.n = self.free = 0
                self.table = {"a": 1, "b": 1}
                self.ready = self.arrived = False

            def run(self):
                n, table = self.n, self.table
                self.ready = True
                until(lambda: self.arrived)  # what the flow wrote before this has arrived here, too
                self.n = n + 1  # of a value that is no more
                table["a"] += 1
                table["b"] += 1  # nobody else wrote this one
                self.free += 1  # looked at again: it adds to what the flow wrote
                self.n += 1
                return self.n, self.free

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                found = self.work.run()
                if self.work.ready and not self.work.arrived:
                    self.work.n = self.work.free = 10
                    self.work.table["a"] = 10
                    self.work.arrived = True
                if found is not None:
                    print(*found, self.work.table)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["2 11 {'a': 2, 'b': 2}"]
    assert stage.conflicts() == [("n",), ("table", "a")]


def test_what_a_work_writes_to_a_container_that_it_holds_is_not_lost_when_the_flow_writes_too(
    stage: Stage,
) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.rows = []
                self.table = {"inner": [0]}
                self.ready = False

            def run(self):
                rows, inner = self.rows, self.table["inner"]
                self.ready = True
                until(lambda: self.rows and "flow" in self.table)
                rows.append("work")
                inner.append(1)
                return [list(rows), list(inner)]

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                held = self.work.run()
                if self.work.ready and not self.work.rows:
                    self.work.rows.append("flow")
                    self.work.table["flow"] = True
                if held is not None:
                    print(self.work.rows, self.work.table, held)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["['flow', 'work'] {'inner': [0, 1], 'flow': True} [['flow', 'work'], [0, 1]]"]


def test_reading_an_attribute_again_within_a_pass_lets_changes_in(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.x = 0

            def run(self):
                for x in range(1, 4):
                    self.x = x
                    time.sleep(0.02)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.w = Work()
                self.passes = 0

            def run(self):
                self.w.run()
                passes = self.passes = self.passes + 1
                while self.w.x < 3:
                    time.sleep(0.1)
                print("ends in pass", passes)
                self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["ends in pass 1"]


def test_a_pass_of_more_than_five_seconds_is_warned_about_by_name(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Flow(L.LightningFlow):
            def run(self):
                time.sleep(600)  # here

        app = L.LightningApp(Flow())
        """
    )
    warning = terminal.line(re.compile("root.run has been going on"), "err").text
    line = (stage.folder / "app.py").read_text().splitlines().index("        time.sleep(600)  # here") + 1
    assert f"app.py:{line}" in warning
    terminal.stop()


def test_changes_inside_nested_containers_reach_the_flow(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.rows = [{"tags": {1}, "cells": [[0]]}]

            def run(self):
                row = self.rows[0]
                row["tags"] |= {2, 3}
                row["tags"].remove(1)
                row["cells"][0][0] += 5
                row["cells"].insert(0, ["new"])
                row["cells"] += [[7]]
                del row["cells"][1]
                row.update(a=1, b=2)
                row.pop("a")
                row.setdefault("c", {})["d"] = (1, 2)
                self.rows.append({"cells": []})
                self.rows[1]["cells"].extend([3, 1, 2])
                self.rows[1]["cells"].sort()
                self.rows.reverse()
                return repr(self.rows)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                same = self.work.run()
                print(same == repr(self.work.rows), self.work.rows)
                self.stop()

        app = L.LightningApp(Flow())
        """
    ) == [
        "True [{'cells': [1, 2, 3]}, {'tags': {2, 3}, 'cells': [['new'], [7]], 'b': 2, 'c': {'d': (1, 2)}}]"
    ]


def test_a_change_that_bypasses_tracking_is_found_at_the_end_of_run_and_reported(stage: Stage) -> None:
    terminal = stage.start(
        """
        import heapq

        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.heap = [5, 8]

            def run(self):
                heapq.heappush(self.heap, 1)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.run()
                print(self.work.heap)
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal.end(0)
    assert printed(terminal) == ["[1, 8, 5]"]
    assert re.search(r"root\.work\.heap was changed .* bypasses tracking", terminal.errors)


def test_a_fork_made_by_a_work_does_not_disturb_its_channel(stage: Stage) -> None:
    terminal = stage.start(
        """
        import multiprocessing

        def square(x):
            WORK.inside = x  # stays in the fork
            return x * x

        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.before = self.inside = self.after = 0

            def run(self):
                global WORK
                WORK = self
                self.before = 1
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    squares = pool.map(square, range(20), chunksize=1)
                self.after = 2
                return squares

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                squares = self.work.run()
                print(squares == [x * x for x in range(20)], self.work.before, self.work.inside, self.work.after)
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal.end(0)
    assert printed(terminal) == ["True 1 0 2"]
    assert "in a process that the work has forked: it stays there" in terminal.errors


def test_a_result_of_up_to_16_mb_travels_and_a_larger_one_says_payload(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(raise_exception=False)
                self.big = b""

            def run(self, size):
                self.big = bytes(size)  # an attribute may be larger
                return bytes(size)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                result = self.work.run((16 << 20) - 100)
                print(len(result), self.work.run((16 << 20) + 1), len(self.work.big))
                print(self.work.status.message)
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal.end(0)
    sizes, message = printed(terminal)
    assert sizes == f"{(16 << 20) - 100} None {(16 << 20) + 1}"
    assert "Payload" in message


def test_what_is_too_large_to_be_sent_is_named_with_the_remedy(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def run(self):
                self.ready = True

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work(parallel=True)

            def run(self):
                if not hasattr(self.work, "ready"):
                    self.work.run()
                else:
                    self.work.large = bytes(70 << 20)

        app = L.LightningApp(Flow())
        """
    )
    terminal.end(1)
    assert "root.work.large: a value of 73.4 MB" in terminal.errors
    assert "Payload" in terminal.errors


def test_a_work_whose_state_is_too_large_to_be_sent_is_named_with_the_remedy(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.one = self.two = bytes(40 << 20)

            def run(self):
                print("never")

        app = L.LightningApp(Work())
        """
    )
    terminal.end(1)
    assert printed(terminal) == []
    assert "root: a Begin message" in terminal.errors
    assert "Payload" in terminal.errors
