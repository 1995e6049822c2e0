"""Calls, stops, failures and processes that come and go, sentence by sentence."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.terminal import assert_components

from .live import Stage, printed


def test_stop_raises_in_the_users_code_and_public_attributes_come_back_but_private_ones_do_not(
    stage: Stage,
) -> None:
    lines = stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.pid = 0
                self.calls = 0

            def run(self, wait):
                self.calls += 1
                print("private:", getattr(self, "_private", None), "calls:", self.calls)
                self._private = "here"
                self.pid = os.getpid()
                if wait:
                    try:
                        time.sleep(600)
                    except Exception:
                        print("never")
                    finally:
                        print("cleaned up")
                return self.pid

            def on_exit(self):
                print("leaves")

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()
                self.first = 0

            def run(self):
                if not self.first:
                    self.work.run(wait=True)
                    if self.work.pid:
                        self.first = self.work.pid
                        self.work.stop()
                        print("in that pass:", self.work.run(wait=True))
                elif gone(self.first):
                    second = self.work.run(wait=False)
                    if second is not None:
                        print("another process:", second != self.first)
                        print([each.stage for each in self.work.statuses])
                        self.stop()

        app = L.LightningApp(Flow())
        """
    )
    assert_components(
        lines,
        ["private: None calls: 1", "cleaned up", "leaves", "private: None calls: 2", "leaves"],
        [
            "in that pass: None",
            "another process: True",
            "['pending', 'running', 'stopped', 'pending', 'running', 'succeeded']",
        ],
    )


def test_delete_ends_the_process_and_another_work_may_take_the_name(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self, number):
                super().__init__(parallel=True)
                self.number = number
                self.pid = 0

            def run(self):
                print("work", self.number)
                self.pid = os.getpid()
                time.sleep(600)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work(1)
                self.first = 0

            def run(self):
                if not self.first:
                    self.work.run()
                    if self.work.pid:
                        self.first = self.work.pid
                        self.work.delete()
                        self.work = Work(2)
                if self.first:
                    self.work.run()
                    if self.work.pid and gone(self.first):
                        self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["work 1", "work 2"]


def test_after_a_crash_the_call_goes_on_from_the_public_attributes_under_its_call_id(stage: Stage) -> None:
    terminal = stage.start(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.epoch = 0
                self.ids = []

            def run(self):
                self.ids.append(self.call_id)
                print("from", self.epoch, getattr(self, "_private", None))
                self._private = 1
                while self.epoch < 9:
                    self.epoch += 1
                    if self.epoch % 4 == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.run()
                print(self.work.epoch, len(self.work.ids), len(set(self.work.ids)))
                self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal.end(0)
    assert printed(terminal) == ["from 0 None", "from 4 None", "from 8 None", "9 3 1"]
    assert len([line for line in terminal.err if "SIGKILL" in line and "runs again" in line]) == 2


def test_an_idle_process_ends_after_idle_timeout_and_a_new_call_starts_another(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(cloud_compute=L.CloudCompute(idle_timeout=0.05))
                self.calls = 0

            def run(self, x):
                self.calls += 1
                return os.getpid()

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                first = self.work.run(1)
                if gone(first):
                    second = self.work.run(2)
                    if gone(second):
                        assert self.work.run(1) == first  # a finished call starts nothing
                        print(first != second, self.work.calls, self.work.status.stage)
                        self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["True 2 succeeded"]


def test_a_call_that_takes_longer_than_its_timeout_fails_and_its_process_ends(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(timeout=0.3, raise_exception=False)
                self.pid = 0

            def run(self, wait):
                self.pid = os.getpid()
                if wait:
                    time.sleep(600)
                return "quick"

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                result = self.work.run(wait=True)
                quick = self.work.run(wait=False)
                print(result, quick, self.work.num_timeouts, self.work.num_failures)
                told = [each for each in self.work.statuses if each.stage == "failed"]
                print(told[0].reason, "|", told[0].message)
                self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["None quick 1 1", "timeout | root.work.run took longer than its timeout of 0.3 s"]


def test_a_failed_call_is_tried_again_under_its_call_id_as_often_as_retries_says(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(retries=2, raise_exception=False)
                self.ids = []

            def run(self, good):
                self.ids.append(self.call_id)
                if len(self.ids) != good:
                    raise RuntimeError(f"attempt {len(self.ids)}")
                return "good"

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work, self.bad = Work(), Work()

            def run(self):
                print(self.work.run(3), len(set(self.work.ids)), self.work.num_failures)
                print(self.bad.run(0), len(self.bad.ids), self.bad.has_failed, self.bad.status.message)
                self.stop()

        app = L.LightningApp(Flow())
        """
    )[-2:] == ["good 1 0", "None 3 True attempt 3"]


def test_calls_of_a_parallel_work_queue_and_those_not_begun_are_cancelled_by_stop(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.began = []

            def run(self, x):
                self.began.append(x)
                if x == 2:
                    time.sleep(600)
                return x

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                for x in range(5):
                    self.work.run(x)
                if len(self.work.began) == 3:
                    self.work.stop()
                    print([self.work.run(x) for x in range(5)], self.work.began)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["[0, 1, None, None, None] [0, 1, 2]"]


def test_url_is_filled_once_the_port_really_answers_and_is_empty_afterwards(stage: Stage) -> None:
    assert stage.play(
        """
        import http.server
        import urllib.request

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *_):
                pass

        class Server(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.over = False
                self.asked = False

            def run(self):
                address = self.host, self.port
                self.asked = True
                until(exists("seen without a url"))
                server = http.server.HTTPServer(address, Handler)
                server.timeout = 0.02
                while not self.over:
                    server.handle_request()
                server.server_close()

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.server, self.other = Server(), Server()

            def run(self):
                self.server.run()
                server = self.server
                if server.asked and not server.url:
                    touch("seen without a url")
                if server.url and not server.over:
                    assert server.url == f"http://{server.host}:{server.port}"
                    with urllib.request.urlopen(server.url) as answer:
                        print(answer.read().decode())
                    server.over = True
                if server.has_succeeded:
                    print(repr(server.url), server.port != self.other.port)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["hello", "'' True"]


def test_start_provisions_a_process_without_running(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def on_start(self):
                self.pid = os.getpid()

            def run(self):
                return os.getpid()

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.start()
                pid = getattr(self.work, "pid", None)
                if pid is not None:
                    print("same process:", self.work.run() == pid)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["same process: True"]


def test_private_attributes_of_before_the_start_travel_and_later_ones_do_not(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self._made = {"in": "init", "call": lambda x: x + 1}

            def run(self, x):
                return self._made["in"], self._made["call"](x)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work._made["in"] = "flow, before the start"
                first = self.work.run(1)
                self.work._made["in"] = "flow, later"
                print(first, self.work.run(2))
                self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["('flow, before the start', 2) ('flow, before the start', 3)"]


@pytest.mark.parametrize("how", ["on_crash='fail'", "on_crash='rerun'"])
def test_a_work_that_may_fail_says_the_reason_of_its_death_in_its_status(how: str, stage: Stage) -> None:
    (line,) = stage.play(
        """
        class Work(L.LightningWork):
            def run(self):
                os._exit(7)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work(raise_exception=False, HOW)

            def run(self):
                result = self.work.run()
                print(result, self.work.status.stage, self.work.status.message)
                self.stop()

        app = L.LightningApp(Flow())
        """.replace("HOW", how)
    )
    assert line.startswith("None failed")
    assert re.search("exit code 7", line)
    assert ("death 3" in line) is ("rerun" in how)


def test_the_same_key_twice_in_a_pass_is_one_call_before_and_after_a_schedule(stage: Stage) -> None:
    assert stage.play(
        """
        class Work(L.LightningWork):
            def run(self, x):
                print("work", x)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.run(1)
                if self.schedule("@yearly"):
                    self.work.run(1)
                    self.work.run(2)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["work 1", "work 2"]
