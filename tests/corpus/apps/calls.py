"""Calls of every fate: cached and not, retried, timed out, died with their process, cancelled, in conflict."""

import os
import signal
import time

import lightning as L


def until(condition):
    while not condition():
        time.sleep(0.002)


def once(name):
    """Whether this is the first time that anybody asks for the name, over all processes and restarts."""
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Counter(L.LightningWork):
    """Writes attributes of all kinds of containers, live."""

    def __init__(self):
        super().__init__(parallel=True)
        self.n = 0
        self.losses = []
        self.table = {}
        self.names = set()

    def run(self, upto):
        while self.n < upto:
            self.n += 1
            self.losses.append(1 / self.n)
            self.table[f"row {self.n}"] = {"square": self.n**2}
            self.names.add(f"name {self.n % 3}")
        del self.losses[:2]
        self.losses.sort()
        self.table.pop("row 1", None)
        return {"upto": upto, "sum": sum(self.losses)}


class Flaky(L.LightningWork):
    def run(self):
        if once("flaky"):
            raise ConnectionError("the first try fails")
        return "second try"


class Dies(L.LightningWork):
    def run(self):
        if once("died"):
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"


class Late(L.LightningWork):
    def run(self):
        time.sleep(60)


class Wrong(L.LightningWork):
    def run(self, x):
        raise ValueError(f"{x} is wrong")


class Twice(L.LightningWork):
    def run(self, x):
        return x * 2


class Overtaken(L.LightningWork):
    """Writes over what the flow wrote after it had looked."""

    def __init__(self):
        super().__init__(parallel=True)
        self.n = 0
        self.reading = False

    def run(self):
        n = self.n
        self.reading = True
        until(lambda: os.path.exists("flow wrote"))
        self.n = n + 1


class Endless(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.url = ""

    def run(self, x):
        self.url = "http://127.0.0.1:1/"
        time.sleep(600)


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        retries = int(os.environ.get("FLAKY_RETRIES", "1"))
        self.counter = Counter()
        self.flaky = Flaky(retries=retries)
        self.dies = Dies()
        self.late = Late(timeout=0.1, raise_exception=False)
        self.wrong = Wrong(raise_exception=False)
        self.uncached = Twice(cache_calls=False)
        self.device = Twice(cloud_compute=L.CloudCompute(gpus=1))
        self.idle = Twice(cloud_compute=L.CloudCompute(idle_timeout=0.01))
        self.overtaken = Overtaken()
        self.endless = Endless()
        self.spare = Twice()
        self.results = []
        self.phase = "begun"

    def run(self):
        self.overtaken.run()
        if self.overtaken.reading and not self.overtaken.has_succeeded:
            self.overtaken.n = 10
            once("flow wrote")
        if self.phase == "begun":
            self.endless.run(1)
            self.endless.run(2)
            if not self.endless.url:
                return
            self.endless.stop()
            self.phase = "stopped"
        self.counter.run(7)
        self.results = [
            self.flaky.run(),
            self.dies.run(),
            self.late.run(),
            self.wrong.run(1),
            self.device.run(4),
            self.idle.run(5),
        ]
        self.spare.start()
        if self.phase == "stopped":
            self.results.append(self.uncached.run(3))
            self.results.append(self.uncached.run(3))
            self.phase = "uncached"
            return
        if (
            self.counter.has_succeeded
            and self.overtaken.has_succeeded
            and self.spare.status.stage == "pending"
        ):
            self.phase = "quiet"
            print("quiet")


app = L.LightningApp(Root())
