"""The smallest app: one work, one line."""

import os

import lightning as L


class Hello(L.LightningWork):
    def run(self):
        print(f'BENCH {{"pid": {os.getpid()}}}', flush=True)


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.hello = Hello()

    def run(self):
        self.hello.run()
        self.stop()


app = L.LightningApp(Root())
