"""B runs once, and then again every hour."""

import lightning as L

class LitWorker(L.LightningWork):
    def run(self, message):
        print(message)

class LitWorkflow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work_A = LitWorker(cloud_compute=L.CloudCompute('cpu'))
        self.work_B = LitWorker(cloud_compute=L.CloudCompute('gpu'))

    def run(self):
        self.work_A.run("running code A on a CPU machine")

        # B runs once, and then again every hour
        if self.schedule("hourly"):
            self.work_B.run("running code B on a GPU machine")

app = L.LightningApp(LitWorkflow())
