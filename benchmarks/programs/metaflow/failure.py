"""A step that has run for a while raises, in a process of its own."""

import time

from metaflow import FlowSpec, step


class Faulty(FlowSpec):
    @step
    def start(self):
        time.sleep(0.5)
        raise ValueError(f"raised at {time.monotonic()}")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Faulty()
