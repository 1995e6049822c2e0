"""A work fails, and the app with it."""

import lightning as L


class Train(L.LightningWork):
    def __init__(self):
        super().__init__()
        self.step = 0

    def run(self, epochs):
        for self.step in range(epochs):
            if self.step == 3:
                raise RuntimeError("loss is not a number")


class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.train = Train()

    def run(self):
        self.train.run(5)


app = L.LightningApp(Root())
