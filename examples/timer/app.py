"""Plain Python control flow: B starts five seconds after A."""

import lightning as L
from datetime import datetime

class LitWorker(L.LightningWork):
    def run(self, message):
        print(message)

class LitWorkflow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work_A = LitWorker(cloud_compute=L.CloudCompute('cpu'))
        self.work_B = LitWorker(cloud_compute=L.CloudCompute('gpu'))
        self._start_time = None

    def run(self):
        if self._start_time is None:
            self._start_time = datetime.now()
        self.work_A.run("running code A on a CPU machine")

        # start B, 5 seconds after A has finished
        elapsed_seconds = (datetime.now() - self._start_time).seconds
        if elapsed_seconds > 5:
            self.work_B.run("running code B on a GPU machine")

app = L.LightningApp(LitWorkflow())
