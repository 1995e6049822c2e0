"""The flow sends each machine its message."""

# app.py
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
        message_a = "running code A on a CPU machine"
        message_b = "running code B on a GPU machine"
        self.work_A.run(message_a)
        self.work_B.run(message_b)

app = L.LightningApp(LitWorkflow())
