"""What happens to a run while its flow's code is going on."""

from __future__ import annotations

import os
import re
import signal

from .live import Stage


def test_what_befalls_the_run_during_a_pass_is_no_failure_of_the_flow(stage: Stage) -> None:
    source = """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__(parallel=True)
                self.ready = False

            def run(self):
                self.ready = True
                print("supervisor", os.getppid())
                until(exists("go on"))

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.run()
                while not self.work.has_succeeded:
                    try:
                        self.work.ready
                    except Exception:
                        print("swallowed")
                self.stop()

        app = L.LightningApp(Flow())
        """
    first = stage.start(source)
    line = first.line(re.compile(r"^supervisor \d+$")).text
    os.kill(int(line.split()[1]), signal.SIGKILL)
    first.end(1)
    assert "start the app again with --resume to go on" in first.errors
    assert "swallowed" not in first.out
    stage.touch("go on")
    second = stage.start("", "--resume")
    second.end(0)
